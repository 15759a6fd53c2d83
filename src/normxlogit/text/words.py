"""Which tokens make a word, and where sentences are: text only, no tensors.

A tokenizer's word ids alone would call a whole sentence one word (SentencePiece without a
pre-tokenizer), split "don't" into three (BERT) and "2024" into four, separate a letter from its
accent (byte-level BPE), and attach the full stop to the word before it. So adjacent letters make a
word, as they do for a reader, and the ids decide only which punctuation marks belong together.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError

# Combining marks count as letters: vowel signs (Hindi) and points (Arabic) stand inside words, and
# a token may begin with one.
_WORD_CHARACTER = regex.compile(r"[\w\p{M}]")
_APOSTROPHES = frozenset("'’ʼ")
# Scripts written without spaces. Only a dictionary could say where their words end, so each token
# is a word, except that no character is split. Hangul is not among them: it is written with spaces.
UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
# ASCII marks end a sentence only before white space (not in "3.14"); the full-width marks of
# Chinese and Japanese have none after them. Closing quotes and brackets stay with their sentence.
_SENTENCE_END = regex.compile(r"(?:[.!?…]+[\p{Pe}\p{Pf}\"']*(?=\s)|[。！？]+[\p{Pe}\p{Pf}]*|\n)\s*")

Span = tuple[int, int]


def as_span(part: object) -> Span | None:
    """Return a first character and last + 1, of any type of integer; None if it is no such pair."""
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        return None
    start, end = map(as_integer, part)
    return None if start is None or end is None else (start, end)


def checked_span(part: object, text: str) -> Span:
    """Return a first character and last + 1.

    Raises:
        InputError: it is no such pair, or not inside the text.
    """
    span = as_span(part)
    if span is None or not 0 <= span[0] < span[1] <= len(text):
        raise InputError(
            f"span {part!r:.80} is not inside a text of {len(text)} characters: give its first "
            "character and last + 1."
        )
    return span


def word_numbers(
    texts: Sequence[str],
    offsets: Sequence[Span],
    segments: Sequence[int],
    word_ids: Sequence[int | None],
) -> NDArray[np.int32]:
    """Number the words over all texts and return each token's, [tokens]; -1 for special tokens.

    White space belongs to the word after it; at the end of a text, or before special tokens, to the
    word before it; where there is no word it counts as one.

    Args:
        texts: the text, or the two of a pair.
        offsets: each token's characters in its text.
        segments: which text each token is from, -1 for special tokens.
        word_ids: the tokenizer's word of each token, None if it reports none.
    """
    inner = [inside_characters(text) for text in texts]
    numbers = [-1] * len(offsets)
    # previous: the last token of a word; pending: white space that waits for the next word.
    word, previous, pending = -1, -1, list[int]()
    for i, segment in enumerate(segments):
        # The text ended, or a special token came: white space goes to the word right before it, or
        # is a word if a special token stands there.
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
    """Return indices inside what a reader sees as one character (an emoji with modifiers, ...).

    These are the code points after the first of a grapheme cluster. Byte-level tokenizers split
    clusters: skin tones, families joined by U+200D, runs of combining marks.
    """
    # The only cluster in ASCII is a carriage return with a line feed; \X is slow on long texts.
    if text.isascii() and "\r" not in text:
        return frozenset()
    return frozenset(
        position
        for match in regex.finditer(r"\X", text)
        for position in range(match.start() + 1, match.end())
    )


def _joined(text: str, inner: frozenset[int], end: int, start: int, same_id: bool) -> bool:
    """Return whether a token that ends at `end` and one visible from `start` make one word."""
    # Tokens that share a character (bytes of one code point), or parts of a grapheme cluster.
    if start < end or start in inner:
        return True
    if start > end or start == 0 or text[start - 1].isspace():
        return False
    left, right = text[start - 1], text[start]
    # An apostrophe joins on both of its sides: "don" + "'", and "'" + "t".
    if _is_inner_apostrophe(text, start) or _is_inner_apostrophe(text, start - 1):
        return True
    if _is_unspaced(left) or _is_unspaced(right):
        return False
    # "2024" is one word however it was split; of "?!" and "..." only the tokenizer can say.
    letters = (_is_letter(left), _is_letter(right))
    return all(letters) or (same_id and not any(letters))


@lru_cache(4096)
def _is_letter(character: str) -> bool:
    return _WORD_CHARACTER.match(character) is not None


@lru_cache(4096)
def _is_unspaced(character: str) -> bool:
    return UNSPACED.match(character) is not None


def _is_inner_apostrophe(text: str, at: int) -> bool:
    """Return whether the character at `at` is an apostrophe between two letters."""
    return (
        0 < at < len(text) - 1
        and text[at] in _APOSTROPHES
        and text[at - 1].isalpha()
        and text[at + 1].isalpha()
    )


def owners(
    text: str, offsets: Sequence[Span] | NDArray[np.int32], spans: Sequence[Span]
) -> NDArray[np.intp]:
    """Return for each token the first span that holds its first visible character; -1 if none.

    A token of white space belongs to the span that it begins in.
    """
    owner = np.full(len(offsets), -1)
    for i, (start, end) in enumerate(offsets):
        visible = text[start:end].lstrip()
        first = end - len(visible) if visible else start
        owner[i] = next((n for n, (a, b) in enumerate(spans) if a <= first < b), -1)
    return owner


def sentence_spans(text: str, parts: Sequence[Span] = ()) -> list[Span]:
    """Return the sentences: up to a full stop, question or exclamation mark, or the end of a line.

    A heuristic: the full stop of an abbreviation ends a sentence too. The spans cover the text, or
    each of `parts` (the messages of a chat, say); white space belongs to the sentence before it.
    """
    if parts:
        return [
            (start + first, start + last)
            for start, end in parts
            for first, last in sentence_spans(text[start:end])
        ]
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    starts = [0, *(end for end in ends if text[end:].strip())]
    # Blank lines at the start of a text belong to its first sentence.
    if len(starts) > 1 and not text[: starts[1]].strip():
        del starts[1]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))
