"""Bounds of AOPC: the best and the worst order in which a text's units can be hidden.

Edin et al. 2025, Normalized AOPC: models differ in how much of their output any order can take
away, so AOPC alone does not compare them. AOPC is the mean loss over all steps, a sum over the sets
of units that an order passes through. If two orders reach the same set, only the better partial sum
is extended. A beam that holds every set of each size is therefore exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normxlogit.evaluation.metrics.faithfulness import drop
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample

BEAM = 5
"""How many sets of each size are kept for longer texts."""
EXACT = 8
"""The most units for which all sets are searched: 2 ** 8 of them."""

_Set = frozenset[int]


@dataclass(frozen=True)
class Bounds:
    """The largest and the smallest AOPC of all orders of a text's units."""

    upper: float
    lower: float

    def normalised(self, aopc: float) -> float:
        """Scale an AOPC to 1 for the best order and 0 for the worst; nan if all orders are alike.

        A beam may miss the best order, so an AOPC beyond the bounds is clipped to them.
        """
        width = self.upper - self.lower
        if width <= 1e-12:
            return float("nan")
        return float(np.clip((aopc - self.lower) / width, 0, 1))


def bounds(cache: PredictionCache, samples: Sequence[Sample], beam: int = BEAM) -> list[Bounds]:
    """Find the bounds of each text, exact up to `EXACT` units, by a beam search beyond."""
    highest, lowest = (_best_sums(cache, samples, sign, beam) for sign in (1, -1))
    return [
        Bounds(high / max(sample.count, 1), -low / max(sample.count, 1))
        for sample, high, low in zip(samples, highest, lowest, strict=True)
    ]


def _best_sums(
    cache: PredictionCache, samples: Sequence[Sample], sign: int, beam: int
) -> list[float]:
    """Maximise the sum over all steps of `sign` times the loss, for each text."""
    # All texts take each step together, so that their variants fill batches.
    beams: list[dict[_Set, float]] = [{frozenset(): 0.0} for _ in samples]
    for step in range(1, max((sample.count for sample in samples), default=0) + 1):
        running = [n for n, sample in enumerate(samples) if sample.count >= step]
        successors = [_extend(beams[n], samples[n].count) for n in running]
        requests = []
        for n, sets in zip(running, successors, strict=True):
            hidden = np.zeros((len(sets), samples[n].count), np.bool_)  # [sets, units]
            for row, units in zip(hidden, sets, strict=True):
                row[list(units)] = True
            requests.append((samples[n], hidden))
        for n, sets, outputs in zip(running, successors, cache.predict(requests), strict=True):
            sample = samples[n]
            lost = sign * drop(sample, outputs)  # [sets]
            sums = [
                (before + loss, units)
                for (units, before), loss in zip(sets.items(), lost.tolist(), strict=True)
            ]
            if sample.count > EXACT:
                sums = sorted(sums, key=lambda pair: -pair[0])[:beam]
            beams[n] = {units: total for total, units in sums}
    return [max(beam.values()) for beam in beams]


def _extend(beam: dict[_Set, float], count: int) -> dict[_Set, float]:
    """Add one unit to each set; keep the best sum with which each new set is reached."""
    successors: dict[_Set, float] = {}
    for units, total in beam.items():
        for unit in range(count):
            if unit not in units:
                larger = units | {unit}
                successors[larger] = max(successors.get(larger, total), total)
    return successors
