"""The tests ask no hub for anything; huggingface_hub reads this when it is first imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
