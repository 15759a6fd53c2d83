"""Faithfulness: does a ranking of a text's parts show what the model's output rests on?

f(x) is the probability of the class that the model predicts for the whole text, or the value of a
regression. A variant x' is the text with some units hidden (see `perturb.operators`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.perturb.predictions import Outputs, PredictionCache
from normxlogit.evaluation.perturb.rankings import Order, hidden_sets
from normxlogit.evaluation.perturb.samples import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranked:
    """A text and a ranking of its units.

    Attributes:
        sample: the text.
        order: its units, the most important first.
        counts: the number of units for each ratio.
    """

    sample: Sample
    order: Order
    counts: Sequence[int]


@dataclass(frozen=True, eq=False)
class Erased:
    """The model's outputs with the most important units hidden, and with all others hidden.

    Attributes:
        without_top: float64 [ratios, outputs].
        top_alone: float64 [ratios, outputs].
    """

    without_top: Outputs
    top_alone: Outputs


def erase(cache: PredictionCache, rankings: Sequence[Ranked]) -> list[Erased]:
    """Hide the first units of each order, and all but these."""
    tops = [hidden_sets(ranked.order, ranked.counts) for ranked in rankings]
    requests = [
        (ranked.sample, np.concatenate([top, ~top]))
        for ranked, top in zip(rankings, tops, strict=True)
    ]
    # Each is [2 * ratios, outputs].
    return [Erased(*np.split(outputs, 2)) for outputs in cache.predict(requests)]


def drop(sample: Sample, outputs: Outputs) -> Floats:
    """The loss in comprehensiveness and sufficiency (DeYoung et al. 2020).

    f(x) - f(x'), the drop in confidence; for regressions |f(x) - f(x')|.

    Args:
        sample: x, whole.
        outputs: the model's outputs for variants x', [variants, outputs].

    Returns:
        float64 [variants].
    """
    return loss(sample, outputs[:, sample.target])


def loss(sample: Sample, values: Floats) -> Floats:
    """As `drop`, from values f(x'), [variants]."""
    lost: Floats = sample.output[sample.target] - values
    return np.abs(lost) if len(sample.output) == 1 else lost


def predicted(outputs: Outputs) -> Floats:
    """The id of the predicted class, or the value, float64 [variants]."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Curves:
    """f(x) minus the loss, as units are hidden one by one, or shown one by one.

    Attributes:
        deletion: with none hidden, the first of the order, the first two, ..., all: float64 [units
            + 1].
        insertion: with all hidden, all but the first, ..., none: float64 [units + 1].
    """

    deletion: Floats
    insertion: Floats

    @property
    def areas(self) -> tuple[float, float]:
        """The areas under both, over the share of units from 0 to 1 (Petsiuk et al. 2018).

        Lower is better for deletion, higher for insertion.
        """
        return area(self.deletion), area(self.insertion)

    @property
    def stepwise(self) -> tuple[float, float]:
        """The mean loss over all steps, hiding the most and the least important units first."""
        return stepwise(self.deletion), stepwise(self.insertion[::-1])


def curves(cache: PredictionCache, rankings: Sequence[Ranked]) -> list[Curves]:
    """Compute both curves of each ranking."""
    requests = []
    for ranked in rankings:
        steps = range(ranked.sample.count + 1)
        first = hidden_sets(ranked.order, steps)
        requests.append((ranked.sample, np.concatenate([first, ~first])))
    results = []
    for ranked, outputs in zip(rankings, cache.predict(requests), strict=True):
        # f(x') itself for probabilities. For regressions the loss has no sign, so this falls as
        # the value moves in either direction.
        kept = ranked.sample.output[ranked.sample.target] - drop(ranked.sample, outputs)
        results.append(Curves(*np.split(kept, 2)))  # kept: [2 * (units + 1)]
    return results


def area(values: Floats) -> float:
    """The area under evenly spaced values from 0 to 1, by trapezoids; a single value is its own."""
    if len(values) == 1:
        return float(values[0])
    return float((values[1:] + values[:-1]).mean() / 2)


def stepwise(curve: Floats) -> float:
    """AOPC with one unit per step: the mean of f(x) - f(x') over all steps after x itself.

    Samek et al. 2017; Edin et al. 2025, equation 1, with L the number of units.
    """
    return float((curve[0] - curve[1:]).mean()) if len(curve) > 1 else 0.0


def leave_one_out(cache: PredictionCache, samples: Sequence[Sample]) -> list[Floats]:
    """The loss of hiding each unit alone, see `drop`: float64 [units] for each text."""
    requests = [(sample, np.eye(sample.count, dtype=np.bool_)) for sample in samples]
    predictions = cache.predict(requests)
    return [drop(sample, outputs) for sample, outputs in zip(samples, predictions, strict=True)]
