"""Whether the package slices a head or uses it whole."""

from typing import Any

import pytest

from normxlogit.model.heads.language import VocabularyHead
from normxlogit.model.vocabulary import Vocabulary


def record_head_use(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Whether heads were sliced, used whole, or both, one after the other."""
    used: set[str] = set()
    only, each = Vocabulary.only, VocabularyHead.each

    def sliced(self: Vocabulary, *args: Any) -> Any:
        used.add("sliced")
        return only(self, *args)

    def whole(self: VocabularyHead, *args: Any) -> Any:
        used.add("whole")
        return each(self, *args)

    monkeypatch.setattr(Vocabulary, "only", sliced)
    monkeypatch.setattr(VocabularyHead, "each", whole)
    return used
