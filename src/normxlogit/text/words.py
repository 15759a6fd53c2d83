"""Which tokens make a word, and where sentences are: text only, no tensors.

A tokenizer's word ids alone would call a whole sentence one word (SentencePiece without a
pre-tokenizer), split "don't" into three (BERT) and "2024" into four, separate a letter from its
accent (byte-level BPE), and attach the full stop to the word before it. So adjacent letters make a
word, as they do for a reader, and the ids decide only which punctuation marks belong together.

Nor do offsets alone say which tokens touch: normalizers compose letters with their marks, or drop
marks and characters that no reader sees, and leave gaps. So it is the text between two tokens that
decides, boundary by boundary.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError

# Combining marks count as letters: vowel signs (Hindi) and points (Arabic) stand inside words, and
# a token may begin with one.
_WORD_CHARACTER = regex.compile(r"[\w\p{M}]")
_MARK = regex.compile(r"\p{M}")
_APOSTROPHES = frozenset("'’ʼ")
# Characters that no reader sees and that part no word: soft hyphens, joiners, marks of direction,
# variation selectors, control characters. The zero-width space is there to part words.
_HIDDEN = regex.compile(r"[[\p{Default_Ignorable_Code_Point}\p{Cc}]--[\s\u200b]]", regex.V1)
_ZERO_WIDTH_SPACE = "\u200b"
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

    What no reader sees, such as white space, belongs to the word after it; at the end of a text, or
    before special tokens, to the word before it; where there is no word it counts as one.

    Args:
        texts: the text, or the two of a pair.
        offsets: each token's characters in its text.
        segments: which text each token is from, -1 for special tokens.
        word_ids: the tokenizer's word of each token, None if it reports none.
    """
    inner = [inside_characters(text) for text in texts]
    numbers = [-1] * len(offsets)
    # last: the last token of a word, -1 where a text begins or a special token stood; blank: tokens
    # without a visible character, which wait for the next word.
    word, last, blank = -1, -1, list[int]()
    for i, segment in enumerate([*segments, -1]):
        if i and segment != segments[i - 1]:
            if blank:
                word += last < 0
            for token in blank:
                numbers[token] = word
            last, blank = -1, []
        if segment < 0:
            continue
        start, end = offsets[i]
        first = first_visible(texts[segment], start, end)
        if first >= end:
            blank.append(i)
            continue
        if last < 0 or not _joined(
            texts[segment],
            inner[segment],
            offsets[last][1],
            first,
            word_ids[last] == word_ids[i],
        ):
            word += 1
        for token in (*blank, i):
            numbers[token] = word
        last, blank = i, []
    return np.array(numbers, np.int32)


def first_visible(text: str, start: int, end: int) -> int:
    """Return the index of the first character before `end` that a reader sees; `end` if none."""
    for i in range(start, min(end, len(text))):
        if not _is_blank(text[i]):
            return i
    return end


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
    # Tokens that share a character (bytes of one code point) have no boundary between them.
    for at in range(end, start + 1):
        if at not in inner and not _goes_on(text, at, same_id):
            return False
    return True


def _goes_on(text: str, at: int, same_id: bool) -> bool:
    """Return whether a word goes on over the boundary before the character at `at`."""
    left, right = text[at - 1], text[at]
    if _is_plain(left) and _is_plain(right):
        return _meet(left, right, same_id)
    before, after = _nearest(text, at - 1, -1, _is_hidden), _nearest(text, at, 1, _is_hidden)
    if before < 0 or after == len(text):
        return False
    # An apostrophe joins on both of its sides: "don" + "'", and "'" + "t".
    if _is_inner_apostrophe(text, before) or _is_inner_apostrophe(text, after):
        return True
    return _meet(text[before], text[after], same_id)


@lru_cache(65536)
def _meet(left: str, right: str, same_id: bool) -> bool:
    """Return whether two characters belong to one word, if nothing stands between them."""
    if _is_blank(left) or _is_blank(right) or _is_unspaced(left) or _is_unspaced(right):
        return False
    # "2024" is one word however it was split; of "?!" and "..." only the tokenizer can say.
    letters = (_is_letter(left), _is_letter(right))
    return all(letters) or (same_id and not any(letters))


@lru_cache(4096)
def _is_plain(character: str) -> bool:
    """Return whether what is further away does not matter to a boundary beside a character."""
    return not _is_hidden(character) and character not in _APOSTROPHES


def _nearest(text: str, at: int, step: int, is_skipped: Callable[[str], bool]) -> int:
    """Return the index of the first character from `at` on that is not skipped; -1 or the length
    of the text if there is none.
    """
    while 0 <= at < len(text) and is_skipped(text[at]):
        at += step
    return at


@lru_cache(4096)
def _is_letter(character: str) -> bool:
    return _WORD_CHARACTER.match(character) is not None


@lru_cache(4096)
def _is_unspaced(character: str) -> bool:
    return UNSPACED.match(character) is not None


@lru_cache(4096)
def _is_hidden(character: str) -> bool:
    return _HIDDEN.match(character) is not None


@lru_cache(4096)
def _is_blank(character: str) -> bool:
    return character.isspace() or character == _ZERO_WIDTH_SPACE or _is_hidden(character)


@lru_cache(4096)
def _is_mark(character: str) -> bool:
    return _is_hidden(character) or _MARK.match(character) is not None


def _is_inner_apostrophe(text: str, at: int) -> bool:
    """Return whether the character at `at` is an apostrophe between two letters, which may have
    marks of their own.
    """
    if text[at] not in _APOSTROPHES:
        return False
    before, after = _nearest(text, at - 1, -1, _is_mark), _nearest(text, at + 1, 1, _is_mark)
    return before >= 0 and after < len(text) and text[before].isalpha() and text[after].isalpha()


def owners(
    text: str, offsets: Sequence[Span] | NDArray[np.int32], spans: Sequence[Span]
) -> NDArray[np.intp]:
    """Return for each token the first span that holds its first visible character; -1 if none.

    A token without one belongs to the span that it begins in, and at the end of the text, where
    offsets without white space leave it no character, to the span that ends there.
    """
    owner = np.full(len(offsets), -1)
    for i, (start, end) in enumerate(offsets):
        first = first_visible(text, start, end)
        if first >= end:
            first = start
        inside = (n for n, (a, b) in enumerate(spans) if a <= first < b or first == b == len(text))
        owner[i] = next(inside, -1)
    return owner


def sentence_spans(text: str, parts: Sequence[Span] = ()) -> list[Span]:
    """Return the sentences: up to a full stop, question or exclamation mark, or the end of a line.

    A heuristic: the full stop of an abbreviation ends a sentence too. The spans cover the text, or
    each of `parts` (the messages of a chat, say); what no reader sees belongs to the sentence
    before it, and at the start of a text to the first.
    """
    if parts:
        return [
            (start + first, start + last)
            for start, end in parts
            for first, last in sentence_spans(text[start:end])
        ]
    return _spans(text, (match.end() for match in _SENTENCE_END.finditer(text)))


def line_spans(text: str) -> list[Span]:
    """Return the lines, which cover the text; blank ones belong to the line before them, and at the
    start of a text to the first.
    """
    return _spans(text, accumulate(map(len, text.splitlines(keepends=True))))


def _spans(text: str, ends: Iterable[int]) -> list[Span]:
    """Cut a text at `ends`; what no reader sees goes with the part before it, or with the first."""
    starts, length = [0], len(text)
    for end in ends:
        if first_visible(text, end, length) == length:
            break
        if first_visible(text, starts[-1], end) < end:
            starts.append(end)
        elif len(starts) > 1:
            starts[-1] = end
    return list(zip(starts, [*starts[1:], length], strict=True))


def are_spans(offsets: NDArray[np.int32], lengths: Any) -> bool:
    """Tell whether each first character and last + 1 [n, 2] are of a text of that length."""
    return bool((offsets[:, 0] <= offsets[:, 1]).all() and (offsets[:, 1] <= lengths).all())


def are_words(numbers: NDArray[np.int32], segments: NDArray[np.int32]) -> bool:
    """Tell whether each token has a word, and no word is in two texts."""
    in_texts = {tuple(pair) for pair in np.stack([numbers, segments], -1).tolist()}
    return bool((numbers >= 0).all()) and len(in_texts) == len(np.unique(numbers))
