"""When two ways to the same number agree, and numbers that rounding must not carry too far."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils.generic import ModelOutput

# Two orders of one computation differ by many roundings in a deep model, so these are above each
# format's epsilon (1e-7 in float32, 8e-3 in bfloat16).
_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# In units in the last place.
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


def rounding(*dtypes: torch.dtype) -> float:
    """Return the relative difference that some roundings of one number make, in the coarsest."""
    return max(_UNITS[dtype] * torch.finfo(dtype).eps for dtype in dtypes)


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


def wide(values: Tensor) -> Tensor:
    """The values in float32, or in float64 if that is what they are in."""
    return values if values.dtype == torch.float64 else values.float()


def norms_of(hidden: Tensor) -> Tensor:
    """The L2 norms of vectors in the last dimension, in float32."""
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(hidden, dim=-1, dtype=dtype)
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
