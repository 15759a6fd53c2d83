"""A sparse linear model of what random sets of sources change: ContextCite."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.extras import require
from normxlogit.results.base import Floats

_SHARE = 0.5
"""The chance of each source to be kept."""
_PENALTY = 0.01


def draw_kept(ablations: int, parts: int, seed: int) -> NDArray[np.bool_]:
    """Draw which parts each ablation keeps, bool [ablations, parts]."""
    return np.random.default_rng(seed).random((ablations, parts)) < _SHARE


def fit_surrogate(kept: NDArray[np.bool_], logprobs: Floats) -> Floats:
    """Fit a Lasso to the log-odds of an answer's spans with parts removed.

    Cohen-Wang et al. 2024, ContextCite: Attributing Model Generation to Context (NeurIPS). A weight
    is how much the log-odds rise with the part.

    Args:
        kept: which parts were kept, bool [ablations, parts].
        logprobs: of the spans, in nats, float32 [ablations, spans].

    Returns:
        float32 [spans, parts].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    linear_model: Any = require("sklearn.linear_model", "sources", need="Lasso needs scikit-learn")
    varies = kept.any(0) & ~kept.all(0)
    weights = np.zeros((logprobs.shape[1], kept.shape[1]), np.float32)
    if not varies.any():
        return weights
    inputs = kept[:, varies].astype(np.float64)
    mean, deviation = inputs.mean(0), inputs.std(0)
    for number, values in enumerate(_log_odds(logprobs).T):
        lasso = linear_model.Lasso(alpha=_PENALTY).fit((inputs - mean) / deviation, values)
        weights[number, varies] = lasso.coef_ / deviation
    return weights


def _log_odds(logprobs: Floats) -> NDArray[np.float64]:
    # log p - log (1 - p); a probability that rounds to one has the log-odds of the next below it.
    values = np.minimum(logprobs.astype(np.float64), -1e-7)
    return values - np.log(-np.expm1(values))
