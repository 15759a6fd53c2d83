"""What the tests of a corpus share."""

from pathlib import Path

import pytest

from normxlogit import Explainer
from normxlogit.corpus import shards


@pytest.fixture(scope="module")
def explainer(model: Path) -> Explainer:
    return Explainer.from_pretrained(str(model))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few rows, in this process."""
    monkeypatch.setattr(shards, "ROWS", 10)
