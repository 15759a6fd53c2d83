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

_COMMON = 4
"""A size counts as no less than the largest one up to this many times their median."""


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


def allowance(
    width: Tensor, size: Tensor, *dtypes: torch.dtype, relative: float | None = None
) -> Tensor:
    """Return the largest difference that rounding may make in numbers.

    Args:
        width: how far apart they lie, over tokens or rows: a constant that these share must not
            make differences look small.
        size: how large they are, which is what rounding goes with, of a shape that fits.
        *dtypes: what they were computed in.
        relative: what rounding may make of the width, if not `tolerance` of these.
    """
    relative = tolerance(*dtypes) if relative is None else relative
    allowed = relative * width + rounding(*dtypes) * size
    return allowed.clamp_min(torch.finfo().tiny)


def agree(actual: Tensor, expected: Tensor, width: Tensor | None = None) -> bool:
    """Return whether two tensors of one shape are equal up to rounding; see `excess`."""
    return excess(actual, expected, width) <= 1


def excess(actual: Tensor, expected: Tensor, width: Tensor | None = None) -> float:
    """Return the largest difference, as a multiple of what rounding may make.

    Every channel is held against its own width: a channel in thousands, or a label that is masked
    by -1e9, must not make the differences of others look small; nor must a row in thousands.

    Args:
        actual, expected: [..., channels]; nan equals nan.
        width: of each channel, if it is known from more than these rows, [channels].

    Returns:
        At most 1 if the two agree; infinite where only one of them is a number.
    """
    if expected.numel() == 0:
        return 0.0
    channels = expected.shape[-1] if expected.dim() else 1
    actual, values = (wide(side).reshape(-1, channels) for side in (actual, expected))
    size = values.abs().nan_to_num(0.0, 0.0)
    if width is None:
        allowed = _allowed(values, size, expected.dtype)
    else:
        allowed = allowance(width, size, expected.dtype)
    is_equal = (actual == values) | (actual.isnan() & values.isnan())
    ratios = (actual - values).abs() / allowed
    return float(ratios.nan_to_num(torch.inf).masked_fill(is_equal, 0.0).amax())


def _allowed(values: Tensor, size: Tensor, dtype: torch.dtype) -> Tensor:
    """What rounding may change of values, by their own width and size, all [rows, channels]."""
    of_channels = size.amax(0)
    is_finite = values.isfinite()
    highest = values.where(is_finite, -torch.inf).amax(0)
    lowest = values.where(is_finite, torch.inf).amin(0)
    # A single number has no width.
    width = of_channels.where(is_finite.sum(0) < 2, highest - lowest).minimum(of_channels)
    by_channel = allowance(at_least_common(width), at_least_common(of_channels), dtype)
    of_rows = at_least_common(size.amax(1))[:, None]
    return by_channel.minimum(allowance(of_rows, of_rows, dtype))


def at_least_common(sizes: Tensor) -> Tensor:
    """Raise small sizes to one that is common among them, along the last dimension.

    A number that is small by chance, where larger ones cancel, has the rounding of these. Sizes far
    above the median are not common, and zeroes, such as a ReLU gives, say nothing.
    """
    median = sizes.where(sizes > 0, torch.nan).nanmedian(-1, keepdim=True).values.nan_to_num(0.0)
    return sizes.maximum((_COMMON * median).minimum(sizes.amax(-1, keepdim=True)))


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
