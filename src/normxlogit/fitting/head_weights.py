"""Weights of attention heads by ridge regression, the penalty chosen on questions left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats64 = NDArray[np.float64]

_PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Multiples of the mean square of a feature."""
_FOLDS = 5


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
        features: for each question what each head pays to each source, [sources, heads].
        targets: the effect of each source, [sources].
    """
    grams = [x.T @ x for x in features]
    products = [x.T @ y for x, y in zip(features, targets, strict=True)]
    folds = np.arange(len(features)) % min(_FOLDS, len(features))
    matters = [bool(y.max() > 0.5) for y in targets]
    hits = dict.fromkeys(_PENALTIES, 0)
    for fold in range(folds.max() + 1):
        rest = [n for n in range(len(features)) if folds[n] != fold or folds.max() == 0]
        gram, product = sum(grams[n] for n in rest), sum(products[n] for n in rest)
        for penalty in _PENALTIES:
            weights = _solve(gram, product, penalty)
            for n in np.flatnonzero(folds == fold):
                is_hit = int((features[n] @ weights).argmax()) == int(targets[n].argmax())
                hits[penalty] += matters[n] and is_hit
    # Of equally good penalties the largest: the plainest weights.
    best = max(_PENALTIES, key=lambda penalty: (hits[penalty], penalty))
    count = max(1, sum(matters))
    return HeadWeights(
        _solve(sum(grams), sum(products), best),
        best,
        {penalty: hit / count for penalty, hit in hits.items()},
    )


def _solve(gram: Floats64, product: Floats64, penalty: float) -> Floats64:
    size = len(gram)
    scale = penalty * np.trace(gram) / size
    solution: Floats64 = np.linalg.solve(gram + scale * np.eye(size), product)
    return solution
