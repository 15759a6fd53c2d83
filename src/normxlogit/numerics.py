"""When two ways to the same number agree."""

import torch
from torch import Tensor

_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def tolerance(dtype: torch.dtype) -> float:
    """The relative difference that rounding may make between two orders of the same computation."""
    return _RELATIVE[dtype]


def gap(found: Tensor, expected: Tensor) -> Tensor:
    """The largest difference along the last dimension, relative to the largest expected value.

    Both are [..., n] and `expected` is finite; the result is [...], infinite where `found` is not
    a number.
    """
    scale = expected.abs().amax().clamp_min(1e-12)
    return ((found - expected).abs().amax(-1) / scale).nan_to_num(nan=torch.inf)


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape are equal up to rounding, nan where the other is nan."""
    within = tolerance(expected.dtype) * float(expected.abs().nan_to_num(posinf=0.0).amax())
    return bool(torch.isclose(found, expected, rtol=0, atol=within, equal_nan=True).all())
