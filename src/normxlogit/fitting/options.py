"""The options of a fit, which are checked without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from normxlogit.data.option_checks import whole_number
from normxlogit.errors import OptionError

LEAST = 40
"""The fewest texts that a head can be fitted on and tried on others."""


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit.

    Attributes:
        texts: how many texts are drawn from the source.
        masks: how many sets of hidden words are tried for each, an even number.
        layers: the blocks whose outputs the head reads, 0 being the first block's input; None for
            four from the first to the last.
        width: how many hidden units the head has.
        seed: of all that is drawn.

    Raises:
        OptionError: one of them is out of range.
    """

    texts: int = 2000
    masks: int = 16
    layers: Sequence[int] | None = None
    width: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {
            "texts": whole_number("texts", self.texts, least=LEAST),
            "masks": whole_number("masks", self.masks, least=2),
            "width": whole_number("width", self.width, most=1 << 16),
            "seed": whole_number("seed", self.seed, least=0),
        }
        if whole["masks"] % 2:
            raise OptionError("masks must be even: each set of words is tried with its complement.")
        if self.layers is not None:
            if isinstance(self.layers, (str, int)) or not isinstance(self.layers, Sequence):
                raise OptionError(f"layers must be a list of numbers, got {self.layers!r:.80}.")
            layers = tuple(whole_number("layers", n, least=0) for n in self.layers)
            if not layers:
                raise OptionError("layers must name one layer or more.")
            object.__setattr__(self, "layers", layers)  # the way to set a field of a frozen class
        for name, value in whole.items():
            object.__setattr__(self, name, value)
