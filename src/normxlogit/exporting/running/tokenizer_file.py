"""Texts to a graph's inputs, by the file of a tokenizer alone."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from normxlogit.errors import InputError
from normxlogit.exporting.manifest import FIELDS, TextRules
from normxlogit.text.encoded import Window
from normxlogit.text.reader import Reader


@dataclass(frozen=True)
class _Batch:
    """Texts in tokens, as transformers' `BatchEncoding` shows them."""

    encodings: list[Encoding]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            return self.encodings[key]
        return [getattr(encoding, FIELDS[key]) for encoding in self.encodings]

    def __contains__(self, name: str) -> bool:
        return name in FIELDS


class TokenizerFile(Reader):
    """Reads texts by `tokenizer.json`; several threads may share it."""

    def __init__(self, path: Path, rules: TextRules) -> None:
        """Load the file of a tokenizer.

        Raises:
            InputError: it is none.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare exceptions
            raise InputError(f"{path} is no tokenizer: {error}. Export the model again.") from error
        self._tokenizer.no_padding()
        self._rules, self._lock = rules, threading.Lock()
        self._markers = frozenset(rules.markers)
        self.max_length = rules.max_length

    def batch(self, windows: Sequence[Window]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs of windows, [batch, sequence], padded as the model needs it."""
        rules, width = self._rules, max(map(len, windows))
        inputs = {}
        for name in rules.inputs:
            rows = np.full((len(windows), width), rules.padding[name], np.int64)
            for row, window in zip(rows, windows, strict=True):
                row[self.place(window, width)] = window.inputs[name]
            inputs[name] = rows
        return inputs

    def place(self, window: Window, width: int) -> slice:
        """Return where a window's tokens stand in a row of `width` positions."""
        start = width - len(window) if self._rules.side == "left" else 0
        return slice(start, start + len(window))

    @property
    def _input_names(self) -> Sequence[str]:
        return self._rules.inputs

    def _check_serves(self, is_split: bool, long: str) -> None:
        """The file of a tokenizer serves both."""

    def _tokenize(self, parts: Sequence[Any], is_split: bool, **cut: Any) -> _Batch:
        with self._lock:
            if cut:
                stride, strategy = cut.get("stride", 0), cut["truncation"]
                self._tokenizer.enable_truncation(
                    cut["max_length"], stride=stride, strategy=strategy
                )
            else:
                self._tokenizer.no_truncation()
            try:
                text, pair = (*parts, None)[:2]
                encoding = self._tokenizer.encode(text, pair, is_pretokenized=is_split)
            except Exception as error:  # tokenizers raises errors of many kinds
                raise InputError(f"the tokenizer could not read the text: {error}") from error
        overflowing = encoding.overflowing if cut.get("return_overflowing_tokens") else []
        encodings, known = [encoding, *overflowing], self._rules.vocabulary_size
        unknown = next((i for part in encodings for i in part.ids if i >= known), None)
        if unknown is not None:
            raise InputError(
                f"the tokenizer has the token {self._tokenizer.id_to_token(unknown)!r} (id "
                f"{unknown}), and the model has embeddings for {known} tokens only. Leave it out."
            )
        return _Batch(encodings)
