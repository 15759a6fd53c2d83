"""From token scores to what is hidden: units by importance, and how many of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]
"""Units by importance, the most important first, intp [units]."""


def unit_scores(
    scores: NDArray[np.floating], units: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Sum the scores of each unit's tokens, nan left out; nan for units without any score.

    Args:
        scores: of tokens, [tokens].
        units: the unit that each token belongs to, -1 for none, [tokens].
        count: the number of units.

    Returns:
        float64 [units].
    """
    scored = (units >= 0) & ~np.isnan(scores)
    unit = units[scored]
    total = np.bincount(unit, scores[scored].astype(np.float64), count)
    # A sum of 0 and the lack of any score look alike in `total`; the number of terms tells.
    sums: NDArray[np.float64] = np.where(np.bincount(unit, minlength=count) > 0, total, np.nan)
    return sums


def rank_units(scores: NDArray[np.float64]) -> Order:
    """Rank units from the highest score; ties in the order of the text, nan last."""
    return np.argsort(-scores, kind="stable")


def descending(order: Order) -> NDArray[np.float64]:
    """Make scores that rank units in this order, float64 [units]."""
    scores = np.empty(len(order))
    scores[order] = np.arange(len(order), 0, -1)
    return scores


def hidden_sets(order: Order, counts: Sequence[int]) -> NDArray[np.bool_]:
    """For each count the first so many units of an order, as bool [counts, units]."""
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return rank < np.array(counts, np.intp)[:, None]
