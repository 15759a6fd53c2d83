"""Which words stand out: those that a sentence may name.

They need not be the top words that `verify` hides: those are the first of the ranking, function
words too, for it is the ranking that is tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.results.base import Floats
from normxlogit.show.text.function_words import is_light

Sizes = NDArray[np.float64]

MOST = 3
"""The most words that are named as one side."""

STANDING = 1.5
"""A word stands out with this many times the mean size of all other words."""

LIGHT = 0.5
"""How strong a content word has to be beside a function word or a mark to be named instead."""

FELLOW = 0.5
"""Further words are named down to this share of the first one's strength."""

NOTABLE = 0.25
"""The other side is named from this share of the strength of the side that stands out."""


@dataclass(frozen=True)
class Prominent:
    """The words that stand out, by number, the strongest first.

    Attributes:
        supporters: with positive strengths.
        opposers: with negative ones.
        majority: whether the supporters, wherever they stand, have at least half of all that is
            positive.
        first: whether no word has a higher strength than the first of the supporters.
    """

    supporters: list[int]
    opposers: list[int]
    majority: bool
    first: bool


def prominent(words: Sequence[str], strengths: Floats) -> Prominent:
    """Find the words that stand out on either side of zero.

    Args:
        words: the words of a text.
        strengths: of each, float32 [words].
    """
    sizes = np.abs(strengths).astype(np.float64)
    light = np.array([is_light(word) for word in words], bool)
    support, opposition = (np.where(sign * strengths > 0, sizes, 0.0) for sign in (1, -1))

    def leading(side: Sizes) -> list[int]:
        content = np.where(light, 0.0, side)
        if content.max(initial=0.0) < LIGHT * side.max(initial=0.0):
            return _strongest(words, side, sizes, STANDING)
        named = _strongest(words, content, sizes, STANDING)
        return named or _strongest(words, side, sizes, STANDING)

    def beside(side: Sizes, others: list[int]) -> list[int]:
        """Beside words that stand out, a content word on the other side is above the rest."""
        notable = side >= NOTABLE * sizes[others].max(initial=0.0)
        rest = sizes.copy()
        rest[others] = 0.0
        return _strongest(words, np.where(light | ~notable, 0.0, side), rest, 1.0)

    supporters, opposers = leading(support), leading(opposition)
    if supporters and support.max() >= opposition.max():
        opposers = beside(opposition, supporters)
    elif opposers:
        supporters = beside(support, opposers)
    names = {words[i].casefold() for i in supporters}
    named = np.array([word.casefold() in names for word in words], bool)
    majority = bool(2 * support[named].sum() >= support.sum())
    first = not supporters or bool(support[supporters[0]] == support.max())
    return Prominent(supporters, opposers, majority, first)


def _strongest(words: Sequence[str], side: Sizes, sizes: Sizes, standing: float) -> list[int]:
    """Return the words of one side to name, each once, if the first of them stands out.

    Args:
        words: all words.
        side: the sizes of those of the side, 0 for others, [words].
        sizes: of all, [words].
        standing: how many times the mean of all others the first one's has to be.
    """
    order = [int(i) for i in np.argsort(-side, kind="stable") if side[i] > 0]
    if not order:
        return []
    first = side[order[0]]
    if first * (len(words) - 1) < standing * (sizes.sum() - first):
        return []
    named: dict[str, int] = {}
    for i in order:
        if side[i] >= FELLOW * first:
            named.setdefault(words[i].casefold(), i)
    return list(named.values())[:MOST]
