"""The tests ask no hub for anything; huggingface_hub reads this when it is first imported."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# A failing assertion of a helper shows its values, as one of a test does.
pytest.register_assert_rewrite("tests.helpers")
