"""Sets of words to show while all others are hidden."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.perturb.word_sets import Sets, count_every, draw_sets, every_set

Weights = NDArray[np.float32]


def count_sets(words: int, most: int) -> int:
    """How many sets `choose_sets` gives."""
    return min(count_every(words), most)


def choose_sets(words: int, most: int, generator: np.random.Generator) -> tuple[Sets, Weights]:
    """Choose sets of words to show: all but none and all, or as many as there may be, drawn.

    Args:
        words: how many words there are, two or more.
        most: how many sets there may be, an even number.
        generator: draws them.

    Returns:
        Which words are shown, bool [sets, words], and how much each set counts, [sets], which sum
        up to 1: the weighted least squares over them have the Shapley values for their solution,
        or would if all sets were drawn.
    """
    if count_every(words) <= most:
        return _every(words)
    return _draw(words, most, generator), np.full(most, 1 / most, np.float32)


def _every(words: int) -> tuple[Sets, Weights]:
    """All sets but none and all, bool [sets, words], and their Shapley kernel, [sets]."""
    sets = every_set(words)
    sizes = sets.sum(1)
    kernel = np.array([1 / (comb(words, k) * k * (words - k)) for k in sizes.tolist()])
    return sets, (kernel / kernel.sum()).astype(np.float32)


def _draw(words: int, count: int, generator: np.random.Generator) -> Sets:
    """Draw sets by the Shapley kernel, each with its complement, bool [count, words].

    Lundberg & Lee 2017, SHAP, theorem 2: sizes k have probability in proportion to 1 / (k (n - k)),
    and sets of one size are alike likely; Covert & Lee 2021, Improving KernelSHAP: pairs of
    complements have less variance.
    """
    sizes = np.arange(1, words)
    weights = 1 / (sizes * (words - sizes))
    drawn = generator.choice(sizes, count // 2, p=weights / weights.sum())
    shown = draw_sets(drawn, words, generator)
    return np.stack([shown, ~shown], 1).reshape(count, words)
