"""Two protocols to test a ranking on a classifier: a corrected one, and the paper's.

Abbasi et al. 2025 count [CLS] and [SEP] among a text's tokens, hide [SEP] like any other token,
rank tokens rather than words, and take unsigned gradients of texts that were embedded twice.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.perturb.rankings import Order
from normxlogit.evaluation.perturb.samples import Sample, renumbered
from normxlogit.results.text import Attribution
from normxlogit.text.encoded import Encoded

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SHUFFLED_WITH = 12


class Preset(Protocol):
    """The decisions of an evaluation protocol."""

    name: str
    draws: int

    def item(self, item: Any) -> Any:
        """Prepare a text or pair."""

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        """Assign each token its unit, -1 for tokens that are never hidden: intp [tokens].

        Args:
            encoded: the text.
            read: the position that the head reads, which is never hidden; -1 if it reads several.
        """

    def counts(self, sample: Sample, ratios: Sequence[float]) -> list[int]:
        """Turn each ratio into a number of units."""

    def scores(self, attribution: Attribution) -> NDArray[np.float32]:
        """The token scores to rank, [tokens]; nan for tokens that are left out."""

    def options(self, method: str) -> Mapping[str, Any]:
        """Default options of a method."""

    def draw(self, sample: Sample, seed: int, draw: int) -> Order:
        """Draw a random order of a text's units."""


class Corrected:
    """Rank words, tokens or sentences, without special tokens, and draw many random orders.

    A share k of n units is k n rounded, halves up. The 1e-9 makes up for floating point, in which
    0.7 * 45 is less than 31.5.
    """

    name = "corrected"

    def __init__(self, unit: str = "word", draws: int = 20) -> None:
        """Set what is ranked, "word", "token" or "sentence", and the number of random orders."""
        self._unit, self.draws = unit, draws

    def item(self, item: Any) -> Any:
        return item

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        units = encoded.units(self._unit)
        if read >= 0 and units[read] >= 0:
            # The rest of the word that the head reads stays with it: a word is hidden whole or not.
            units = np.where(units == units[read], -1, units)
        return renumbered(units)

    def counts(self, sample: Sample, ratios: Sequence[float]) -> list[int]:
        return [int(ratio * sample.count + 0.5 + 1e-9) for ratio in ratios]

    def scores(self, attribution: Attribution) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = np.where(
            attribution.special, np.float32(np.nan), attribution.scores
        )
        return scores

    def options(self, method: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def draw(self, sample: Sample, seed: int, draw: int) -> Order:
        return np.random.default_rng([seed, sample.number, draw]).permutation(sample.count)


class Paper:
    """Reproduce the notebook of Abbasi et al. 2025, experiment 1, exactly.

    White space is collapsed. Every token except the one that the head reads is ranked and may be
    hidden. A share k of a text of n tokens, [CLS] and [SEP] included, is int(n k) tokens. The
    random order is a single shuffle, the same for all texts of a length.
    """

    name = "paper"
    draws = 1

    def item(self, item: Any) -> Any:
        if isinstance(item, tuple):
            return tuple(" ".join(text.split()) for text in item)
        return " ".join(item.split())

    def units(self, encoded: Encoded, read: int) -> NDArray[np.intp]:
        units = np.arange(len(encoded))
        return renumbered(np.where(units == read, -1, units))

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
