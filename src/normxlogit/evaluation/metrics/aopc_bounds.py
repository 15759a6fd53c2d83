"""The best and the worst order in which a text's units can be hidden: what AOPC can be at all.

Edin et al. 2025, Normalized AOPC: models differ in how much of their output an order can take away
in the first place, so AOPC alone does not compare them. A text's AOPC is the mean of what is lost
over all steps, so it is a sum over the sets of units that an order hides on its way, and a set that
two orders come by need only be gone on from once, with the better of the sums so far. With a beam
that holds every set of a size this is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normxlogit.evaluation.metrics.faithfulness import drop
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample

BEAM = 5
EXACT = 8
"""Texts of up to so many units are searched through."""

_Set = frozenset[int]


@dataclass(frozen=True)
class Bounds:
    """The largest and the smallest AOPC that an order of a text's units can have."""

    upper: float
    lower: float

    def normalised(self, aopc: float) -> float:
        """Where an AOPC is between the bounds: 1 of the best order, 0 of the worst.

        It is nan where all orders are alike. A beam may miss the best order, so another one may be
        found to be better: what is beyond the bounds counts as at them.
        """
        room = self.upper - self.lower
        if room <= 1e-12:
            return float("nan")
        return float(np.clip((aopc - self.lower) / room, 0, 1))


def bounds(cache: PredictionCache, samples: Sequence[Sample], beam: int = BEAM) -> list[Bounds]:
    """The bounds of each text, exact up to `EXACT` units and beyond by a beam of so many sets."""
    found = {sign: _sums(cache, samples, sign, beam) for sign in (1, -1)}
    return [
        Bounds(high / max(sample.count, 1), -low / max(sample.count, 1))
        for sample, high, low in zip(samples, found[1], found[-1], strict=True)
    ]


def _sums(cache: PredictionCache, samples: Sequence[Sample], sign: int, beam: int) -> list[float]:
    """The largest sum over all steps of the loss times `sign`, for each text."""
    beams: list[dict[_Set, float]] = [{frozenset(): 0.0} for _ in samples]
    for step in range(1, max((sample.count for sample in samples), default=0) + 1):
        running = [n for n, sample in enumerate(samples) if sample.count >= step]
        grown = [_grown(beams[n], samples[n].count) for n in running]
        asked = []
        for n, sets in zip(running, grown, strict=True):
            hidden = np.zeros((len(sets), samples[n].count), np.bool_)
            for row, own in zip(hidden, sets, strict=True):
                row[list(own)] = True
            asked.append((samples[n], hidden))
        for n, sets, outputs in zip(running, grown, cache.predict(asked), strict=True):
            sample = samples[n]
            lost = sign * drop(sample, outputs)
            sums = [
                (before + loss, own)
                for (own, before), loss in zip(sets.items(), lost.tolist(), strict=True)
            ]
            if sample.count > EXACT:
                sums = sorted(sums, key=lambda pair: -pair[0])[:beam]
            beams[n] = {own: total for total, own in sums}
    return [max(beam.values()) for beam in beams]


def _grown(beam: dict[_Set, float], count: int) -> dict[_Set, float]:
    """The sets with one unit more, each with the best sum that leads to it."""
    found: dict[_Set, float] = {}
    for own, total in beam.items():
        for unit in range(count):
            if unit not in own:
                bigger = own | {unit}
                found[bigger] = max(found.get(bigger, total), total)
    return found
