"""Sets of words to show while all others are hidden."""

from itertools import product
from math import comb

import numpy as np
from numpy.typing import NDArray


def draw(words: int, count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw sets by the Shapley kernel, each with its complement.

    Lundberg & Lee 2017, SHAP, theorem 2: sizes k have probability in proportion to 1 / (k (n - k)),
    and sets of one size are alike likely; Covert & Lee 2021, Improving KernelSHAP: pairs of
    complements have less variance.

    Args:
        words: how many words there are.
        count: how many sets to draw, an even number.
        generator: draws them.

    Returns:
        Which words are shown, bool [count, words]; [0, words] for fewer than two words, which have
        no set but none and all.
    """
    if words < 2:
        return np.zeros((0, words), np.bool_)
    sizes = np.arange(1, words)
    weights = 1 / (sizes * (words - sizes))
    drawn = generator.choice(sizes, count // 2, p=weights / weights.sum())
    # The ranks of random numbers are a random order, of which the first k are a random set of k.
    ranks = generator.random((count // 2, words)).argsort(1).argsort(1)
    shown = ranks < drawn[:, None]
    return np.stack([shown, ~shown], 1).reshape(count, words)


def every(words: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """All sets but none and all, bool [sets, words], and their Shapley kernel, [sets]."""
    sets = np.array(list(product([False, True], repeat=words))[1:-1], np.bool_).reshape(-1, words)
    sizes = sets.sum(1)
    kernel = [(words - 1) / (comb(words, k) * k * (words - k)) for k in sizes.tolist()]
    return sets, np.array(kernel)
