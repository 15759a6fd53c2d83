"""A text of a corpus with its words in their colours, which terminal and page share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from normxlogit.corpus.summaries.findings import Difference, Mark

_FAINT = 0.05
"""The share of the largest score below which words stay without colour."""


@dataclass(frozen=True)
class Piece:
    """A piece of a text, and its score with its share of the largest; None between words."""

    text: str
    score: float | None = None
    share: float | None = None


def passages(difference: Difference, length: int) -> list[list[Piece]]:
    """Return the text of a row, or both of a pair, in pieces; empty if only hashes are known.

    Of a text longer than `length` the part around its strongest word is left.
    """
    largest = max((abs(mark[2]) for text in difference.marks for mark in text), default=0.0) or 1.0
    texts = [text for text in (difference.text, difference.pair) if text is not None]
    return [
        list(_pieces(text, marks, largest, length))
        for text, marks in zip(texts, difference.marks, strict=True)
    ]


def _pieces(text: str, marks: Sequence[Mark], largest: float, length: int) -> Iterator[Piece]:
    strongest = max(marks, key=lambda mark: abs(mark[2]), default=(0, 0, 0.0))
    first = max(0, min(strongest[0] - length // 2, len(text) - length))
    last = first + length
    if first > 0:
        yield Piece("… ")
    position = first
    for start, end, score in marks:
        if start < first or end > last:
            continue
        yield Piece(text[position:start])
        share = score / largest
        yield Piece(text[start:end], score, share if abs(share) >= _FAINT else None)
        position = end
    yield Piece(text[position:last])
    if last < len(text):
        yield Piece(" …")
