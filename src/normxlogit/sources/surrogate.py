"""A sparse linear model of what random sets of sources change: ContextCite."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import whole_number
from normxlogit.extras import require
from normxlogit.results.base import Floats
from normxlogit.sources.ablation import TokenSpan
from normxlogit.sources.case import Case

ABLATIONS = 32

_SHARE = 0.5
"""The chance of each source to be kept."""
_PENALTY = 0.01
"""Of a weight, for each token of a span: the log-odds of longer spans vary more."""


def surrogate(
    case: Case, parts: Sequence[TokenSpan], ablations: int = ABLATIONS, seed: int = 0
) -> Floats:
    """The weight of each part in a sparse linear model of the span's log-odds.

    Cohen-Wang et al. 2024, ContextCite: Attributing Model Generation to Context (NeurIPS). The
    model is fitted to random sets of parts: each is removed with a chance of one half. A weight is
    how far the log-odds rise with the part, other parts being there or not. Cost: a forward pass
    for each set. Take it over leaving each out where several parts say the same, or for many.

    Args:
        case: the answer and its prompt.
        parts: the parts of the prompt.
        ablations: how many sets are drawn.
        seed: of the draw.

    Raises:
        OptionError: an option is out of range.
        MissingExtraError: scikit-learn is not installed.
    """
    whole_number("ablations", ablations, least=2)
    whole_number("seed", seed, least=0)
    _linear_model()
    kept = draw_kept(ablations, len(parts), seed)
    removed = [[part for part, stays in zip(parts, row, strict=True) if not stays] for row in kept]
    return fit_surrogate(kept, case.logprobs(removed), [len(numbers) for numbers in case.spans])


def surrogate_passes(parts: int, ablations: int = ABLATIONS, **_options: Any) -> int:
    """Return how many forward passes it takes at most: one for each set of parts to remove."""
    drawn: int = whole_number("ablations", ablations, least=2)
    sets: int = 2**parts - 1
    return min(drawn, sets)


def draw_kept(ablations: int, parts: int, seed: int) -> NDArray[np.bool_]:
    """Draw which parts each ablation keeps, bool [ablations, parts]."""
    return np.random.default_rng(seed).random((ablations, parts)) < _SHARE


def fit_surrogate(kept: NDArray[np.bool_], logprobs: Floats, tokens: Sequence[int]) -> Floats:
    """Fit a Lasso to the log-odds of an answer's spans with parts removed.

    Args:
        kept: which parts were kept, bool [ablations, parts].
        logprobs: of the spans, in nats, float32 [ablations, spans].
        tokens: how many tokens each span has.

    Returns:
        float32 [spans, parts].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    linear_model = _linear_model()
    varies = kept.any(0) & ~kept.all(0)
    weights = np.zeros((logprobs.shape[1], kept.shape[1]), np.float32)
    if not varies.any():
        return weights
    inputs = kept[:, varies].astype(np.float64)
    mean, deviation = inputs.mean(0), inputs.std(0)
    for number, values in enumerate(_log_odds(logprobs).T):
        lasso = linear_model.Lasso(alpha=_PENALTY * tokens[number])
        lasso.fit((inputs - mean) / deviation, values)
        weights[number, varies] = lasso.coef_ / deviation
    return weights


def _log_odds(logprobs: Floats) -> NDArray[np.float64]:
    # log p - log (1 - p); a probability that rounds to one has the log-odds of the next below it.
    values = np.minimum(logprobs.astype(np.float64), -1e-7)
    return values - np.log(-np.expm1(values))


def _linear_model() -> Any:
    return require(
        "sklearn.linear_model", "sources", need="the surrogate's Lasso needs scikit-learn"
    )
