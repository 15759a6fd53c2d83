"""A text as tokens: where each stands, which unit it belongs to, and what the model gets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from regex import Pattern

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError, OptionError
from normxlogit.text.message import Message
from normxlogit.text.words import UNSPACED, Span, as_span, owners, sentence_spans


@dataclass(frozen=True)
class Window:
    """The part of a text that goes into one forward pass.

    Attributes:
        inputs: the model's inputs by name, one number per token of the window.
        positions: indices of the window's tokens among the text's, [window].
    """

    inputs: dict[str, list[int]]
    positions: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Encoded:
    """A text, or a pair of texts, as tokens.

    Attributes:
        texts: the text, or the two of a pair.
        tokens: as the tokenizer spells them, [tokens].
        special: whether the tokenizer added the token, bool [tokens].
        offsets: first character and last + 1 of each token in its text, int32 [tokens, 2].
        segments: which text each token is from, int32 [tokens]; -1 for special tokens.
        words: the number of the word each token belongs to, int32 [tokens]; -1 for special tokens.
        windows: one that holds all tokens, or several that overlap.
        read: the tokens whose outputs are to be explained, if they were named.
        messages: for a chat, where its messages are in the text.
    """

    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    special: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    segments: NDArray[np.int32]
    words: NDArray[np.int32]
    windows: tuple[Window, ...]
    read: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def first_tokens(self) -> list[int]:
        """Return the first token of every word."""
        numbers, first = np.unique(self.words, return_index=True)
        return [int(i) for number, i in zip(numbers, first, strict=True) if number >= 0]

    def units(self, unit: Any) -> NDArray[np.intp]:
        """Number the units of the text and return each token's, [tokens]; -1 for tokens of none.

        Args:
            unit: "token", "word", "sentence", or a list of parts of the text (for a pair, of the
                first), each its first character and last + 1. Special tokens belong to no unit.

        Raises:
            OptionError: `unit` is none of these.
            InputError: a part holds no token, or two parts overlap.
        """
        if isinstance(unit, str) and unit in ("token", "word"):
            numbers = np.arange(len(self)) if unit == "token" else self.words.astype(np.intp)
            return np.where(self.special, -1, numbers)
        if isinstance(unit, str) and unit == "sentence":
            parts = [(message.start, message.end) for message in self.messages]
            spans = [sentence_spans(text, parts) for text in self.texts]
        elif isinstance(unit, list) and unit and all(map(as_span, unit)):
            named = [span for span in map(as_span, unit) if span is not None]
            for start, end in named:
                self.tokens_within(start, end, 0)
            if any(end > start for (_, end), (start, _) in pairwise(sorted(named))):
                raise InputError(f"unit has parts that overlap, so none is left out whole: {unit}.")
            spans = [named]
        else:
            raise OptionError(
                "unit must be 'token', 'word', 'sentence' or a list of parts of the text, each its "
                f"first character and last + 1; got {unit!r}."
            )
        numbers, offset = np.full(len(self), -1), 0
        # The second text's units are numbered after the first's, so no number means two units.
        for segment, segment_spans in enumerate(spans):
            tokens = np.flatnonzero((self.segments == segment) & ~self.special)
            owner = owners(self.texts[segment], self.offsets[tokens], segment_spans)
            numbers[tokens] = np.where(owner < 0, -1, owner + offset)
            offset += len(segment_spans)
        return numbers

    def token_at(self, position: Any) -> int:
        """Return the index of the token at a position.

        Args:
            position: a token's index; a word, or words, that occur once in the text; or a first
                character and last + 1. If these are several tokens, the first is returned.

        Raises:
            InputError: no token is at that position, or the words occur several times.
        """
        if isinstance(position, str):
            segment, start = self._locate(position, range(len(self.texts)))
            return self.tokens_within(start, start + len(position), segment)[0]
        if isinstance(position, tuple) and len(position) == 2:
            return self.tokens_within(*position, 0)[0]
        number = as_integer(position)
        if number is None:
            raise InputError(
                "position must be the number of a token, a word, or a tuple of its first character "
                f"and last + 1; got {position!r:.80}."
            )
        if not -len(self) <= number < len(self):
            raise InputError(f"position {number} is not among the text's {len(self)} tokens.")
        return number % len(self)

    def tokens_of(self, part: str, segment: int) -> list[int]:
        """Return the tokens of words that occur once in a text.

        Raises:
            InputError: the words do not occur, or several times.
        """
        _, start = self._locate(part, [segment])
        return self.tokens_within(start, start + len(part), segment)

    def tokens_within(self, start: int, end: int, segment: int) -> list[int]:
        """Return the tokens that hold characters from `start` up to, not including, `end`.

        Raises:
            InputError: no token holds any, or the text has no such characters.
        """
        length = len(self.texts[segment])
        span = as_span((start, end))
        if span is None or not 0 <= span[0] < span[1] <= length:
            raise InputError(
                f"({start!r}, {end!r}) are not the first character and last + 1 of a part of the "
                f"text, which has {length} characters."
            )
        start, end = span
        first, last = self.offsets.T
        # last > first: a token without characters (a lone "▁") overlaps nothing.
        inside = (self.segments == segment) & (first < end) & (last > start) & (last > first)
        if not inside.any():
            raise InputError(f"characters {start} to {end} of the text hold no token.")
        return [int(i) for i in np.flatnonzero(inside)]

    def _locate(self, part: str, segments: Sequence[int]) -> tuple[int, int]:
        """Return the segment and first character of some words.

        Matches of whole words win over matches inside words: "art" names "art", not "party".
        """
        matches: list[tuple[int, int]] = []
        for pattern in _patterns(part):
            matches = [(n, m.start()) for n in segments for m in pattern.finditer(self.texts[n])]
            if matches:
                break
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise InputError(f"{part!r} does not occur in the text.")
        raise InputError(
            f"{part!r} occurs {len(matches)} times in the text: give its first character and last "
            "+ 1, as a tuple."
        )

    def within(self, parts: Sequence[Span], messages: Sequence[Message]) -> "Encoded":
        """Return the tokens of a prompt, of which those outside of `parts` are special.

        A template writes special tokens as text, so the tokenizer does not mark all of them: a
        token is in a part if its first visible character is.
        """
        owner = owners(self.texts[0], self.offsets, parts)
        inside = ~self.special & (owner >= 0)
        return replace(
            self,
            special=~inside,
            segments=np.where(inside, self.segments, -1).astype(np.int32),
            words=np.where(inside, self.words, -1).astype(np.int32),
            messages=tuple(messages),
        )

    def as_decoder_inputs(self, start: str) -> "Encoded":
        """Return the tokens shifted one to the right, behind the decoder's start token."""
        return replace(
            self,
            tokens=(start, *self.tokens[:-1]),
            special=_shifted(self.special, True),
            offsets=_shifted(self.offsets, (0, 0)),
            segments=_shifted(self.segments, -1),
            words=_shifted(self.words, -1),
            windows=tuple(replace(w, positions=_shifted(w.positions + 1, 0)) for w in self.windows),
        )


def _patterns(part: str) -> list[Pattern[str]]:
    """Return patterns that search for `part`, the strictest first: as whole words, then anywhere.

    Scripts without spaces have no whole words to look for, and a boundary is only asked for beside
    a letter: "(good" has none before it.
    """
    if not part.strip():
        return []
    anywhere = regex.escape(part)
    if UNSPACED.search(part):
        return [regex.compile(anywhere)]
    before = r"(?<!\w)" if regex.match(r"\w", part[0]) else ""
    after = r"(?!\w)" if regex.match(r"\w", part[-1]) else ""
    return [regex.compile(pattern) for pattern in (before + anywhere + after, anywhere)]


def _shifted(values: NDArray[Any], first: Span | int) -> NDArray[Any]:
    return np.concatenate([np.array([first], values.dtype), values[:-1]])


def batch_units(
    parts: Sequence[tuple[Encoded, Window]], side: str, generated: Sequence[bool], unit: Any
) -> NDArray[np.intp]:
    """Return the unit of each token of a padded batch, [rows, sequence]; -1 for none and padding.

    Args:
        parts: for each row the text and the window of it that the row holds.
        side: where rows are padded.
        generated: for each generated token, which stands after the text in every row, whether it
            is a unit by itself. Parts of the text never include generated tokens.
        unit: see `Encoded.units`.
    """
    width = max(len(window) for _, window in parts)
    units = np.full((len(parts), width + len(generated)), -1)
    new = np.flatnonzero(generated) if isinstance(unit, str) else np.array([], np.intp)
    for row, (text, window) in zip(units, parts, strict=True):
        start = width - len(window) if side == "left" else 0
        row[start : start + len(window)] = text.units(unit)[window.positions]
        row[width + new] = len(text) + new
    return units


def window_positions(whole: Any, windows: Sequence[Any], overlap: int) -> list[NDArray[np.intp]]:
    """Return the indices of each window's tokens among the whole text's.

    Tokenizers number windows but not their place in the text. Every window repeats the template's
    special tokens and the first text of a pair; the last text advances by one step per window.
    """
    if len(windows) == 1:
        return [np.arange(len(whole.ids))]
    # Indices by sequence: special tokens (None), first and second text.
    indices: dict[int | None, list[int]] = {None: [], 0: [], 1: []}
    for index, sequence in enumerate(whole.sequence_ids):
        indices[sequence].append(index)
    last = max(s for s in whole.sequence_ids if s is not None)
    step = sum(sequence == last for sequence in windows[0].sequence_ids) - overlap
    ids = whole.ids  # a copy each time that it is asked for
    positions = []
    for number, window in enumerate(windows):
        following = {None: 0, 0: 0, 1: 0}
        following[last] = number * step
        inside = []
        for sequence in window.sequence_ids:
            inside.append(indices[sequence][following[sequence]])
            following[sequence] += 1
        assert [ids[i] for i in inside] == window.ids
        positions.append(np.array(inside))
    return positions
