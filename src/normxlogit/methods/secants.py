"""Activations as their secants: y = x * (y / x), where autograd takes the quotient for constant.

An activation is then linear in its input, as attention and norms are once their weights and
divisors are constant. It is any elementwise function that is zero at zero; others have no secant
that goes through zero.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from normxlogit.model.numerics import agree

_FUNCTIONS = frozenset(
    {
        functional.gelu,
        functional.silu,
        functional.mish,
        functional.elu,
        functional.selu,
        functional.celu,
        functional.relu6,
        functional.hardswish,
        functional.hardtanh,
        functional.softsign,
        torch.tanh,
        Tensor.tanh,
    }
)
"""The activations of torch that a forward may call itself, as heads do. ReLU and those like it are
not among them: their slopes are their secants."""

_ACTIVATION = re.compile(
    r"(Gelu|Silu|Mish|C?[Ee]lu|Hard\w+|Tanh|Erf|Sigmoid|Softplus)Backward|.*CopySlices"
)
"""Matches names of autograd's nodes for activations, for what they are made of, and for functions
that overwrite a view of their input, whose names do not show."""


class SecantFunctions(TorchFunctionMode):
    """Inside, torch's own activation functions are secants; those in modules need `hold_secant`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch."""
        options = kwargs or {}
        output = func(*args, **options)
        if func not in _FUNCTIONS or not args or output is args[0] or not args[0].requires_grad:
            return output
        return _secant(lambda states: func(states, *args[1:], **options), args[0])


def may_be_activation(module: nn.Module) -> bool:
    """Whether a module is worth the test of `hold_secant`: it has no children and no matrices."""
    weights = module._parameters.values()
    return not module._modules and all(w is None or w.dim() < 2 for w in weights)


def hold_secant(module: nn.Module, args: Any, output: Any) -> Tensor | None:
    """Return an activation's output as its secant to autograd; None if it is none, as a hook does.

    Activations are found by what they do: many compute theirs by formulas of several steps.
    """
    states = args[0] if len(args) == 1 else None
    if (
        not isinstance(states, Tensor)
        or not isinstance(output, Tensor)
        or output is states  # in place, or the identity
        or output.shape != states.shape
        or not states.requires_grad
        or not output.is_floating_point()
    ):
        return None
    # Elementwise: where some inputs become zero, those outputs do, and no others change.
    draws = torch.rand(states.shape, generator=torch.Generator().manual_seed(0))
    kept = (draws < 0.5).to(states.device)
    with torch.no_grad():
        changed = module.forward(states * kept)
    if not agree(changed, output.detach() * kept):
        return None
    return _secant(module.forward, states)


def is_activation(node: Any) -> bool:
    """Return whether a node of autograd's graph is an activation, so one that was not held."""
    return _ACTIVATION.match(node.name()) is not None


def _secant(function: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    with torch.no_grad():
        # At zero itself the secant is the slope: that to a point close by.
        points = states.masked_fill(states == 0, torch.finfo(states.dtype).eps)
        quotient = function(points) / points
    return states * quotient
