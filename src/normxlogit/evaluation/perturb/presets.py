"""The two ways to hold a ranking against a classifier: as it should be, and as the paper did it.

Abbasi et al. 2025 count [CLS] and [SEP] among a text's tokens, hide [SEP] like any other token,
rank tokens rather than words, and take gradients of twice embedded texts without their sign.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.perturb.rankings import Order
from normxlogit.evaluation.perturb.samples import Sample, numbered
from normxlogit.results.text import Attribution
from normxlogit.text.encoded import Encoded

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SHUFFLED_WITH = 12


class Preset(Protocol):
    """What there is to decide."""

    name: str
    draws: int

    def item(self, item: Any) -> Any:
        """The text or pair as it is evaluated."""

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        """The unit of every token, -1 for tokens that are never hidden, intp [tokens].

        Args:
            encoded: the text.
            read: the position that the head reads, which stays; -1 where it reads several.
        """

    def counts(self, sample: Sample, ratios: Sequence[float]) -> list[int]:
        """How many units each ratio of a text is."""

    def scores(self, attribution: Attribution) -> NDArray[np.float32]:
        """The scores that are ranked, nan for tokens that are not, [tokens]."""

    def options(self, method: str) -> Mapping[str, Any]:
        """The options of a method, where none are given."""

    def draw(self, sample: Sample, seed: int, draw: int) -> Order:
        """A random order of a text's units."""


class Corrected:
    """Words, or tokens; special tokens are neither hidden nor counted; many random orders.

    A share k of n words is the whole number next to k n, the larger of two: of k n up to 1e-9, for
    0.7 * 45 is less than 31.5.
    """

    name = "corrected"

    def __init__(self, unit: str = "word", draws: int = 20) -> None:
        """Take what is ranked, "word", "token" or "sentence", and how many random orders there
        are.
        """
        self._unit, self.draws = unit, draws

    def item(self, item: Any) -> Any:
        return item

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        units = encoded.units(self._unit)
        if read >= 0 and units[read] >= 0:
            units = np.where(units == units[read], -1, units)
        return numbered(units)

    def counts(self, sample: Sample, ratios: Sequence[float]) -> list[int]:
        return [int(ratio * sample.count + 0.5 + 1e-9) for ratio in ratios]

    def scores(self, attribution: Attribution) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.where(
            attribution.special, np.float32(np.nan), attribution.scores
        )
        return found

    def options(self, method: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def draw(self, sample: Sample, seed: int, draw: int) -> Order:
        return np.random.default_rng([seed, sample.number, draw]).permutation(sample.count)


class Paper:
    """The notebook of Abbasi et al. 2025, experiment 1, to the letter.

    White space of texts is collapsed; every token but the one that the head reads is ranked and may
    be hidden; a share k of a text of n tokens, [CLS] and [SEP] among them, is int(n k) of them; the
    random order is one shuffle, the same for all texts of a length.
    """

    name = "paper"
    draws = 1

    def item(self, item: Any) -> Any:
        if isinstance(item, tuple):
            return tuple(" ".join(text.split()) for text in item)
        return " ".join(item.split())

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        units = np.arange(len(encoded))
        return numbered(np.where(units == read, -1, units))

    def counts(self, sample: Sample, ratios: Sequence[float]) -> list[int]:
        return [int(len(sample.encoded) * ratio) for ratio in ratios]

    def scores(self, attribution: Attribution) -> NDArray[np.float32]:
        return attribution.scores

    def options(self, method: str) -> Mapping[str, Any]:
        gradients = ("gradient_norm", "gradient_x_input", "integrated_gradients")
        return {"compat": "paper"} if method in gradients else {}

    def draw(self, sample: Sample, seed: int, draw: int) -> Order:  # noqa: ARG002
        order = list(range(sample.count))
        random.Random(_SHUFFLED_WITH).shuffle(order)
        return np.array(order, np.intp)
