"""From token scores to what is hidden: units by importance, and how many of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from normxlogit.results.reductions import reduce_runs

Order = NDArray[np.intp]
"""Units by importance, the most important first, intp [units]."""


def unit_scores(
    scores: NDArray[np.floating], units: NDArray[np.intp], count: int, reduction: str = "sum"
) -> NDArray[np.float64]:
    """Reduce the scores of each unit's tokens, nan left out; nan for units without any score.

    Args:
        scores: of tokens, [tokens].
        units: the unit that each token belongs to, -1 for none, [tokens].
        count: the number of units.
        reduction: see `reduce_runs`.

    Returns:
        float64 [units].
    """
    tokens = np.argsort(units, kind="stable")[np.count_nonzero(units < 0) :]
    # An explanation of a decoder's tokens lacks the last unit where that is the text's last token.
    scored, starts = np.unique(units[tokens], return_index=True)
    by_unit = np.full(count, np.nan)
    by_unit[scored] = reduce_runs(scores[tokens].astype(np.float64), starts, reduction)
    return by_unit


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
