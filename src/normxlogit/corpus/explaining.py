"""Rows to explanations, a window of rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from normxlogit.attribution import Attribution, Failure
from normxlogit.corpus.rows import Bad, Kind, Row
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)
from normxlogit.targets import Target, Targets
from normxlogit.tasks import Task

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer

AHEAD = 16
"""How many batches are read at a time, so that texts of like length run together."""

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
    batch_size: int = 32
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Them by name."""
        own = {name: value for name, value in vars(self).items() if name != "options"}
        return own | self.options


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


def check(explainer: "Explainer", question: Question, *, pairs: bool) -> None:
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
    explainer: "Explainer", rows: Iterator[Row], question: Question
) -> Iterator[list[Explained]]:
    """Lists of explained rows, in order; those before an error of the source are not lost."""
    while True:
        window: list[Row] = []
        try:
            window.extend(islice(rows, AHEAD * question.batch_size))
        except Exception:
            if window:
                yield _window(explainer, window, question)
            raise
        if not window:
            return
        yield _window(explainer, window, question)


def _window(explainer: "Explainer", rows: Sequence[Row], question: Question) -> list[Explained]:
    """Rows explained together with those of the same target, the shortest first."""
    groups: dict[Any, list[int]] = {}
    found = [Explained(row, bad=row.bad) for row in rows]
    for index, row in enumerate(rows):
        if row.bad is None:
            groups.setdefault((type(row.target), row.target), []).append(index)
    for (_, target), group in groups.items():
        group.sort(key=lambda index: rows[index].length)
        asked = question if target is None else replace(question, target=target)
        items = [rows[index].item for index in group]
        results = _explained(explainer, items, asked, named=target is not None)
        for index, result in zip(group, results, strict=True):
            if isinstance(result, Attribution):
                found[index] = Explained(rows[index], result)
            else:
                found[index] = Explained(rows[index], bad=_bad(result))
    return found


def _explained(
    explainer: "Explainer", items: list[Any], question: Question, *, named: bool
) -> list[Any]:
    """A result for each item, or why there is none; `named`: the target is of these rows only."""
    try:
        return list(explainer.explain(items, **question.arguments()))
    except UnsupportedHeadError as error:
        return [without_traceback(error)] * len(items)
    except OptionError as error:
        if not named:
            raise
        return [Bad(Kind.TARGET, str(error))] * len(items)


def _bad(result: Any) -> Bad:
    if isinstance(result, Bad):
        return result
    error = result.error if isinstance(result, Failure) else result
    if isinstance(error, NormXLogitError):
        return Bad.of(error)
    raise ModelError(f"corpus is for explanations of text, and this is a {type(result).__name__}.")
