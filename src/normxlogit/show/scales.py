"""Which score is the largest, and which are the strongest."""

from collections.abc import Sequence

import numpy as np

from normxlogit.results.base import Floats


def scale(scores: Floats) -> float:
    """Return the largest score by size; 1 if all are 0, or there are none."""
    return float(np.nanmax(np.abs(scores), initial=0.0)) or 1.0


def strongest(scores: Floats, rows: Sequence[int], count: int) -> list[int]:
    """Return the `count` rows with the largest scores [..., tokens] by size, in their order."""
    sizes = np.abs(scores).reshape(-1, scores.shape[-1]).max(0)
    return sorted(sorted(rows, key=lambda i: -sizes[i])[:count], key=rows.index)
