"""When two ways to the same number agree, and a number that rounding must not carry too far."""

from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


_MANY = 64
"""Of so many values the largest may be no more than so many times the median."""


def tolerance(*dtypes: torch.dtype) -> float:
    """The relative difference that rounding may make between two orders of the same computation,
    in the coarsest of these.
    """
    return max(_RELATIVE[dtype] for dtype in dtypes)


def magnitude(values: Tensor) -> Tensor:
    """The size that differences are relative to: the largest absolute value, [].

    Of many values, such as the logits over a vocabulary, those far from the median do not count:
    models set the logits of tokens that are not to be generated to -1e9 or the like.
    """
    sizes = values.abs().flatten()
    largest = sizes.amax()
    if values.shape[-1] >= _MANY and (median := sizes.median()) > 0:
        largest = torch.minimum(largest, _MANY * median)
    return largest.clamp_min(1e-12)


def gap(found: Tensor, expected: Tensor) -> Tensor:
    """The largest difference along the last dimension, relative to the expected magnitude.

    Both are [..., n] and `expected` is finite; the result is [...], infinite where `found` is not
    a number.
    """
    return ((found - expected).abs().amax(-1) / magnitude(expected)).nan_to_num(nan=torch.inf)


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape are equal up to rounding, nan where the other is nan."""
    within = tolerance(expected.dtype) * float(expected.abs().nan_to_num(posinf=0.0).amax())
    return bool(torch.isclose(found, expected, rtol=0, atol=within, equal_nan=True).all())


def probability(logits: Tensor, total: Tensor) -> Tensor:
    """exp(logit - total), where `total` is the log-sum-exp of all logits, float32, at most 1.

    The two may come from two products with the head; of logits of some hundreds rounding alone
    makes them differ by 1e-5.
    """
    return (logits - total).exp().clamp(max=1)


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
