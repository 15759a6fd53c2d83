"""Steps of blocks and heads, applied to a state and to the vectors that the state is a sum of.

Called, a step maps a state; `linear` maps the vectors, so that they sum to the step's result
without its bias. How to share out the bias is left to the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from normxlogit.model.numerics import agree


class PartError(Exception):
    """A module is of another kind than needed; the message completes "its ... is"."""


@dataclass(frozen=True)
class Linear:
    """x -> W x + b; `weight` is [outputs, inputs], `bias` [outputs]."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype) -> "Linear":
        """Return a module's weights in a dtype; `PartError` if it holds no plain weights."""
        if type(module) is not nn.Linear:
            raise PartError(
                f"a {_qualified_name(module)}, not torch's Linear (merge adapters first)"
            )
        return cls(*_weights(module, dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return functional.linear(x, self.weight, self.bias)

    def linear(self, vectors: Tensor, _at: Tensor) -> Tensor:
        """Map vectors that sum to x to vectors that sum to the result without the bias."""
        return functional.linear(vectors, self.weight)


@dataclass(frozen=True)
class Norm:
    """x -> w (x - mean(x)) / sqrt(var(x) + eps) + b, a LayerNorm."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype) -> "Norm":
        """Return a module's weights in a dtype; `PartError` if it is no LayerNorm of vectors."""
        if type(module) is not nn.LayerNorm or len(module.normalized_shape) != 1:
            raise PartError(f"a {_qualified_name(module)}, not torch's LayerNorm of a vector")
        if not module.elementwise_affine:
            raise PartError("a LayerNorm without weights")
        return cls(*_weights(module, dtype), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)

    def linear(self, vectors: Tensor, at: Tensor) -> Tensor:
        """Map vectors [..., n, width] that sum to `at`, [..., width], to vectors that sum to the
        result without the bias.
        """
        # Divided by the deviation of their sum; by their own they would not sum to the result.
        return self.scaled(vectors) / self.deviation(at)[..., None, None]

    def scaled(self, vectors: Tensor) -> Tensor:
        """Return w (x - mean(x)) for vectors x, [..., width]."""
        return (vectors - vectors.mean(-1, keepdim=True)) * self.weight

    def deviation(self, x: Tensor) -> Tensor:
        """Return sqrt(var(x) + eps) for vectors x, [..., width] -> [...]."""
        return (x.var(-1, correction=0) + self.eps).sqrt()


@dataclass(frozen=True)
class Activation:
    """x -> f(x), elementwise."""

    function: Callable[[Tensor], Tensor]
    bias = None

    @classmethod
    def of(cls, module: Any, _dtype: torch.dtype) -> "Activation":
        """Return a module as an activation; `PartError` if it cannot be called."""
        if not callable(module):
            raise PartError("no function")
        return cls(module)

    def __call__(self, x: Tensor) -> Tensor:
        """[...] -> [...]."""
        return self.function(x)

    def linear(self, vectors: Tensor, at: Tensor) -> Tensor:
        """Map vectors [..., n, width] that sum to `at`, [..., width], to vectors that sum to the
        result: each number times f(x) / x, the slope from the origin.
        """
        # By the tangent f'(x) they would not sum to f(x).
        return vectors * (self.function(at) / (at + 1e-12))[..., None, :]

    def is_pointwise(self, x: Tensor) -> bool:
        """Return whether f gives the same for each number of x alone as among the others."""
        try:
            alone = self.function(x.reshape(-1, 1)).reshape(x.shape)
            return agree(alone, self.function(x))
        except Exception:
            return False


Step = Linear | Norm | Activation


def _weights(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return the weight and the bias of one of a clone's modules."""
    weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
    # Quantised weights are subclasses of these; offloaded ones are on the meta device.
    for values in (weight, bias):
        if values is not None and (
            type(values) not in (Tensor, nn.Parameter)
            or not values.is_floating_point()
            or values.is_meta
        ):
            raise PartError("quantised or offloaded, so its weights are not at hand")
    assert weight is not None
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _qualified_name(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
