"""From scores of tokens to what is hidden: units by importance, and how many of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]
"""Units by importance, the most important first, intp [units]."""


def unit_scores(
    scores: NDArray[np.floating], units: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """The sum over each unit's tokens of what is a number; nan for units without any.

    Args:
        scores: of tokens, [tokens].
        units: the unit that each token belongs to, -1 for none, [tokens].
        count: how many units there are.

    Returns:
        float64 [units].
    """
    counted = (units >= 0) & ~np.isnan(scores)
    own = units[counted]
    total = np.bincount(own, scores[counted].astype(np.float64), count)
    found: NDArray[np.float64] = np.where(np.bincount(own, minlength=count) > 0, total, np.nan)
    return found


def rank_units(scores: NDArray[np.float64]) -> Order:
    """Units by score, the highest first; of like scores the first in the text first; nan last."""
    return np.argsort(-scores, kind="stable")


def hidden_sets(order: Order, counts: Sequence[int]) -> NDArray[np.bool_]:
    """Which units are hidden if the first so many of an order are, bool [counts, units]."""
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return rank < np.array(counts, np.intp)[:, None]
