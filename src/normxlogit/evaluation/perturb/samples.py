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
    """A text or pair that a model has been asked about.

    Attributes:
        number: its row in the source.
        item: the text, or the tuple of a pair.
        encoded: it in tokens, of one window.
        units: the number of the unit that each token belongs to, intp [tokens]; -1 for tokens that
            are never hidden.
        output: what the model says of it, float64 [outputs]: probabilities, or the values of a
            regression.
        label: what the user says of it: the id of a class, or a value; None if nothing.
    """

    number: int
    item: Any
    encoded: Encoded
    units: NDArray[np.intp]
    output: NDArray[np.float64]
    label: float | None

    @property
    def said(self) -> int:
        """The output that is explained: the class with the largest probability."""
        return int(self.output.argmax())

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.units.max(initial=-1)) + 1

    @property
    def inputs(self) -> dict[str, list[int]]:
        """What the model takes."""
        return self.encoded.windows[0].inputs

    def texts_read(self) -> list[str]:
        """The text, or the two of a pair, as far as there are tokens of it."""
        ends = [
            self.encoded.offsets[self.encoded.segments == n, 1].max(initial=0)
            for n in range(len(self.encoded.texts))
        ]
        return [text[:end] for text, end in zip(self.encoded.texts, ends, strict=True)]

    def units_in(self, tokens: Sequence[str]) -> NDArray[np.intp]:
        """The unit of each token of an explanation, which may be of what a decoder read: the text
        shifted to the right by one.

        Raises:
            ModelError: it is of other tokens.
        """
        own = self.encoded.tokens
        if tuple(tokens) == own:
            return self.units
        if tuple(tokens[1:]) == own[:-1]:
            return np.concatenate([[-1], self.units[:-1]])
        raise ModelError(f"row {self.number} was explained in other tokens than it was read in.")

    def names(self) -> list[str]:
        """What the units say."""
        found = []
        for unit in range(self.count):
            own = np.flatnonzero(self.units == unit)
            text = self.text_of(own)
            found.append(text or " ".join(self.encoded.tokens[i] for i in own))
        return found

    def span(self, tokens: NDArray[np.intp]) -> tuple[int, int, int]:
        """The text that tokens are of, and their first character and last + 1 in it."""
        offsets = self.encoded.offsets[tokens]
        return int(self.encoded.segments[tokens[0]]), int(offsets[:, 0].min()), int(offsets.max())

    def text_of(self, tokens: NDArray[np.intp]) -> str:
        """What tokens say; nothing of special ones."""
        segment, start, end = self.span(tokens)
        return "" if segment < 0 else self.encoded.texts[segment][start:end].strip()


def numbered(units: NDArray[Any]) -> NDArray[np.intp]:
    """The same units, those that there are numbered from 0 in their order; -1 stays."""
    found = np.full(len(units), -1, np.intp)
    kept = units >= 0
    found[kept] = np.unique(units[kept], return_inverse=True)[1]
    return found


def tokens_hidden(sample: Sample, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tokens of a text are hidden, if these units are: [..., units] -> [..., tokens]."""
    never = np.zeros((*hidden.shape[:-1], 1), np.bool_)
    found: NDArray[np.bool_] = np.concatenate([hidden, never], -1)[..., sample.units]
    return found
