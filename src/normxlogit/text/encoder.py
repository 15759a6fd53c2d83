"""Text to model inputs: tokens, their characters, words, and which are special."""

import copy
import operator
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import regex
import torch
from numpy.typing import NDArray
from regex import Pattern
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from normxlogit.errors import InputError, ModelError, OptionError, TooLongError
from normxlogit.text.chat import rendered
from normxlogit.text.message import Message
from normxlogit.text.offsets import with_offsets
from normxlogit.text.token_lookup import TokenLookup
from normxlogit.text.words import UNSPACED, Span, owners, sentence_spans, word_numbers

LONG = ("error", "truncate", "window")
"""What to do with a text over the model's limit."""


@dataclass(frozen=True)
class Window:
    """What the model gets of a text.

    Attributes:
        inputs: the model's inputs by name, one number for each of the window's tokens.
        positions: where the window's tokens stand among the text's, [window].
    """

    inputs: dict[str, list[int]]
    positions: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Encoded:
    """A text, or pair, in tokens.

    Attributes:
        texts: the text, or the two of a pair.
        tokens: as the tokenizer spells them, [tokens].
        special: whether the tokenizer put them there, bool [tokens].
        offsets: first character and last + 1 of each in its text, int32 [tokens, 2].
        segments: which text each is from, int32 [tokens]; -1 for special ones.
        words: the number of the word each belongs to, int32 [tokens]; -1 for special ones.
        windows: one that holds all tokens, or several that overlap.
        read: the tokens whose outputs are to be explained, if they were named.
        messages: where the messages of a chat are in the text.
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
        """The first token of every word."""
        numbers, first = np.unique(self.words, return_index=True)
        return [int(i) for number, i in zip(numbers, first, strict=True) if number >= 0]

    def units(self, unit: Any) -> NDArray[np.intp]:
        """The number of the unit that each token belongs to, [tokens]; -1 for tokens of none.

        Args:
            unit: "token", "word", "sentence", or a list of parts of the text, of a pair the first,
                each its first character and last + 1. Special tokens belong to none.

        Raises:
            OptionError: it is none of these.
            InputError: a part holds no token.
        """
        if isinstance(unit, str) and unit in ("token", "word"):
            numbers = np.arange(len(self)) if unit == "token" else self.words.astype(np.intp)
            return np.where(self.special, -1, numbers)
        if isinstance(unit, str) and unit == "sentence":
            parts = [(message.start, message.end) for message in self.messages]
            spans = [sentence_spans(text, parts) for text in self.texts]
        elif isinstance(unit, list) and unit and all(map(_is_span, unit)):
            for start, end in unit:
                self.tokens_within(start, end, 0)
            if any(end > start for (_, end), (start, _) in pairwise(sorted(map(tuple, unit)))):
                raise InputError(f"unit has parts that overlap, so none is left out whole: {unit}.")
            spans = [unit]
        else:
            raise OptionError(
                "unit must be 'token', 'word', 'sentence' or a list of parts of the text, each its "
                f"first character and last + 1; got {unit!r}."
            )
        numbers, before = np.full(len(self), -1), 0
        for segment, own_spans in enumerate(spans):
            own = np.flatnonzero((self.segments == segment) & ~self.special)
            found = owners(self.texts[segment], self.offsets[own], own_spans)
            numbers[own] = np.where(found < 0, -1, found + before)
            before += len(own_spans)
        return numbers

    def token_at(self, position: Any) -> int:
        """The token that a position means.

        Args:
            position: its number; a word, or words, that occur once in the text; or the first
                character and last + 1. Of several tokens it is the first.

        Raises:
            InputError: there is none, or several.
        """
        if isinstance(position, str):
            segment, start = self._place_of(position, range(len(self.texts)))
            return self.tokens_within(start, start + len(position), segment)[0]
        if isinstance(position, tuple) and len(position) == 2:
            return self.tokens_within(*position, 0)[0]
        if isinstance(position, bool) or not hasattr(position, "__index__"):
            raise InputError(
                "position must be the number of a token, a word, or a tuple of its first character "
                f"and last + 1; got {position!r}."
            )
        number = operator.index(position)
        if not -len(self) <= number < len(self):
            raise InputError(f"position {number} is not among the text's {len(self)} tokens.")
        return number % len(self)

    def tokens_of(self, part: str, segment: int) -> list[int]:
        """The tokens of some words that occur once in a text.

        Raises:
            InputError: they do not, or several times.
        """
        _, start = self._place_of(part, [segment])
        return self.tokens_within(start, start + len(part), segment)

    def tokens_within(self, start: int, end: int, segment: int) -> list[int]:
        """The tokens that hold characters from `start` up to `end`.

        Raises:
            InputError: there are none, or these are no characters of the text.
        """
        length = len(self.texts[segment])
        are_numbers = all(hasattr(value, "__index__") for value in (start, end))
        if not are_numbers or not 0 <= start < end <= length:
            raise InputError(
                f"({start!r}, {end!r}) are not the first character and last + 1 of a part of the "
                f"text, which has {length} characters."
            )
        first, last = self.offsets.T
        inside = (self.segments == segment) & (first < end) & (last > start) & (last > first)
        if not inside.any():
            raise InputError(f"characters {start} to {end} of the text hold no token.")
        return [int(i) for i in np.flatnonzero(inside)]

    def _place_of(self, part: str, segments: Sequence[int]) -> tuple[int, int]:
        """The text and the character where some words are: whole words if there are any such."""
        found: list[tuple[int, int]] = []
        for pattern in _patterns(part):
            found = [(n, m.start()) for n in segments for m in pattern.finditer(self.texts[n])]
            if found:
                break
        if len(found) == 1:
            return found[0]
        if not found:
            raise InputError(f"{part!r} does not occur in the text.")
        raise InputError(
            f"{part!r} occurs {len(found)} times in the text: give its first character and last + "
            "1, as a tuple."
        )

    def as_decoder_inputs(self, start: str) -> "Encoded":
        """The same, shifted to the right behind the token that a decoder starts with."""
        return replace(
            self,
            tokens=(start, *self.tokens[:-1]),
            special=_shifted(self.special, True),
            offsets=_shifted(self.offsets, (0, 0)),
            segments=_shifted(self.segments, -1),
            words=_shifted(self.words, -1),
            windows=tuple(replace(w, positions=_shifted(w.positions + 1, 0)) for w in self.windows),
        )


class Encoder:
    """A tokenizer for a model.

    The user's tokenizer is copied, for calls change its state. Several threads may use the copy.

    Attributes:
        max_length: the most tokens that the model takes; None if that is not known.
        pads: whether texts of different lengths can be put into one batch.
        padding_side: the tokenizer's own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        """Take a tokenizer.

        Raises:
            ModelError: it is not this model's.
        """
        _check_same_vocabulary(tokenizer, model)
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()
        self._specials = set(tokenizer.all_special_ids)
        names = ("bos", "eos", "cls", "sep", "pad")
        self._markers = {getattr(tokenizer, f"{name}_token_id") for name in names}
        self._tokenizer.truncation_side = "right"
        self.max_length = _max_length(tokenizer, model)
        self.pads = tokenizer.pad_token_id is not None
        self.padding_side: str = tokenizer.padding_side

    def encode(
        self,
        item: Any,
        *,
        is_split_into_words: bool = False,
        long: str = "error",
        has_windows: bool = True,
    ) -> Encoded:
        """Encode a text or a pair (a tuple of two).

        Args:
            item: str, or with `is_split_into_words` a sequence of words; or a tuple of two of
                these.
            is_split_into_words: whether a text is a sequence of words.
            long: what to do if it is over `max_length`: "error"; "truncate", keep the beginning;
                "window", cut it into windows that overlap by a quarter (of a pair, the second
                text).
            has_windows: whether windows are of any use to who asks.

        Raises:
            InputError: it is no text, or blank, or too long.
            OptionError: `long` is none of the above.
        """
        check_long(long)
        if isinstance(item, tuple) and len(item) != 2:
            raise InputError(f"a tuple is a pair of texts; got one of {len(item)}.")
        parts = item if isinstance(item, tuple) else (item,)
        _check_text(parts, is_split_into_words)
        if not self._tokenizer.is_fast and (is_split_into_words or long == "window"):
            raise InputError(
                f"{type(self._tokenizer).__name__} is not a fast tokenizer, so it can neither take "
                "split words nor make windows. Give whole texts, or use long='truncate'."
            )
        batch = self._tokenize(parts, is_split_into_words)
        length = len(batch["input_ids"][0])
        if self.max_length is None or length <= self.max_length:
            return self._encoded(parts, is_split_into_words, batch, batch)
        if long == "error":
            raise TooLongError(
                f"the text has {length} tokens, over the limit of {self.max_length}. "
                + (
                    "Use long='truncate' to explain its beginning, or long='window' to explain it "
                    "in overlapping windows."
                    if has_windows
                    else "Shorten it; explain() takes its beginning with long='truncate'."
                )
            )
        cut: dict[str, Any] = {"max_length": self.max_length, "truncation": "longest_first"}
        if long == "truncate":
            batch = self._tokenize(parts, is_split_into_words, **cut)
            return self._encoded(parts, is_split_into_words, batch, batch)
        last = len(parts) - 1
        room = self.max_length - sum(s != last for s in batch[0].sequence_ids)
        if room < 2:
            raise InputError(
                f"the first text of the pair leaves no room for windows of the second in the "
                f"{self.max_length} tokens that the model takes. Shorten it, or use "
                "long='truncate'."
            )
        overlap = min(self.max_length // 4, room // 2)
        cut |= {"return_overflowing_tokens": True, "stride": overlap}
        if len(parts) == 2:
            cut["truncation"] = "only_second"
        windows = self._tokenize(parts, is_split_into_words, **cut)
        return self._encoded(parts, is_split_into_words, batch, windows, overlap)

    def token(self, number: int) -> str:
        """The token of that id, as the tokenizer spells it."""
        return str(self._tokenizer.convert_ids_to_tokens(number))

    def text_of(self, ids: Sequence[int]) -> str:
        """What tokens say, special ones too."""
        with self._lock:
            text = self._decode(ids)
        return text or "".join(map(self.token, ids))

    def id_of(self, target: Any) -> int:
        """The token that a target of a language model means: an id, or text of one token.

        Text is looked up as it stands, and else with a space before it, as words have within text.

        Raises:
            OptionError: there is none, or the text is several.
        """
        if isinstance(target, str):
            ids = [self._ids(text) for text in (target, f" {target}")]
            if not ids[0] or any(number == self._tokenizer.unk_token_id for number in ids[0]):
                raise OptionError(f"this model has no token for {target!r}.")
            single = next((found for found in ids if len(found) == 1), None)
            if single is None:
                parts = ", ".join(f"{self.token(number)} = {number}" for number in ids[0])
                raise OptionError(
                    f"{target!r} is {len(ids[0])} tokens to this model ({parts}), and one is named "
                    "here. Name one of them by its id, or another word."
                )
            return single[0]
        if isinstance(target, bool) or not hasattr(target, "__index__"):
            raise OptionError(f"a token is named by its text or id; got {target!r}.")
        number = operator.index(target)
        if not 0 <= number < len(self._tokenizer):
            raise OptionError(
                f"there is no token {number}; ids go from 0 to {len(self._tokenizer) - 1}."
            )
        return number

    @property
    def mask_token(self) -> tuple[str, int] | None:
        """The mask token and its id, if there is one."""
        name, number = self._tokenizer.mask_token, self._tokenizer.mask_token_id
        return None if number is None else (str(name), number)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer's copy."""
        return self._tokenizer

    @property
    def filler(self) -> int:
        """An id to fill rows with that are padded, where a mask says so."""
        for number in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if number is not None:
                return int(number)
        return 0

    def counts(self, texts: Iterable[str]) -> Counter[int]:
        """How often each token occurs in texts of any length, special ones too, by its id."""
        found: Counter[int] = Counter()
        for text in texts:
            _check_text((text,), False)
            found.update(self._ids(text, specials=True))
        return found

    def lookup(
        self, parts: Sequence[tuple[Encoded, Window]], side: str, generated: Sequence[bool] = ()
    ) -> TokenLookup:
        """What is known of the tokens of a batch.

        Args:
            parts: for each row the text and the window of it that the row holds.
            side: where rows are padded.
            generated: of tokens of no text that stand after those in every row, whether they are
                units of their own, if units are not parts of the text.
        """
        width = max(len(window) for _, window in parts)

        def units(unit: Any) -> Tensor:
            found = np.full((len(parts), width + len(generated)), -1)
            new = np.flatnonzero(generated) if isinstance(unit, str) else np.array([], np.intp)
            for row, (text, window) in zip(found, parts, strict=True):
                start = width - len(window) if side == "left" else 0
                row[start : start + len(window)] = text.units(unit)[window.positions]
                row[width + new] = len(text) + new
            return torch.from_numpy(found)

        special = {"mask": self._tokenizer.mask_token_id, "pad": self._tokenizer.pad_token_id}

        def token(name: Any) -> int:
            if name not in special:
                return self.id_of(name)
            if special[name] is None:
                raise OptionError(f"the tokenizer has no {name} token. Give another token's id.")
            return int(special[name])

        return TokenLookup(units, token, special["mask"])

    def is_special(self, number: int) -> bool:
        """Whether a token is one of the tokenizer's special ones."""
        return number in self._specials

    def answer(self, ids: Sequence[int]) -> tuple[str, list[Span]]:
        """What new tokens say without the special ones, and the characters of each.

        Tokens that make one character together (of an emoji, say) have that character each.
        """
        spoken = [i for i in ids if not self.is_special(i)]
        with self._lock:
            text = self._decode(spoken)
            ends = self._ends(spoken, text)
        found, said, spans = iter(ends), 0, list[Span]()
        for number in ids:
            if self.is_special(number):
                spans.append((said, said))
            else:
                spans.append(next(found))
                said = spans[-1][1]
        return text, spans

    def _ends(self, ids: Sequence[int], text: str) -> list[Span]:
        """The characters of tokens, which say `text` together.

        A token is decoded after the one before it, for tokenizers write spaces between the two; and
        where that does not give the text, after all before it.
        """
        for window in (1, len(ids)):
            spans, known, begun, said = list[Span](), 0, 0, 0
            for end in range(1, len(ids) + 1):
                first = max(0, known - window)
                before, now = self._decode(ids[first:known]), self._decode(ids[first:end])
                is_last = end == len(ids)
                if (now.endswith("\ufffd") or len(now) <= len(before)) and not is_last:
                    continue
                said += len(now) - len(before)
                spans += [(begun, said)] * (end - known)
                known, begun = end, said
            if said == len(text):
                break
        return spans

    def continuation(
        self, prompt: Encoded, target: str | Sequence[int], *, is_answer: bool
    ) -> list[int]:
        """The tokens of a text that continues a prompt.

        Args:
            prompt: the prompt.
            target: text, or ids.
            is_answer: whether it is a text of its own, as a decoder writes it, that ends as such.

        Raises:
            InputError: the tokenizer cannot read it.
            OptionError: there is no such token.
        """
        if not isinstance(target, str):
            return [self.id_of(number) for number in target]
        if is_answer:
            with self._lock:
                return list(self._tokenizer(text_target=target, verbose=False)["input_ids"])
        before = prompt.windows[0].inputs["input_ids"]
        if not prompt.messages:
            whole = self._ids(prompt.texts[0] + target, specials=True)
            if whole[: len(before)] == before:
                return whole[len(before) :]
        return self._ids(target)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> Encoded:
        """A chat in tokens, up to where the assistant is to answer.

        What the tokenizer's template puts around the messages is special.

        Args:
            messages: each with "role" and "content", a text.

        Raises:
            InputError: they are no such messages, or the tokenizer has no template, or one that
                changes what a message says.
        """
        text, spans = rendered(self._tokenizer, messages)
        batch = self._tokenize([text], False, add_special_tokens=False)
        encoded = self._encoded([text], False, batch, batch)
        if self.max_length is not None and len(encoded) > self.max_length:
            raise InputError(
                f"the chat has {len(encoded)} tokens and the model takes {self.max_length}. "
                "Shorten it."
            )
        within = ~encoded.special
        for i in np.flatnonzero(within):
            start, end = encoded.offsets[i]
            visible = text[start:end].lstrip()
            first = end - len(visible) if visible else start
            within[i] = any(message.start <= first < message.end for message in spans)
        return replace(
            encoded,
            special=~within,
            segments=np.where(within, encoded.segments, -1).astype(np.int32),
            words=np.where(within, encoded.words, -1).astype(np.int32),
            messages=tuple(spans),
        )

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def _ids(self, text: str, *, specials: bool = False) -> list[int]:
        try:
            with self._lock:
                batch = self._tokenizer(text, add_special_tokens=specials, verbose=False)
        except Exception as error:  # tokenizers raise errors of many kinds
            raise InputError(f"the tokenizer could not read {text!r:.80}: {error}") from error
        return list(batch["input_ids"])

    def batch(self, windows: Sequence[Window], side: str) -> dict[str, Tensor]:
        """Inputs of several windows as tensors [batch, sequence], padded on `side`."""
        padded: dict[str, Any]
        if len({len(window) for window in windows}) == 1:
            padded = {name: [w.inputs[name] for w in windows] for name in windows[0].inputs}
        else:
            padded = dict(self._tokenizer.pad([w.inputs for w in windows], padding_side=side))
        return {name: torch.tensor(values) for name, values in padded.items()}

    def inputs_of(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """What the model takes of a text, or of the two of a pair, which may be blank."""
        batch = self._tokenize(texts, False)
        names = (name for name in self._tokenizer.model_input_names if name in batch)
        return {name: list(batch[name][0]) for name in names}

    def _tokenize(self, parts: Sequence[Any], is_split: bool, **cut: Any) -> BatchEncoding:
        try:
            with self._lock:
                batch: BatchEncoding = self._tokenizer(
                    *([part] for part in parts),
                    is_split_into_words=is_split,
                    return_attention_mask=True,
                    verbose=False,
                    **cut,
                )
        except Exception as error:  # tokenizers raise errors of many kinds
            raise InputError(f"the tokenizer could not read the text: {error}") from error
        return batch if self._tokenizer.is_fast else with_offsets(batch, parts, self._tokenizer)

    def _encoded(
        self,
        parts: Sequence[Any],
        is_split: bool,
        whole: BatchEncoding,
        windows: BatchEncoding,
        overlap: int = 0,
    ) -> Encoded:
        encoding: Any = whole[0]
        texts = tuple(" ".join(part) if is_split else part for part in parts)
        ids = zip(encoding.ids, encoding.sequence_ids, strict=True)
        segments = [-1 if s is None or i in self._markers else s for i, s in ids]
        if all(segment < 0 for segment in segments):
            raise InputError(f"the tokenizer makes no token of the text {texts[0]!r:.80}.")
        offsets, words = encoding.offsets, encoding.word_ids
        if is_split:
            offsets, words = _in_joined_words(parts, encoding, segments)
        else:
            words = word_numbers(texts, offsets, segments, words)
        names = [name for name in self._tokenizer.model_input_names if name in windows]
        return Encoded(
            texts=texts,
            tokens=tuple(encoding.tokens),
            special=np.array(segments) < 0,
            offsets=np.array(offsets, np.int32),
            segments=np.array(segments, np.int32),
            words=np.array(words, np.int32),
            windows=tuple(
                Window({name: windows[name][n] for name in names}, positions)
                for n, positions in enumerate(
                    _window_positions(encoding, windows.encodings or [], overlap)
                )
            ),
        )


def _is_span(part: Any) -> bool:
    return (
        isinstance(part, (tuple, list))
        and len(part) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) for end in part)
    )


def _patterns(part: str) -> list[Pattern[str]]:
    """How to look for words in a text: as whole ones, then as they stand."""
    if not part.strip():
        return []
    as_it_stands = regex.escape(part)
    if UNSPACED.search(part):
        return [regex.compile(as_it_stands)]
    before = r"(?<!\w)" if regex.match(r"\w", part[0]) else ""
    after = r"(?!\w)" if regex.match(r"\w", part[-1]) else ""
    return [regex.compile(p) for p in (before + as_it_stands + after, as_it_stands)]


def check_long(long: str) -> None:
    """Raise `OptionError` unless it is one of `LONG`."""
    if long not in LONG:
        raise OptionError(f"long must be one of {', '.join(LONG)}; got {long!r}.")


def _window_positions(whole: Any, windows: Sequence[Any], overlap: int) -> list[NDArray[np.intp]]:
    """Where the tokens of each window stand in the whole.

    What the template adds, and the first of a pair, is in every window; the last text advances by a
    step.
    """
    if len(windows) == 1:
        return [np.arange(len(whole.ids))]
    places: dict[int | None, list[int]] = {None: [], 0: [], 1: []}
    for position, sequence in enumerate(whole.sequence_ids):
        places[sequence].append(position)
    last = max(s for s in whole.sequence_ids if s is not None)
    step = sum(sequence == last for sequence in windows[0].sequence_ids) - overlap
    found = []
    for number, window in enumerate(windows):
        seen = {None: 0, 0: 0, 1: 0}
        if number:
            seen[last] = number * step
        positions = []
        for sequence in window.sequence_ids:
            positions.append(places[sequence][seen[sequence]])
            seen[sequence] += 1
        assert [whole.ids[p] for p in positions] == window.ids
        found.append(np.array(positions))
    return found


def _in_joined_words(
    parts: Sequence[Sequence[str]], encoding: Any, segments: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Offsets in the words joined by spaces, and word numbers counted over the pair."""
    starts = [[0, *accumulate(len(word) + 1 for word in words)] for words in parts]
    offsets, numbers = list(encoding.offsets), [-1] * len(segments)
    for i, (segment, word) in enumerate(zip(segments, encoding.word_ids, strict=True)):
        if segment >= 0:
            begin, end = offsets[i]
            offsets[i] = (begin + starts[segment][word], end + starts[segment][word])
            numbers[i] = word + (len(parts[0]) if segment else 0)
    return offsets, numbers


def _shifted(values: NDArray[Any], first: Any) -> NDArray[Any]:
    return np.concatenate([np.array([first], values.dtype), values[:-1]])


def _check_text(parts: Sequence[Any], is_split: bool) -> None:
    for part in parts:
        if is_split and (isinstance(part, str) or not isinstance(part, Sequence)):
            raise InputError(
                f"with is_split_into_words a text is a list of words; got {type(part).__name__}."
            )
        pieces = part if is_split else [part]
        for piece in pieces:
            if not isinstance(piece, str):
                raise InputError(f"expected text, got {type(piece).__name__}: {piece!r:.80}.")
        if not any(piece.strip() for piece in pieces):
            raise InputError("the text is empty or blank, so there is nothing to explain.")


def _check_same_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Every token needs an embedding; embeddings without a token are padding, and few."""
    rows, size = model.config.get_text_config().vocab_size, len(tokenizer)
    if size > rows or size < 0.9 * rows:
        raise ModelError(
            f"the tokenizer has {size} tokens and the model {rows}, so they do not belong "
            "together. Load both from the same place, or give tensors to normxlogit.attribute."
        )


def _max_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int | None:
    """The most tokens that both the tokenizer and the model say they take."""
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    rows, padding = (getattr(table, name, None) for name in ("num_embeddings", "padding_idx"))
    usable = rows if rows is None or padding is None else rows - padding - 1
    limits = (stated, usable, tokenizer.model_max_length)
    return min((n for n in limits if isinstance(n, int) and 0 < n < 10**9), default=None)
