"""Rows to explanations, a window of rows at a time."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from normxlogit.corpus.threads import working
from normxlogit.data.rows import Bad, Kind, Row
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)
from normxlogit.model.targets import Target, Targets
from normxlogit.query import Query
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, Task, TaskExplainer
from normxlogit.tasks.batches import chunks
from normxlogit.tasks.explainer import ModelExplainer

AHEAD = 32
"""How many batches of rows are read at a time, so that texts of like length run together."""

_TASKS = (Task.TEXT, Task.TOKENS, Task.ANSWER, Task.MASK, Task.CAUSAL)


@dataclass(frozen=True)
class Question:
    """What is asked of every row; the fields are arguments of `Explainer.explain`."""

    target: Targets = None
    contrast: Target | None = None
    method: str = "normxlogit"
    layer: int | None = None
    readout: str | None = None
    threshold: float = 0.5
    long: str = "error"
    batch_size: int = 64
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Them by name."""
        own = {name: value for name, value in vars(self).items() if name != "options"}
        return own | self.options

    def query(self, target: Target | None) -> Query:
        """It as the explainer's tasks take it; a row's own target takes the place of `target`."""
        return Query(
            self.target if target is None else target,
            self.contrast,
            self.method,
            self.layer,
            self.readout,
            self.threshold,
            self.options,
        )


@dataclass(frozen=True)
class Explained:
    """A row, and what was found.

    Attributes:
        row: the row.
        attribution: the scores; None if it could not be explained.
        bad: why not.
    """

    row: Row
    attribution: Attribution | None = None
    bad: Bad | None = None

    @property
    def complaint(self) -> str:
        """Which row could not be explained, and why."""
        return f"{self.row}: {self.bad.why if self.bad else ''}"


def check(explainer: ModelExplainer, question: Question, *, pairs: bool) -> None:
    """Find out with one short text whether the model can be asked this.

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
    if not (question.layer is None or type(question.layer) is int):
        raise OptionError(f"layer must be a number from 1 or None, got {question.layer!r}.")
    text = "a text"
    try:
        explainer.explain((text, text) if pairs else text, **question.arguments())
    except (OptionError, UnsupportedHeadError):
        raise
    except (InputError, ModelError):
        return


def explain_rows(
    reader: TaskExplainer,
    device: torch.device,
    rows: Iterator[Row],
    question: Question,
    cut: int | None = None,
) -> Generator[list[Explained], None, None]:
    """Lists of explained rows, in order; those before an error of the source are not lost.

    While threads explain a list, the next is read and tokenised, and the caller may do what it
    wants with the last.

    Args:
        reader: reads and explains texts.
        device: where the model is.
        rows: the rows.
        question: what is asked of them.
        cut: no list goes over a multiple of so many rows.
    """
    with working(device) as pool:
        coming: Callable[[], list[Explained]] | None = None
        windows = _windows(rows, AHEAD * question.batch_size, cut)
        while True:
            problem: Exception | None = None
            try:
                window = next(windows, None)
            except Exception as error:
                window, problem = None, error
            following = None if window is None else _begun(pool, reader, window, question)
            if coming is not None:
                yield coming()
            if problem is not None:
                raise problem
            if following is None:
                return
            coming = following


def _windows(rows: Iterator[Row], size: int, cut: int | None) -> Iterator[list[Row]]:
    """Rows in lists; those before an error of the source are not lost."""
    room = cut
    while True:
        window: list[Row] = []
        try:
            window.extend(islice(rows, size if room is None else min(size, room)))
        except Exception:
            if window:
                yield window
            raise
        if not window:
            return
        yield window
        if cut is not None and room is not None:
            room = room - len(window) or cut


def _begun(
    pool: Executor, reader: TaskExplainer, rows: Sequence[Row], question: Question
) -> Callable[[], list[Explained]]:
    """Tokenise rows and begin to explain them, together with those of the same target and like
    length; gives what waits for it.
    """
    found = [Explained(row, bad=row.bad) for row in rows]
    encoded: dict[int, Any] = {}
    groups: dict[Any, list[int]] = {}
    reading = InputOptions(question.long)
    for index, row in enumerate(rows):
        if row.bad is None:
            try:
                encoded[index] = reader.encode(row.item, reading)
            except InputError as error:
                found[index] = Explained(row, bad=Bad.of(error))
            else:
                groups.setdefault((type(row.target), row.target), []).append(index)
    begun: list[tuple[list[int], Future[list[Any]]]] = []
    for (_, target), group in groups.items():
        group.sort(key=lambda index: len(encoded[index]), reverse=True)  # short ones fill the end
        for batch in chunks(group, question.batch_size):
            items = [encoded[index] for index in batch]
            begun.append((batch, pool.submit(_explained, reader, items, question, target)))

    def done() -> list[Explained]:
        for batch, results in begun:
            for index, result in zip(batch, results.result(), strict=True):
                if isinstance(result, Attribution):
                    found[index] = Explained(rows[index], result)
                else:
                    found[index] = Explained(rows[index], bad=_bad(result))
        return found

    return done


def _explained(
    reader: TaskExplainer, items: Sequence[Any], question: Question, target: Target | None
) -> list[Any]:
    """A result for each encoded item, or why there is none; `target` is that of these rows, if they
    have one of their own.
    """
    try:
        query = question.query(target)
        found = reader.explain(dict(enumerate(items)), query, question.batch_size)
        return [found[number] for number in range(len(items))]
    except UnsupportedHeadError as error:
        return [without_traceback(error)] * len(items)
    except OptionError as error:
        if target is None:
            raise
        return [Bad(Kind.TARGET, str(error))] * len(items)


def _bad(result: Any) -> Bad:
    if isinstance(result, Bad):
        return result
    if isinstance(result, NormXLogitError):
        return Bad.of(result)
    raise ModelError(f"corpus is for explanations of text, and this is a {type(result).__name__}.")
