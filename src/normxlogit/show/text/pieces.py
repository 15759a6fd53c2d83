"""A text cut into what its tokens cover, and the tokens that are listed."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show.scales import scale


@dataclass(frozen=True)
class Piece:
    """A part of a text: what one or more tokens cover, or what stands between them.

    Attributes:
        text: its characters.
        start: the number of the first of them in the text.
        score: the sum of its tokens' scores; None between tokens.
        special: whether its tokens are special, such as a sink, so that it is not coloured.
    """

    text: str
    start: int
    score: float | None
    special: bool = False


def pieces(attribution: Attribution, segment: int) -> list[Piece]:
    """Cut one of the texts into pieces; the attribution is of one target and layer."""
    text, position = attribution.texts[segment], 0
    tokens = np.flatnonzero(attribution.segments == segment)
    cut = []
    for start, end, numbers in covered(text, ((int(i), *attribution.offsets[i]) for i in tokens)):
        if start > position:
            cut.append(Piece(text[position:start], position, None))
        score = float(np.nansum(attribution.scores[numbers]))
        special = bool(attribution.special[numbers].all())
        cut.append(Piece(text[start:end], start, score, special))
        position = end
    if position < len(text):
        cut.append(Piece(text[position:], position, None))
    return cut


def covered(text: str, tokens: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, list[int]]]:
    """Find where visible characters of tokens are: first, last + 1, and the tokens' numbers.

    Args:
        text: the text.
        tokens: the number, first character and last + 1 of each. Those that share characters are
            put together, and those without a visible one left out.
    """
    spans: list[tuple[int, int, list[int]]] = []
    for number, start, end in sorted(tokens, key=lambda token: token[1:]):
        # Many tokenizers count the space before a word as part of it; only the word is coloured.
        start = int(end) - len(text[start:end].lstrip())
        if spans and start < spans[-1][1]:
            # Several tokens may have the same characters: the bytes of an emoji, for example. They
            # become one piece, which may grow at its end only, since tokens come sorted.
            first, last, before = spans.pop()
            spans.append((first, max(last, int(end)), [*before, number]))
        elif start < end:
            spans.append((start, int(end), [number]))
    return spans


def listed(attribution: Attribution, special: bool) -> list[int]:
    """Return the numbers of the tokens to list: those that have scores."""
    scored = ~np.isnan(attribution.scores.reshape(-1, len(attribution))).all(0)
    return [int(i) for i in np.flatnonzero(scored & (special | ~attribution.special))]


def color_scale(attribution: Attribution) -> float:
    """Return the score that gets the full colour: the largest of a token that is not special.

    Special tokens, sinks above all, may have scores so large that all words would be pale.
    """
    return scale(attribution.scores[..., ~attribution.special])
