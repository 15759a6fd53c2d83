"""Sets of words: of all that there are, and at random."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Sets = NDArray[np.bool_]
"""Sets of words, bool [sets, words]."""


def count_every(words: int) -> int:
    """How many sets there are that are neither none nor all of the words."""
    return (1 << words) - 2


def every_set(words: int) -> Sets:
    """Return every set of words but none and all."""
    return np.array(list(product([False, True], repeat=words))[1:-1], np.bool_)


def draw_sets(sizes: NDArray[np.int64], words: int, generator: np.random.Generator) -> Sets:
    """Draw a set of words of each size; sets of one size are alike likely."""
    # The ranks of random numbers are a random order, of which the first k are a random set of k.
    ranks = generator.random((len(sizes), words)).argsort(1).argsort(1)
    sets: Sets = ranks < sizes[:, None]
    return sets
