"""The table of words by methods: its rows, and what it says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.comparison import Comparison
from normxlogit.results.text import Attribution
from normxlogit.show import phrases
from normxlogit.show.meaning import Meaning, method_summary, score_meaning
from normxlogit.show.scales import scale, strongest
from normxlogit.show.text.claims import Claim, claim_of, has_sides


class Kind(Enum):
    """What the scores of a method tell about words, as the head of its column says."""

    SIDES = ""
    ORDER = "order only"
    SIZE = "size only"


_GREY = {
    Kind.ORDER: "their scores all have one sign, and zero says nothing; the higher, the stronger",
    Kind.SIZE: "their scores have no sign: they tell how much a word counts, not for what",
}
"""What is said of the kinds without colours."""

CORRELATIONS = "Spearman's rank correlation of the words' scores"


@dataclass(frozen=True)
class Cell:
    """A word's score by a method.

    Attributes:
        tint: how much of its colour it gets: of a method whose scores have sides from -1 to 1, of
            any other from 0 to 1; None without a score.
        has_sides: whether that is the colour of a side, and not grey.
        number: the score as a share of the method's largest by magnitude, as text.
        raw: the score as text.
    """

    tint: float | None
    has_sides: bool
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
    words, shares = comparison.words, comparison.shares
    columns = [
        _column(scores, of_method, kind)
        for scores, of_method, kind in zip(
            comparison.scores, shares, kinds(comparison), strict=True
        )
    ]
    rows, begun = list[Row](), set[int]()
    for place in strongest(np.nan_to_num(shares), range(len(words)), most):
        word = words[place]
        begins = len(comparison.first.texts) > 1 and word.segment not in begun
        begun.add(word.segment)
        cells = [column[place] for column in columns]
        rows.append(Row(word.segment + 1 if begins else None, word.text, cells))
    return rows


def _column(scores: Floats, shares: Floats, kind: Kind) -> list[Cell]:
    """Return the cells of a method.

    Args:
        scores: of the words, [words]; nan where it has none.
        shares: these as shares of the largest by magnitude.
        kind: what they tell.
    """
    tints, largest = shares, scale(scores)
    scored = scores[~np.isnan(scores)]
    if kind is Kind.ORDER and scored.size and np.ptp(scored) > 0:
        # Where zero says nothing, the lowest score is the one without colour.
        tints = (scores - scored.min()) / np.ptp(scored)
    cells = []
    for tint, share, score in zip(tints.tolist(), shares.tolist(), scores.tolist(), strict=True):
        number = phrases.decimal(share, 2, "+" if kind is Kind.SIDES else "")
        raw = phrases.number(score, largest, signed=kind is Kind.SIDES)
        cells.append(Cell(None if np.isnan(tint) else tint, kind is Kind.SIDES, number, raw))
    return cells


def kinds(comparison: Comparison) -> list[Kind]:
    """Return what the scores of each method tell, of one target."""
    return [
        _kind(result, scores)
        for result, scores in zip(comparison.results.values(), comparison.scores, strict=True)
    ]


def _kind(result: Attribution, scores: Floats) -> Kind:
    claim = claim_of(result)
    if claim is Claim.SIZE:
        return Kind.SIZE
    if claim is Claim.CAUSE or has_sides(result):
        return Kind.SIDES
    return Kind.SIDES if (scores > 0).any() and (scores < 0).any() else Kind.ORDER


def note(comparison: Comparison, most: int) -> str:
    """Return what the numbers are, and whether these are all."""
    count = len(comparison.words)
    parts = ["Scores as shares of each method's own largest by magnitude."]
    for kind, says in _GREY.items():
        pairs = zip(comparison.methods, kinds(comparison), strict=True)
        if of_kind := [name for name, other in pairs if other is kind]:
            parts.append(f"In grey, {kind.value}: {phrases.visible(', '.join(of_kind))} ({says}).")
    if count > most:
        parts.append(f"The {most} strongest of {count} words, in text order.")
    return " ".join(parts)


def meaning(comparison: Comparison) -> Meaning:
    """Return what the signs say: of the first method whose scores have sides, if there is one."""
    sided = np.array([kind is Kind.SIDES for kind in kinds(comparison)])
    if not sided.any():
        return Meaning(None, None, "")
    first = list(comparison.results.values())[int(np.argmax(sided))]
    return score_meaning(first).shown(comparison.scores[sided])


def methods(comparison: Comparison) -> Iterator[str]:
    """Yield how each method made its scores, and what is special about these."""
    results = comparison.results.values()
    with_sign = (result for result in results if result.provenance.unsigned is None)
    usual = score_meaning(next(with_sign, comparison.first))
    for name, result in comparison.results.items():
        summary, by_method = method_summary(result), score_meaning(result)
        called = "" if name.partition(":")[0] == result.provenance.method else f"{name}: "
        is_usual = (by_method.positive, by_method.negative) == (usual.positive, usual.negative)
        yield f"{called}{summary}{'' if is_usual else f'. {by_method.sentence}'}"


def correlations(comparison: Comparison) -> list[list[str]]:
    """Return the rank correlations of one target as text; nothing of a method with itself."""
    return [
        ["" if n == m else phrases.decimal(value, 2, "+") for m, value in enumerate(row)]
        for n, row in enumerate(comparison.rank_correlations.tolist())
    ]
