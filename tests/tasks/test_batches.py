"""Which texts run together, and what happens when memory runs out."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normxlogit import Attribution, Explainer, Failure, InputError, ModelError
from normxlogit.tasks import InputOptions
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.memory import cpu_out_of_memory, gpu_out_of_memory

TEXTS = ["good", "A great movie.", "The plot is not bad at all.", "one two three four five"]


class Machine:
    """A classifier whose batches are noted, and which runs out of memory at some size.

    Attributes:
        explainer: of the classifier.
        batches: rows and length of every batch that reached its blocks.
        most: how many tokens fit into memory.
        error: what is raised when they do not.
    """

    def __init__(self) -> None:
        words = tokenizer(model_max_length=512)
        model: Any = classifier(words, max_position_embeddings=512)
        self.explainer = Explainer(model, words)
        self.batches: list[tuple[int, int]] = []
        self.most = 1 << 30
        self.error: Callable[[], Exception] = MemoryError
        model.bert.encoder.register_forward_pre_hook(self._note)

    def _note(self, _module: Any, args: Any) -> None:
        rows, length = args[0].shape[:2]
        self.batches.append((rows, length))
        if rows * length > self.most:
            raise self.error()

    def alone(self, text: str, **options: Any) -> Attribution:
        most, self.most = self.most, 1 << 30
        found = self.explainer.explain(text, **options)
        self.most = most
        assert isinstance(found, Attribution)
        return found


@pytest.fixture
def machine() -> Machine:
    return Machine()


def assert_as_alone(machine: Machine, found: list[Any], texts: list[str], **options: Any) -> None:
    for result, text in zip(found, texts, strict=True):
        assert isinstance(result, Attribution), result
        expected = machine.alone(text, **options)
        np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_are_within_texts_and_tokens(machine: Machine, batch_size: int) -> None:
    texts = [f"{TEXTS[n % 4]} " * (1 + n**2 // 8) for n in range(36)]
    ends = [texts[0], texts[-1]]
    machine.explainer.explain(ends, batch_size=2, long="truncate")  # padding is tried out
    machine.batches.clear()
    found = machine.explainer.explain(texts, batch_size=batch_size, long="truncate")
    rows = [rows for rows, _ in machine.batches]
    assert sum(rows) == len(texts)
    assert max(rows) == batch_size
    assert all(rows * n <= batch_size * 128 or rows == 1 for rows, n in machine.batches)
    assert len(machine.batches) < 36 or batch_size == 1
    assert_as_alone(machine, found, texts, long="truncate")


def test_texts_are_not_padded_again_and_again(machine: Machine) -> None:
    texts = [*["good"] * 4, " ".join(["one"] * 30)]

    def tokens() -> int:
        """How many tokens were run since the last call, padding among them."""
        count = sum(rows * length for rows, length in machine.batches)
        machine.batches.clear()
        return count

    for text in texts:
        machine.alone(text, method="occlusion")
    needed = tokens()
    found = machine.explainer.explain(texts, method="occlusion")
    assert tokens() < 1.1 * needed
    assert_as_alone(machine, found, texts, method="occlusion")
    machine.batches.clear()
    machine.explainer.explain(texts)
    assert len(machine.batches) == 1


@pytest.mark.parametrize("error", [cpu_out_of_memory, gpu_out_of_memory])
def test_batches_shrink_where_memory_runs_out(
    machine: Machine, error: Callable[[], Exception]
) -> None:
    texts = [f"{TEXTS[n % 4]} {TEXTS[n % 3]}" for n in range(32)]
    machine.explainer.explain(texts[:4])
    machine.most, machine.error = 70, error
    with pytest.warns(RuntimeWarning, match="memory ran out with a batch of 16 texts of up to"):
        found = machine.explainer.explain(texts, batch_size=16)
    assert_as_alone(machine, found, texts)
    machine.batches.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = machine.explainer.explain(texts, batch_size=16)
    assert all(rows * length <= 70 for rows, length in machine.batches)
    assert max(rows for rows, _ in machine.batches) > 1
    assert_as_alone(machine, again, texts)


@pytest.mark.parametrize("error", [cpu_out_of_memory, gpu_out_of_memory])
def test_one_text_that_does_not_fit(machine: Machine, error: Callable[[], Exception]) -> None:
    texts = [*TEXTS, "good " * 100]
    machine.explainer.explain(texts)
    machine.most, machine.error = 100, error
    with pytest.warns(RuntimeWarning, match="memory ran out"):
        found = machine.explainer.explain(texts)
    assert isinstance(found[4], Failure)
    assert isinstance(found[4].error, ModelError)
    assert "not enough memory for one text of 102 tokens" in str(found[4])
    assert_as_alone(machine, found[:4], TEXTS)
    with pytest.raises(ModelError, match="not enough memory"):
        machine.explainer.explain(texts[4])


def test_windows_of_a_text_shrink_too(machine: Machine) -> None:
    text = "good bad " * 1200
    machine.most, machine.error = 1100, gpu_out_of_memory
    with pytest.warns(RuntimeWarning, match="memory ran out with a batch of"):
        (found,) = machine.explainer.explain([text], long="window")
    assert_as_alone(machine, [found], [text], long="window")


def test_other_errors_of_torch_are_raised_as_they_are(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(type(machine.explainer.task_explainer), "together", broken)
    with pytest.raises(RuntimeError, match="something else"):
        machine.explainer.explain(TEXTS)


def test_texts_are_tokenized_together_and_as_each_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = machine.explainer
    read: Any = explainer.task_explainer
    # One is blank, one of two cannot be tokenized, one is too long, and one is no text.
    items: list[Any] = [*TEXTS, ("good", "bad"), " ", "a word " * 300, TEXTS[0], 7, ("a", "b")]
    unreadable = "\ud800"
    options = InputOptions(long="window")

    def alone(item: Any) -> Any:
        try:
            return read.encode(item, options)
        except InputError as error:
            return error

    calls = list[Any]()
    kind: Any = type(explainer.encoder().tokenizer)
    tokenize = kind.__call__

    def noted(tokenizer: Any, *columns: Any, **how: Any) -> Any:
        calls.append(columns)
        return tokenize(tokenizer, *columns, **how)

    # Threads share the tokenizer, and so the lock.
    assert explainer.encoder().reading(items)._lock is explainer.encoder()._lock
    for several in (items, [*items, unreadable]):
        expected = [alone(item) for item in several]
        with monkeypatch.context() as patch:
            patch.setattr(kind, "__call__", noted)
            encoded = read.encode_all(several, options)
        for one, other in zip(encoded, expected, strict=True):
            assert type(one) is type(other)
            if isinstance(other, InputError):
                assert str(one) == str(other)
                continue
            assert (one.texts, one.tokens) == (other.texts, other.tokens)
            for name in ("special", "offsets", "segments", "words"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert [w.inputs for w in one.windows] == [w.inputs for w in other.windows]
        if several is items:
            # All texts, all pairs, and the windows of the long text.
            assert [len(columns[0]) for columns in calls] == [6, 2, 1]
