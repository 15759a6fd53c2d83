"""When two ways to the same number agree, and numbers that rounding must not carry too far."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils.generic import ModelOutput

# Two orders of one computation differ by many roundings in a deep model, so these are above each
# format's epsilon (1e-7 in float32, 8e-3 in bfloat16).
_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# A head alone takes few roundings. What it may differ by: a share of the spread of its outputs, and
# some units in the last place of their size.
_HEAD_RELATIVE = {
    torch.float64: 1e-8,
    torch.float32: 1e-4,
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}
_UNITS = {torch.float64: 32, torch.float32: 32, torch.float16: 8, torch.bfloat16: 4}


_MANY = 64
"""Among this many values or more, the largest counts for at most this many times the median."""


def to_numpy(values: Tensor) -> NDArray[Any]:
    """Return a tensor as an array, floats as float32, without a copy where none is needed."""
    values = values.detach().cpu()
    # numpy has no bfloat16.
    return (values.float() if values.is_floating_point() else values).numpy()


def tolerance(*dtypes: torch.dtype) -> float:
    """Return the relative difference that rounding may make in the coarsest of these dtypes."""
    return max(_RELATIVE[dtype] for dtype in dtypes)


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
        values, hidden = _wide(outputs), ~mask[..., None]
        largest = values.masked_fill(hidden, -torch.inf).amax(1)
        smallest = values.masked_fill(hidden, torch.inf).amin(1)
        return cls(largest - smallest, torch.maximum(largest.abs(), smallest.abs()), dtypes)

    def widened(self, outputs: Tensor) -> "Spread":
        """The spread with the size of further outputs, [rows, outputs]."""
        return replace(self, size=self.size.maximum(_wide(outputs).abs().nan_to_num(0.0)))

    @property
    def allowed(self) -> Tensor:
        """The largest difference that rounding may make, [rows, outputs]."""
        relative = max(_HEAD_RELATIVE[dtype] for dtype in self.dtypes)
        rounding = max(_UNITS[dtype] * torch.finfo(dtype).eps for dtype in self.dtypes)
        return (relative * self.width + rounding * self.size).clamp_min(torch.finfo().tiny)

    def excess(self, actual: Tensor, expected: Tensor) -> Tensor:
        """The largest difference over the outputs, as a multiple of what rounding may make.

        Takes [rows, ..., outputs] and returns [rows, ...]: at most 1 if the two agree, infinite
        where `actual` is not a number.
        """
        between = (1,) * (actual.dim() - 2)
        allowed = self.allowed.reshape(len(self.allowed), *between, -1)
        ratios = (_wide(actual) - _wide(expected)).abs() / allowed
        return ratios.amax(-1).nan_to_num(nan=torch.inf)

    def share(self, actual: Tensor, expected: Tensor) -> float:
        """The largest difference as a share of the spread, for messages; shapes as `excess`."""
        between = (1,) * (actual.dim() - 2)
        width = self.width.reshape(len(self.width), *between, -1).clamp_min(1e-12)
        return float(((_wide(actual) - _wide(expected)).abs() / width).amax())


def magnitude(values: Tensor) -> Tensor:
    """Return the size that differences are relative to: the largest absolute value, [].

    Among many values, such as the logits over a vocabulary, those far from the median do not count:
    models set the logits of tokens that are not to be generated to -1e9 or the like.
    """
    sizes = values.abs().flatten()
    largest = sizes.amax()
    if values.shape[-1] >= _MANY and (median := sizes.median()) > 0:
        largest = torch.minimum(largest, _MANY * median)
    return largest.clamp_min(1e-12)


def gap(actual: Tensor, expected: Tensor) -> Tensor:
    """Return the largest difference along the last dimension, relative to `magnitude(expected)`.

    Both are [..., n] and `expected` is finite; the result is [...], infinite where `actual` is not
    a number.
    """
    return ((actual - expected).abs().amax(-1) / magnitude(expected)).nan_to_num(nan=torch.inf)


def agree(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors of one shape are equal up to rounding; nan equals nan."""
    within = tolerance(expected.dtype) * float(expected.abs().nan_to_num(posinf=0.0).amax())
    # Absolute, not relative to each value: small values are sums of large ones that cancel, with
    # the rounding of the large ones.
    return bool(torch.isclose(actual, expected, rtol=0, atol=within, equal_nan=True).all())


def probability(logits: Tensor, total: Tensor) -> Tensor:
    """Return exp(logit - total), where `total` is the log-sum-exp of all logits, float32."""
    # Logit and total may come from two products with the head; for logits of some hundreds rounding
    # alone makes these differ by 1e-5, and a probability must not exceed 1.
    return (logits - total).exp().clamp(max=1)


def _wide(values: Tensor) -> Tensor:
    """The values in float32, or in float64 if that is what they are in."""
    return values if values.dtype == torch.float64 else values.float()


def norms_of(hidden: Tensor) -> Tensor:
    """The L2 norms of vectors in the last dimension, in float32."""
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(hidden, dim=-1, dtype=wide)
    return norms.float()


def first_tensor(values: Any) -> Any:
    """The first floating-point tensor of a module's arguments or output; None if there is none."""
    if isinstance(values, Tensor):
        return values if values.is_floating_point() else None
    if isinstance(values, ModelOutput):
        values = values.to_tuple()
    if isinstance(values, (tuple, list)):
        return next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)
    return None
