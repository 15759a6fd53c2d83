"""Texts so long that their sentences come first, and the words within them."""

from dataclasses import dataclass, field

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show.text.pieces import Piece, listed, pieces

LONG = 60
"""From how many words on a text is long."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        number: its number among the attribution's sentences.
        pieces: its text.
        words: the numbers of its words.
    """

    number: int
    pieces: list[Piece] = field(default_factory=list)
    words: list[int] = field(default_factory=list)


def is_long(attribution: Attribution) -> bool:
    """Return whether words are scored of a text that is long, and has several sentences."""
    if attribution.unit not in ("token", "word") or len(listed(attribution, False)) < LONG:
        return False
    return len(listed(attribution.sentences(), False)) > len(attribution.texts)


def split(attribution: Attribution, sentences: Attribution) -> list[list[Sentence]]:
    """Split each text into its sentences.

    Args:
        attribution: words, or tokens, of one target and layer.
        sentences: its `sentences()`.
    """
    texts = []
    words = listed(attribution, special=False)
    for segment in range(len(attribution.texts)):
        numbers = np.flatnonzero((sentences.segments == segment) & ~sentences.special)
        starts = sentences.offsets[numbers, 0]
        parts = [Sentence(int(number)) for number in numbers]
        # What stands between two sentences goes with the first, and before all with the next.
        for piece in pieces(attribution, segment):
            at = max(0, int(np.searchsorted(starts, piece.start, "right")) - 1)
            parts[at].pieces.append(piece)
        for word in words:
            if attribution.segments[word] == segment:
                start = attribution.offsets[word, 0]
                at = max(0, int(np.searchsorted(starts, start, "right")) - 1)
                parts[at].words.append(word)
        texts.append(parts)
    return texts
