"""When two ways to the same number agree."""

import torch
from torch import Tensor

_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def tolerance(dtype: torch.dtype) -> float:
    """The relative difference that rounding may make between two orders of the same computation."""
    return _RELATIVE[dtype]


def gap(found: Tensor, expected: Tensor) -> Tensor:
    """The largest difference along the last dimension, relative to the largest expected value.

    Both are [..., n]; the result is [...]. A value that is not finite gives infinity, unless both
    have the same there.
    """
    scale = expected.abs().nan_to_num(posinf=0.0).amax().clamp_min(1e-12)
    same = (found == expected) | (found.isnan() & expected.isnan())
    difference = (found - expected).abs().masked_fill(same, 0.0)
    return (difference / scale).nan_to_num(nan=torch.inf).amax(-1)


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape are equal up to rounding of their dtype."""
    return bool((gap(found.flatten(), expected.flatten()) <= tolerance(expected.dtype)).all())
