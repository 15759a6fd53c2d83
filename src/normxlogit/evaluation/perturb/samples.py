"""Labelled texts as a model reads them, and which parts of them may be hidden."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import ModelError
from normxlogit.text.encoded import Encoded


@dataclass(frozen=True, eq=False)
class Sample:
    """A text or pair with the model's prediction for it.

    Attributes:
        number: its row in the source.
        item: the text, or a pair as a tuple.
        encoded: its tokens, in a single window.
        units: the number of each token's unit, intp [tokens]; -1 for tokens that are never hidden.
        output: the model's output for it, float64 [outputs]: probabilities, or the value of a
            regression.
        label: the user's label: the id of a class, or a value; None if it has none.
    """

    number: int
    item: Any
    encoded: Encoded
    units: NDArray[np.intp]
    output: NDArray[np.float64]
    label: float | None

    @property
    def target(self) -> int:
        """The output that is explained: the class with the largest probability."""
        return int(self.output.argmax())

    @property
    def count(self) -> int:
        """The number of units."""
        return int(self.units.max(initial=-1)) + 1

    @property
    def inputs(self) -> dict[str, list[int]]:
        """The model's inputs, by name."""
        return self.encoded.windows[0].inputs

    def texts_read(self) -> list[str]:
        """The text, or both texts of a pair, cut where their last token ends."""
        ends = [
            self.encoded.offsets[self.encoded.segments == n, 1].max(initial=0)
            for n in range(len(self.encoded.texts))
        ]
        return [text[:end] for text, end in zip(self.encoded.texts, ends, strict=True)]

    def units_in(self, tokens: Sequence[str]) -> NDArray[np.intp]:
        """The unit of each token of an explanation.

        The explanation may be of a decoder's tokens: the text's, shifted to the right by one.

        Raises:
            ModelError: its tokens are others.
        """
        text_tokens = self.encoded.tokens
        if tuple(tokens) == text_tokens:
            return self.units
        if tuple(tokens[1:]) == text_tokens[:-1]:
            return np.concatenate([[-1], self.units[:-1]])
        raise ModelError(f"row {self.number} was explained in other tokens than it was read in.")

    def names(self) -> list[str]:
        """The text of each unit, or its tokens where they have no text."""
        names = []
        for unit in range(self.count):
            tokens = np.flatnonzero(self.units == unit)
            text = self.text_of(tokens)
            names.append(text or " ".join(self.encoded.tokens[i] for i in tokens))
        return names

    def span(self, tokens: NDArray[np.intp]) -> tuple[int, int, int]:
        """The number of the text that tokens are in, their first character and last + 1."""
        offsets = self.encoded.offsets[tokens]
        return int(self.encoded.segments[tokens[0]]), int(offsets[:, 0].min()), int(offsets.max())

    def text_of(self, tokens: NDArray[np.intp]) -> str:
        """The text from the first to the last of some tokens; "" for special tokens."""
        segment, start, end = self.span(tokens)
        return "" if segment < 0 else self.encoded.texts[segment][start:end].strip()


def renumbered(units: NDArray[Any]) -> NDArray[np.intp]:
    """The same units, numbered from 0 without gaps in the same order; -1 stays."""
    numbers = np.full(len(units), -1, np.intp)
    kept = units >= 0
    numbers[kept] = np.unique(units[kept], return_inverse=True)[1]
    return numbers


def hidden_tokens(sample: Sample, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tokens are hidden with the given units: bool [..., units] -> [..., tokens]."""
    # Tokens without a unit have the number -1, which picks this last column: they are never hidden.
    never = np.zeros((*hidden.shape[:-1], 1), np.bool_)
    by_token: NDArray[np.bool_] = np.concatenate([hidden, never], -1)[..., sample.units]
    return by_token
