"""The order of scores."""

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import one_of

BY = ("score", "magnitude")


def strongest_first(scores: NDArray[np.float32], by: str) -> NDArray[np.intp]:
    """Return the numbers of scores [n] from the strongest; of equal ones the first comes first.

    Args:
        scores: the scores.
        by: "score", the most positive first; "magnitude", the largest of either sign first.

    Raises:
        OptionError: `by` is neither.
    """
    by = one_of("by", by, BY)
    return np.argsort(-(np.abs(scores) if by == "magnitude" else scores), kind="stable")
