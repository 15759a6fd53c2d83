"""Scores as the pages of every kind of result show them: signed, as bars, and in a text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from normxlogit.show import phrases


@dataclass(frozen=True)
class Bar:
    """A bar to either side of a zero line; lengths are shares of the width of its table cell.

    Attributes:
        left: where it begins.
        width: how long it is.
        zero: where the zero line is.
        against: whether its score is negative.
    """

    left: float
    width: float
    zero: float
    against: bool


@dataclass(frozen=True)
class BarRow:
    """A row of a table of scores: a name, the score and its share as text, and its bar."""

    name: str
    number: str
    bar: Bar
    share: str = ""


@dataclass(frozen=True)
class MarkedPiece:
    """A piece of a text as a page marks it.

    Attributes:
        text: its characters.
        share: its score as a share of the largest; None if it is not coloured.
        title: what it says when pointed at; None between tokens.
    """

    text: str
    share: float | None
    title: str | None


def bar(score: float, low: float, high: float) -> Bar:
    """Return the bar of a score among scores from -`low` to `high`."""
    span = low + high or 1.0
    return Bar(
        left=(low + min(score, 0.0)) / span,
        width=abs(score) / span,
        zero=low / span,
        against=score < 0,
    )


def bars(scores: Sequence[float]) -> list[Bar]:
    """Return a bar for each score, all with the same zero line."""
    low, high = max(0.0, -min(scores, default=0.0)), max(0.0, max(scores, default=0.0))
    return [bar(score, low, high) for score in scores]


def bar_rows(
    names: Iterable[str], scores: Sequence[float], largest: float, *, signed: bool = True
) -> list[BarRow]:
    """Return a row for each score, with three figures for a score as large as `largest`."""
    return [
        BarRow(name, phrases.number(score, largest, signed=signed), drawn)
        for name, score, drawn in zip(names, scores, bars(scores), strict=True)
    ]
