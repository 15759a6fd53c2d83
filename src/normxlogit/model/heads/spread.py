"""How far the outputs of a head may differ by rounding."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.model.numerics import allowance, wide

# A head alone takes fewer roundings than a whole model.
_HEAD_RELATIVE = {
    torch.float64: 1e-8,
    torch.float32: 1e-4,
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}

_STEPS = 8
"""How many steps of rounding the values of a regression's tokens must be apart."""


@dataclass(frozen=True)
class Spread:
    """How far a head's outputs lie apart over tokens, which is what a difference is held against.

    Every output has its own: a label that is masked by -1e9, or a value in thousands, must not make
    the differences of other outputs look small; nor must a constant that all tokens share, such as
    the bias of a regression, those of its own.

    Attributes:
        width: the largest output over a row's tokens less the smallest, [rows, outputs].
        size: the largest absolute output of a row's tokens, [rows, outputs].
        dtypes: what was computed in.
    """

    width: Tensor
    size: Tensor
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, outputs: Tensor, mask: Tensor, *dtypes: torch.dtype) -> "Spread":
        """Measure outputs, [rows, sequence, outputs], where `mask` [rows, sequence] is true."""
        smallest, largest = extremes(wide(outputs), mask[..., None], 1)
        return cls(largest - smallest, torch.maximum(largest.abs(), smallest.abs()), dtypes)

    def widened(self, outputs: Tensor) -> "Spread":
        """The spread with the size of further outputs, [rows, outputs]."""
        return replace(self, size=self.size.maximum(wide(outputs).abs().nan_to_num(0.0)))

    @cached_property
    def allowed(self) -> Tensor:
        """The largest difference that rounding may make, [rows, outputs]."""
        relative = max(_HEAD_RELATIVE[dtype] for dtype in self.dtypes)
        return allowance(self.width, self.size, *self.dtypes, relative=relative)

    def excess(self, actual: Tensor, expected: Tensor) -> Tensor:
        """The largest difference over the outputs, as a multiple of what rounding may make.

        Takes [rows, ..., outputs] and returns [rows, ...]: at most 1 if the two agree, infinite
        where `actual` is not a number.
        """
        between = (1,) * (actual.dim() - 2)
        allowed = self.allowed.reshape(len(self.allowed), *between, -1)
        ratios = (wide(actual) - wide(expected)).abs() / allowed
        return ratios.amax(-1).nan_to_num(nan=torch.inf)


def extremes(values: Tensor, mask: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value along a dimension, where `mask` is true."""
    smallest = values.masked_fill(~mask, torch.inf).amin(dim)
    return smallest, values.masked_fill(~mask, -torch.inf).amax(dim)


def check_resolution(values: Tensor, mask: Tensor, name: str) -> None:
    """Raise `ModelError` if rounding hides how far apart a regression's values of tokens are.

    Its scores are made of the distances between them.

    Args:
        values: HoT, [rows, sequence, outputs].
        mask: where tokens are, bool [rows, sequence].
        name: the model's class.
    """
    spread = Spread.of(values, mask, values.dtype)
    width, size = spread.width, spread.size
    hidden = (width < _STEPS * torch.finfo(values.dtype).eps * size) & (mask.sum(1) > 1)[:, None]
    if hidden.any():
        dtype = str(values.dtype).removeprefix("torch.")
        wider = "float64" if values.dtype == torch.float32 else "float32"
        raise ModelError(
            f"the values of {name} for tokens are too close to be told apart in {dtype}: "
            f"{float(width[hidden][0]):.1e} apart, of {float(size[hidden][0]):.4g}. Load it with "
            f"dtype={wider}."
        )


T = TypeVar("T")


def checked(check: Callable[[Spread], T], spread: Spread, probe: Callable[[], Tensor]) -> T:
    """Check outputs; if they are refused, again with the rounding of what may cancel in them.

    An output near zero, where large numbers cancel, has the rounding of these. The same numbers in
    another order do not cancel, and show how large they are.

    Args:
        check: raises `UnsupportedHeadError` for outputs that differ by more than a spread allows.
        spread: of the outputs.
        probe: gives the outputs of states whose numbers are in another order, [rows, outputs].
    """
    try:
        return check(spread)
    except UnsupportedHeadError:
        return check(spread.widened(probe()))
