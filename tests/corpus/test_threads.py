"""Texts are tokenised in threads of their own while the model runs."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from normxlogit import Explainer
from normxlogit.tasks.batches import Texts
from normxlogit.text.encoder import Encoder
from tests.helpers.corpora import TEXTS


@pytest.fixture
def threads() -> Iterator[int]:
    """Two threads for torch, and its number."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_texts_are_tokenised_while_the_model_runs(
    explainer: Explainer, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch waits until a text is tokenised that comes long after it."""
    encode, reached = Encoder.encode, threading.Event()
    waited, seen, late = list[bool](), set[int](), "far behind the first batch"

    def noted(self: Encoder, item: Any, **options: Any) -> Any:
        if item == late:
            reached.set()
        return encode(self, item, **options)

    together = type(explainer.task_explainer).together  # type: ignore[attr-defined]

    def patient(self: Texts, texts: Any, *arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            seen.add(torch.get_num_threads())
            waited.append(reached.wait(60))
        return together(self, texts, *arguments)

    monkeypatch.setattr(Encoder, "encode", noted)
    monkeypatch.setattr(type(explainer.task_explainer), "together", patient)
    texts = [*(f"{TEXTS[n % 7]} {n}" for n in range(40)), late]
    found = list(explainer.corpus(texts, batch_size=1))
    assert [e.row.text for e in found] == texts
    assert len(waited) == len(texts)
    assert all(waited)
    assert seen == {1}
    assert torch.get_num_threads() == threads


def test_threads_end_with_the_iterator(explainer: Explainer, threads: int) -> None:
    before = threading.enumerate()

    def own() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in before]

    endless = (TEXTS[n % 7] for n in itertools.count())
    found = explainer.corpus(endless, batch_size=2)
    next(found)
    assert len(own()) == threads
    found.close()  # type: ignore[attr-defined]
    assert own() == []
