"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from normxlogit import Explainer
from tests.builders import classifier, tokenizer

torch.set_num_threads(1)

SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of shared models are no part of the suite where these models are not."""
    if SHARED.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("shared")]
    items[:] = [item for item in items if item not in absent]
    config.hook.pytest_deselected(items=absent)


@pytest.fixture(scope="session")
def wordpiece() -> PreTrainedTokenizerBase:
    return tokenizer()


@pytest.fixture(scope="session")
def explainer(wordpiece: PreTrainedTokenizerBase) -> Explainer:
    """A random three-class BERT."""
    return Explainer(classifier(wordpiece), wordpiece)
