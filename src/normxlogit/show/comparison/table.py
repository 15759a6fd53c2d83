"""The table of words by methods: its rows, and what it says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normxlogit.results.comparison import Comparison
from normxlogit.show import phrases
from normxlogit.show.markup import signed
from normxlogit.show.meaning import Meaning, method_summary, score_meaning
from normxlogit.show.scales import scale, strongest

CORRELATIONS = "Spearman's rank correlation of the words' scores"


@dataclass(frozen=True)
class Cell:
    """A word's score by a method.

    Attributes:
        share: as a share of the method's largest; None if it has none.
        has_sign: whether the method tells support from opposition.
        number: the share as text.
        raw: the score as text.
    """

    share: float | None
    has_sign: bool
    number: str
    raw: str


@dataclass(frozen=True)
class Row:
    """A word with its scores.

    Attributes:
        segment: the number of the text of a pair that begins with it, from 1; None if none does.
        name: the word.
        cells: a cell for each method.
    """

    segment: int | None
    name: str
    cells: list[Cell]


def table(comparison: Comparison, most: int) -> list[Row]:
    """Return the rows of one target: all words, or the `most` that are strongest by any method."""
    shares, scores = comparison.shares, comparison.scores
    words, rows, begun = comparison.words, list[Row](), set[int]()
    for place in strongest(np.nan_to_num(shares), range(len(words)), most):
        word = words[place]
        begins = len(comparison.first.texts) > 1 and word.segment not in begun
        begun.add(word.segment)
        cells = [
            _cell(float(share[place]), float(score[place]), scale(score), has_sign)
            for share, score, has_sign in zip(shares, scores, signs(comparison), strict=True)
        ]
        rows.append(Row(word.segment + 1 if begins else None, word.text, cells))
    return rows


def _cell(share: float, score: float, largest: float, has_sign: bool) -> Cell:
    numbers = _fixed(share), signed(score, largest)
    number, raw = (text if has_sign else text.removeprefix("+") for text in numbers)
    return Cell(None if np.isnan(share) else share, has_sign, number, raw)


def _fixed(value: float) -> str:
    """Return a number from -1 to 1 with its sign; a dash for nan."""
    return "–" if np.isnan(value) else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def note(comparison: Comparison, most: int) -> str:
    """Return what the numbers are, and whether these are all."""
    count = len(comparison.words)
    parts = ["Scores as shares of each method's own largest by magnitude."]
    unsigned = [
        name
        for name, has_sign in zip(comparison.methods, signs(comparison), strict=True)
        if not has_sign
    ]
    if unsigned:
        names = phrases.visible(", ".join(unsigned))
        parts.append(f"Those of {names} have no sign: they do not tell support from opposition.")
    if count > most:
        parts.append(f"The {most} strongest of {count} words, in text order.")
    return " ".join(parts)


def signs(comparison: Comparison) -> list[bool]:
    """Whether each method's scores tell support from opposition."""
    return [result.provenance.unsigned is None for result in comparison.results.values()]


def meaning(comparison: Comparison) -> Meaning:
    """Return what the signs say: of the first method whose scores have signs."""
    signed = [r for r in comparison.results.values() if r.provenance.unsigned is None]
    return score_meaning(signed[0] if signed else comparison.first)


def methods(comparison: Comparison) -> Iterator[str]:
    """Yield how each method made its scores, and what is special about these."""
    usual = meaning(comparison)
    for name, result in comparison.results.items():
        summary, by_method = method_summary(result), score_meaning(result)
        called = "" if name.partition(":")[0] == result.provenance.method else f"{name}: "
        is_usual = (by_method.positive, by_method.negative) == (usual.positive, usual.negative)
        yield f"{called}{summary}{'' if is_usual else f'. {by_method.sentence}'}"


def correlations(comparison: Comparison) -> list[list[str]]:
    """Return the rank correlations of one target as text; nothing of a method with itself."""
    return [
        ["" if n == m else _fixed(value) for m, value in enumerate(row)]
        for n, row in enumerate(comparison.rank_correlations.tolist())
    ]
