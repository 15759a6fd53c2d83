"""Rows to explanations, a window of rows at a time."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from normxlogit.corpus.explained import Explained
from normxlogit.corpus.threads import worker_threads
from normxlogit.data.option_checks import whole_number
from normxlogit.data.rows import Bad, Kind, Row
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)
from normxlogit.model.targets import Target
from normxlogit.query import Query
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, Task, TaskExplainer
from normxlogit.tasks.batches import chunks
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.text.lengths import MOST_TOGETHER
from normxlogit.text.validation import check_long

AHEAD = 32
"""How many batches make a window. Its rows are sorted by length, so that similar ones share a
batch and little is computed on padding."""

_TASKS = (Task.TEXT, Task.TOKENS, Task.ANSWER, Task.MASK, Task.CAUSAL)


@dataclass(frozen=True)
class Question(Query):
    """A query that is put to every row.

    Attributes:
        long: what to do with texts over the model's limit, as in `Explainer.explain`.
        batch_size: how many rows run together at most.

    Raises:
        OptionError: there is no such method, option of it, or layer.
    """

    long: str = "error"
    batch_size: int = 64

    def __post_init__(self) -> None:
        # "all" layers are fine elsewhere, but the columns of a shard hold those of one.
        if self.layer is not None:
            whole_number("layer", self.layer)
        size = whole_number("batch_size", self.batch_size, most=MOST_TOGETHER)
        object.__setattr__(self, "batch_size", size)
        check_long(self.long)
        super().__post_init__()

    def arguments(self) -> dict[str, Any]:
        """Return the fields as arguments of `Explainer.explain`."""
        arguments = dict(vars(self))
        options = arguments.pop("options")
        return {**arguments, **options}

    def for_target(self, target: Target | None) -> "Question":
        """Return the question for rows with a target of their own, or itself for those without."""
        return self if target is None else replace(self, target=target)


def check_question(explainer: ModelExplainer, question: Question, *, pairs: bool) -> None:
    """Try a question on one short text, before anything is read or written.

    Raises:
        OptionError: an option that does not exist or does not fit.
        ModelError: the model does not read texts.
        UnsupportedHeadError: scores of this model could not be vouched for.
    """
    if explainer.task not in _TASKS:
        raise ModelError(
            f"corpus is for models that read a text or a pair of texts; "
            f"{type(explainer.model).__name__} is for {explainer.task.value}."
        )
    text = "a text"
    try:
        explainer.explain((text, text) if pairs else text, **question.arguments())
    except (OptionError, UnsupportedHeadError):
        raise
    except (InputError, ModelError):  # about this text, and none of the corpus
        return


def explain_rows(
    task_explainer: TaskExplainer,
    device: torch.device | None,
    rows: Iterator[Row],
    question: Question,
    cut: int | None = None,
) -> Generator[list[Explained], None, None]:
    """Yield lists of explained rows, in order.

    If the source raises, the rows before that are yielded first.

    Args:
        task_explainer: encodes and explains texts.
        device: torch's device for the model; None if something else runs it.
        rows: the rows.
        question: what is asked of each.
        cut: yield no list that crosses a multiple of this many rows.
    """
    # Reading and tokenising, explaining, and writing overlap. While threads explain window n, this
    # thread reads, tokenises and queues window n + 1, and only then waits for n. So the threads
    # have work while the caller, at `yield`, writes window n. Two windows are in memory at most.
    with worker_threads(device) as pool:
        pending: Callable[[], list[Explained]] | None = None
        windows = _windows(rows, AHEAD * question.batch_size, cut)
        while True:
            source_error: Exception | None = None
            try:
                window = next(windows, None)
            except Exception as error:
                window, source_error = None, error
            queued = None if window is None else _submit(pool, task_explainer, window, question)
            if pending is not None:
                yield pending()
            if source_error is not None:
                raise source_error
            if queued is None:
                return
            pending = queued


def _windows(rows: Iterator[Row], size: int, cut: int | None) -> Iterator[list[Row]]:
    """Split rows into lists of at most `size`, each within one multiple of `cut`.

    A shard ends at such a multiple, and its note names the row that comes after; a list that
    reached into the next shard would have to be split. Rows before an error of the source are
    yielded before it is raised.
    """
    left = cut
    while True:
        window: list[Row] = []
        try:
            window.extend(islice(rows, size if left is None else min(size, left)))
        except Exception:
            if window:
                yield window
            raise
        if not window:
            return
        yield window
        if cut is not None and left is not None:
            left = left - len(window) or cut


def _submit(
    pool: Executor, task_explainer: TaskExplainer, rows: Sequence[Row], question: Question
) -> Callable[[], list[Explained]]:
    """Tokenise rows and queue them in batches of the same target and similar length.

    Returns:
        A function that waits for the explanations.
    """
    explained = [Explained(row, bad=row.bad) for row in rows]
    good = [index for index, row in enumerate(rows) if row.bad is None]
    items = [rows[index].item for index in good]
    encoded = dict(
        zip(good, task_explainer.encode_all(items, InputOptions(question.long)), strict=True)
    )
    groups: dict[Target | None, list[int]] = {}
    for index, item in encoded.items():
        if isinstance(item, InputError):
            explained[index] = Explained(rows[index], bad=Bad.of(item))
        else:
            groups.setdefault(rows[index].target, []).append(index)
    batches: list[tuple[list[int], Future[list[Any]]]] = []
    for target, group in groups.items():
        # Longest first: the short batches at the end keep all threads busy to the last.
        group.sort(key=lambda index: len(encoded[index]), reverse=True)
        for batch in chunks(group, question.batch_size):
            items = [encoded[index] for index in batch]
            batches.append(
                (batch, pool.submit(_explain_batch, task_explainer, items, question, target))
            )

    def wait() -> list[Explained]:
        for batch, results in batches:
            for index, result in zip(batch, results.result(), strict=True):
                if isinstance(result, Attribution):
                    explained[index] = Explained(rows[index], result)
                else:
                    explained[index] = Explained(rows[index], bad=_bad(result))
        return explained

    return wait


def _explain_batch(
    task_explainer: TaskExplainer, items: Sequence[Any], question: Question, target: Target | None
) -> list[Any]:
    """Explain encoded items; `target` is their own, if the source has a column of targets.

    Returns:
        For each item its attribution, or why there is none.
    """
    try:
        query = question.for_target(target)
        results = task_explainer.explain(dict(enumerate(items)), query, question.batch_size)
        return [results[number] for number in range(len(items))]
    except UnsupportedHeadError as error:
        return [without_traceback(error)] * len(items)
    except OptionError as error:
        # The question itself passed `check_question`, so only a row's own target can be at fault.
        if target is None:
            raise
        return [Bad(Kind.TARGET, str(error))] * len(items)


def _bad(result: Any) -> Bad:
    if isinstance(result, Bad):
        return result
    if isinstance(result, NormXLogitError):
        return Bad.of(result)
    raise ModelError(f"corpus is for explanations of text, and this is a {type(result).__name__}.")
