"""Does a ranking of a text's parts tell what the model's output rests on?

All of it is about f(x), the probability of the class that the model predicts for the whole text, or
the value of a regression; x without some units is that text with these hidden (see `operators`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from normxlogit.evaluation.perturb.predictions import Outputs, PredictionCache
from normxlogit.evaluation.perturb.rankings import Order, hidden_sets
from normxlogit.evaluation.perturb.samples import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranked:
    """A text, and its units in an order.

    Attributes:
        sample: the text.
        order: its units, the most important first.
        counts: how many units the ratios are.
    """

    sample: Sample
    order: Order
    counts: Sequence[int]


@dataclass(frozen=True, eq=False)
class Erased:
    """What a model says with the most important units hidden, and with all others hidden.

    Attributes:
        without_top: float64 [ratios, outputs].
        top_alone: float64 [ratios, outputs].
    """

    without_top: Outputs
    top_alone: Outputs


def erase(cache: PredictionCache, rankings: Sequence[Ranked]) -> list[Erased]:
    """Hide the first units of each order, and then the others."""
    tops = [hidden_sets(ranked.order, ranked.counts) for ranked in rankings]
    asked = [
        (ranked.sample, np.concatenate([top, ~top]))
        for ranked, top in zip(rankings, tops, strict=True)
    ]
    return [Erased(*np.split(found, 2)) for found in cache.predict(asked)]


def drop(sample: Sample, outputs: Outputs) -> Floats:
    """How much of f(x) is lost: of comprehensiveness and sufficiency (DeYoung et al. 2020).

    f(x) - f(x'), the confidence drop, and for a regression |f(x) - f(x')|.

    Args:
        sample: x, whole.
        outputs: what the model says of variants x', [variants, outputs].

    Returns:
        float64 [variants].
    """
    return loss(sample, outputs[:, sample.said])


def loss(sample: Sample, values: Floats) -> Floats:
    """The same for values f(x'), [variants]."""
    lost: Floats = sample.output[sample.said] - values
    return np.abs(lost) if len(sample.output) == 1 else lost


def said(outputs: Outputs) -> Floats:
    """The class that the model says, by its id, or its value, float64 [variants]."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Curves:
    """f(x) less what is lost, as one unit after the other is hidden, or shown.

    Attributes:
        deletion: with none hidden, the first of the order, the first two, ..., all: float64 [units
            + 1].
        insertion: with all hidden, all but the first, ..., none.
    """

    deletion: Floats
    insertion: Floats

    @property
    def areas(self) -> tuple[float, float]:
        """The areas under both, over the share of units from 0 to 1 (Petsiuk et al. 2018): that of
        deletion is the smaller the better, that of insertion the larger.
        """
        return area(self.deletion), area(self.insertion)

    @property
    def stepwise(self) -> tuple[float, float]:
        """What is lost on average over all steps: as the most important units are hidden one by
        one, and as the least important are.
        """
        return stepwise(self.deletion), stepwise(self.insertion[::-1])


def curves(cache: PredictionCache, rankings: Sequence[Ranked]) -> list[Curves]:
    """Both curves of each ranking."""
    asked = []
    for ranked in rankings:
        steps = range(ranked.sample.count + 1)
        first = hidden_sets(ranked.order, steps)
        asked.append((ranked.sample, np.concatenate([first, ~first])))
    found = []
    for ranked, outputs in zip(rankings, cache.predict(asked), strict=True):
        kept = ranked.sample.output[ranked.sample.said] - drop(ranked.sample, outputs)
        found.append(Curves(*np.split(kept, 2)))
    return found


def area(values: Floats) -> float:
    """The area under values at even steps from 0 to 1, by trapezoids; of one value itself."""
    if len(values) == 1:
        return float(values[0])
    return float((values[1:] + values[:-1]).mean() / 2)


def stepwise(curve: Floats) -> float:
    """The mean of f(x) - f(x') over all steps but the first, of x itself: AOPC, a unit a step.

    Samek et al. 2017, and with L = the number of units Edin et al. 2025, equation 1.
    """
    return float((curve[0] - curve[1:]).mean()) if len(curve) > 1 else 0.0


def leave_one_out(cache: PredictionCache, samples: Sequence[Sample]) -> list[Floats]:
    """What hiding each unit alone loses, see `drop`, for each text float64 [units]."""
    asked = [(sample, np.eye(sample.count, dtype=np.bool_)) for sample in samples]
    found = cache.predict(asked)
    return [drop(sample, outputs) for sample, outputs in zip(samples, found, strict=True)]


def tau(scores: Floats, lost: Floats) -> float:
    """Kendall's rank correlation tau-b of scores with what leaving each unit out loses, [units].

    Units without a score (nan) count as those of the lowest. Scores that are all alike tell
    nothing: 0. Where all losses are alike there is nothing to tell: nan.
    """
    if len(lost) < 2 or (lost == lost[0]).all():
        return float("nan")
    low = np.where(np.isnan(scores), -np.inf, scores)
    return 0.0 if (low == low[0]).all() else float(kendalltau(low, lost).statistic)
