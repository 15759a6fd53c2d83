"""Weights of attention heads by ridge regression, the penalty chosen on questions left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats64 = NDArray[np.float64]

_PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Multiples of the mean sum of squares of a feature."""
_FOLDS = 5
MATTERS = 0.5
"""An answer rests on a source that costs it half of its probability."""


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """Weights of heads, and how well they do on questions that they were not fitted on.

    Attributes:
        weights: float64 [heads].
        penalty: the multiple that was chosen.
        agreement: for each penalty, the share of left-out questions with an effect whose leading
            source is that of the weights too.
    """

    weights: Floats64
    penalty: float
    agreement: dict[float, float]


def effects(drops: Floats64) -> Floats64:
    """The share of its probability that an answer loses without a source, 0 to 1.

    Drops of log-probability have no upper end: a few of them would decide a fit, and how far below
    a billionth an answer falls says nothing of what it rests on.
    """
    return 1 - np.exp(-np.clip(drops, 0, None))


def fit_heads(features: Sequence[Floats64], targets: Sequence[Floats64]) -> HeadWeights:
    """Fit weights w that minimise sum (x w - y)^2 + penalty |w|^2.

    There is no constant: a source that no head attends to has the score 0.

    Args:
        features: for each question, of two or more, what each head pays to each source,
            float64 [sources, heads].
        targets: the effect of each source, [sources].
    """
    folds = np.arange(len(features)) % min(_FOLDS, len(features))
    hits = dict.fromkeys(_PENALTIES, 0)
    resting = [n for n, y in enumerate(targets) if y.max() >= MATTERS]
    for fold in range(int(folds.max()) + 1):
        rest = [n for n, of in enumerate(folds) if of != fold]
        solutions = _solve([features[n] for n in rest], [targets[n] for n in rest])
        for n in resting:
            if folds[n] == fold:
                for penalty, weights in solutions.items():
                    hits[penalty] += (features[n] @ weights).argmax() == targets[n].argmax()
    # Of equally good penalties the largest: the plainest weights.
    best = max(_PENALTIES, key=lambda penalty: (hits[penalty], penalty))
    agreement = {penalty: count / max(1, len(resting)) for penalty, count in hits.items()}
    return HeadWeights(_solve(features, targets)[best], best, agreement)


def _solve(features: Sequence[Floats64], targets: Sequence[Floats64]) -> dict[float, Floats64]:
    """The weights for each of the penalties, all from one decomposition."""
    x, y = np.concatenate(features), np.concatenate(targets)
    left, sizes, right = np.linalg.svd(x, full_matrices=False)
    scale = np.square(sizes).sum() / x.shape[1]
    return {
        penalty: right.T @ (sizes / (np.square(sizes) + penalty * scale) * (left.T @ y))
        for penalty in _PENALTIES
    }
