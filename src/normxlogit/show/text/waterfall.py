"""How additive scores lead from the base value to what the model says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show import phrases
from normxlogit.show.meaning import total_name
from normxlogit.show.scales import scale

STEPS = 3
"""How many words have a step of their own in a sum on a line."""


@dataclass(frozen=True)
class Step:
    """A step: the word, or words, that make it, and where it begins and ends."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Waterfall:
    """The way from a base value to a total.

    Attributes:
        steps: one after the other, from the base value on; the last ends at the total.
        base: the base value.
        total: what base value and scores sum up to.
        total_name: what that is.
    """

    steps: list[Step]
    base: float
    total: float
    total_name: str

    @property
    def largest(self) -> float:
        """The largest number by size, which decides how many figures are shown."""
        ends = [self.base, self.total, *(step.end - step.start for step in self.steps)]
        return scale(np.array(ends, np.float32))


def waterfall(
    attribution: Attribution, names: Sequence[str], rows: Sequence[int]
) -> Waterfall | None:
    """Return the steps of one target and layer.

    None if the scores are not additive, or are of spans, which may leave out a part of the text.

    Args:
        attribution: what is shown.
        names: of all its tokens.
        rows: the tokens that get a step of their own, in this order; all others share the last.
    """
    if attribution.base is None or attribution.unit == "span":
        return None
    base = at = attribution.base[0]
    scores = attribution.scores.astype(np.float64)
    steps = []
    for row in rows:
        steps.append(Step(names[row], at, at + float(scores[row])))
        at = steps[-1].end
    rest = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), rows)
    total = base + float(np.nansum(scores))
    if len(rest):
        others = f"{len(rest)} other {attribution.unit}{'s' * (len(rest) > 1)}"
        steps.append(Step(others, at, total))
    return Waterfall(steps, base, total, total_name(attribution))


def as_sum(fall: Waterfall) -> list[tuple[str, str]]:
    """Return the steps as a sum on a line: names, and what stands behind each."""

    def text(value: float) -> str:
        return phrases.number(value, fall.largest)

    # No-break spaces keep each name and its number on one line.
    changes = [(step.name, f"\xa0{text(step.end - step.start)}") for step in fall.steps]
    terms = [("base value", f"\xa0{text(fall.base)}"), *changes]
    parts = [(name, f"{number}, ") for name, number in terms[:-1]]
    return [*parts, (terms[-1][0], f"{terms[-1][1]} = {text(fall.total)}, {fall.total_name}")]
