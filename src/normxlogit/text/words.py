"""Which tokens make a word, and where sentences are: text only, no tensors.

A tokenizer's word ids alone would call a whole sentence one word (SentencePiece without a
pre-tokenizer), tear "don't" into three (BERT) and "2024" into four, part a letter from its accent
(byte-level BPE), and glue the full stop to the word before it. So letters that touch make a word,
as they do for a reader, and the ids decide about the rest: which punctuation marks belong together.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

_WORD_CHARACTER = regex.compile(r"[\w\p{M}]")
_APOSTROPHES = frozenset("'’ʼ")
UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
_SENTENCE_END = regex.compile(r"(?:[.!?…]+[\p{Pe}\p{Pf}\"']*(?=\s)|[。！？]+[\p{Pe}\p{Pf}]*|\n)\s*")

Span = tuple[int, int]


def word_numbers(
    texts: Sequence[str],
    offsets: Sequence[Span],
    segments: Sequence[int],
    word_ids: Sequence[int | None],
) -> NDArray[np.int32]:
    """The number of the word that each token belongs to, counted over all texts; -1 for specials.

    White space belongs to the word after it, or at the end of a text, or of what stands between
    special tokens, to the one before; if there is none it counts as a word.

    Args:
        texts: the text, or the two of a pair.
        offsets: each token's characters in its text.
        segments: which text each token is from, -1 for special tokens.
        word_ids: the tokenizer's own.
    """
    inner = [inside_characters(text) for text in texts]
    numbers = [-1] * len(offsets)
    word, previous, pending = -1, -1, list[int]()
    for i, segment in enumerate(segments):
        if pending and segment != segments[pending[0]]:
            word += previous != pending[0] - 1
            for token in pending:
                numbers[token] = word
            previous, pending = i - 1, []
        if segment < 0:
            continue
        start, end = offsets[i]
        visible = texts[segment][start:end].lstrip()
        if not visible:
            pending.append(i)
            continue
        if previous < 0 or not (
            segments[previous] == segment
            and _joined(
                texts[segment],
                inner[segment],
                offsets[previous][1],
                end - len(visible),
                word_ids[previous] == word_ids[i],
            )
        ):
            word += 1
        for token in (*pending, i):
            numbers[token] = word
        previous, pending = i, []
    for token in pending:
        numbers[token] = max(word, 0)
    return np.array(numbers, np.int32)


def inside_characters(text: str) -> frozenset[int]:
    """Positions inside what a reader sees as one character (an emoji with its modifiers, ...)."""
    if text.isascii() and "\r" not in text:
        return frozenset()  # of ASCII only a carriage return and a line feed make one
    return frozenset(
        position
        for match in regex.finditer(r"\X", text)
        for position in range(match.start() + 1, match.end())
    )


def _joined(text: str, inner: frozenset[int], end: int, start: int, same_id: bool) -> bool:
    """Whether a token that ends before character `end` and one that is visible from `start` on are
    of one word.
    """
    if start < end or start in inner:
        return True
    if start > end or start == 0 or text[start - 1].isspace():
        return False
    left, right = text[start - 1], text[start]
    if _is_inner_apostrophe(text, start) or _is_inner_apostrophe(text, start - 1):
        return True
    if _is_unspaced(left) or _is_unspaced(right):
        return False
    letters = (_is_letter(left), _is_letter(right))
    return all(letters) or (same_id and not any(letters))


@lru_cache(4096)
def _is_letter(character: str) -> bool:
    return _WORD_CHARACTER.match(character) is not None


@lru_cache(4096)
def _is_unspaced(character: str) -> bool:
    return UNSPACED.match(character) is not None


def _is_inner_apostrophe(text: str, at: int) -> bool:
    """Whether the character stands between two letters and is an apostrophe."""
    return (
        0 < at < len(text) - 1
        and text[at] in _APOSTROPHES
        and text[at - 1].isalpha()
        and text[at + 1].isalpha()
    )


def owners(
    text: str, offsets: Sequence[Span] | NDArray[np.int32], spans: Sequence[Span]
) -> NDArray[np.intp]:
    """For each token the number of the first span that holds its first visible character; -1 if
    none does. A token without one counts by where it begins.
    """
    found = np.full(len(offsets), -1)
    for i, (start, end) in enumerate(offsets):
        visible = text[start:end].lstrip()
        first = end - len(visible) if visible else start
        found[i] = next((n for n, (a, b) in enumerate(spans) if a <= first < b), -1)
    return found


def sentence_spans(text: str, parts: Sequence[Span] = ()) -> list[Span]:
    """Where sentences are: up to a full stop, question or exclamation mark, or the end of a line.
    With parts, such as the messages of a chat, these within each of them.

    A rule of thumb, that takes the full stop of an abbreviation for the end of a sentence. The
    spans cover the text; white space belongs to the sentence before it.
    """
    if parts:
        return [
            (start + first, start + last)
            for start, end in parts
            for first, last in sentence_spans(text[start:end])
        ]
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    starts = [0, *(end for end in ends if text[end:].strip())]
    if len(starts) > 1 and not text[: starts[1]].strip():
        del starts[1]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))
