"""Texts as tokens: their words, the model's limit, and the windows of long texts.

Whichever tokenizer it is that reads them: this needs neither torch nor transformers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from normxlogit.errors import InputError, TooLongError
from normxlogit.text.encoded import Encoded, Window, window_positions
from normxlogit.text.offsets import joined_word_offsets
from normxlogit.text.validation import check_long, check_text
from normxlogit.text.words import word_numbers


class Reader(ABC):
    """Reads texts and pairs as tokens.

    Attributes:
        max_length: the most tokens that the model accepts; None if unknown.
    """

    max_length: int | None
    _markers: Set[int | None]
    """The ids that a tokenizer puts around texts."""

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
                "window", cut it into windows that overlap by a quarter (for a pair, the second
                text is cut).
            has_windows: whether the caller can use windows; an error proposes them only then.

        Raises:
            InputError: it is not a text, or blank, or too long, or the model has no embedding for
                one of its tokens.
            OptionError: `long` is none of the above.
        """
        check_long(long)
        if isinstance(item, tuple) and len(item) != 2:
            raise InputError(f"a tuple is a pair of texts; got one of {len(item)}.")
        parts = item if isinstance(item, tuple) else (item,)
        check_text(parts, is_split_into_words)
        self._check_serves(is_split_into_words, long)
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
        # The overlap must be less than what a window has of the last text, or none advances.
        overlap = min(self.max_length // 4, room // 2)
        cut |= {"return_overflowing_tokens": True, "stride": overlap}
        if len(parts) == 2:
            cut["truncation"] = "only_second"
        windows = self._tokenize(parts, is_split_into_words, **cut)
        return self._encoded(parts, is_split_into_words, batch, windows, overlap)

    @property
    @abstractmethod
    def _input_names(self) -> Sequence[str]:
        """The model's inputs, in order, by those that a tokenizer may give."""

    @abstractmethod
    def _tokenize(self, parts: Sequence[Any], is_split: bool, **cut: Any) -> Any:
        """Tokenize a text or the two of a pair; what it returns is like a `BatchEncoding`.

        Args:
            parts: the texts, or with `is_split` their words.
            is_split: whether a text is a sequence of words.
            **cut: how to cut it, by the names of transformers.

        Raises:
            InputError: the tokenizer cannot read them.
        """

    @abstractmethod
    def _check_serves(self, is_split: bool, long: str) -> None:
        """Raise `InputError` if the tokenizer can neither take split words nor make windows."""

    def _encoded(
        self,
        parts: Sequence[Any],
        is_split: bool,
        whole: Any,
        windows: Any,
        overlap: int = 0,
    ) -> Encoded:
        encoding: Any = whole[0]
        texts = tuple(" ".join(part) if is_split else part for part in parts)
        ids = zip(encoding.ids, encoding.sequence_ids, strict=True)
        # A text may itself spell "[SEP]" or "</s>", which tokenizers read as the marker.
        segments = [-1 if s is None or i in self._markers else s for i, s in ids]
        if all(segment < 0 for segment in segments):
            raise InputError(f"the tokenizer makes no token of the text {texts[0]!r:.80}.")
        offsets, words = encoding.offsets, encoding.word_ids
        if is_split:
            offsets, words = joined_word_offsets(parts, encoding, segments)
        else:
            words = word_numbers(texts, offsets, segments, words)
        names = [name for name in self._input_names if name in windows]
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
                    window_positions(encoding, windows.encodings or [], overlap)
                )
            ),
        )
