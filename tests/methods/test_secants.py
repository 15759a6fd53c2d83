"""Secants of activations, against quotients of their outputs and inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from normxlogit.methods.lrp_passes import find_step
from normxlogit.methods.secants import (
    SecantFunctions,
    hold_secant,
    is_activation,
    may_be_activation,
)


def held(module: nn.Module, states: Tensor) -> Tensor | None:
    return hold_secant(module, (states,), module(states))


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_activations_of_transformers(name: str) -> None:
    activation: Any = ACT2FN[name]
    assert may_be_activation(activation)
    states = torch.linspace(-4, 4, 40).reshape(2, 4, 5).requires_grad_()
    expected, output = activation(states).detach(), held(activation, states)
    if abs(activation(torch.zeros(1)).item()) > 1e-6:
        assert output is None
    elif name != "linear":  # the identity is its own secant
        assert output is not None
        torch.testing.assert_close(output, expected)
        (gradient,) = torch.autograd.grad(output.sum(), states)
        torch.testing.assert_close(gradient, expected / states.detach())


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Tanh(), nn.SiLU()])
def test_at_zero_the_secant_is_the_slope(activation: nn.Module) -> None:
    states = torch.zeros(2, 3, requires_grad=True)
    output = held(activation, states)
    assert output is not None
    (gradient,) = torch.autograd.grad(output.sum(), states)
    (slope,) = torch.autograd.grad(activation(states).sum(), states)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize(
    "module",
    [
        nn.Softmax(-1),
        nn.Softmax(-2),
        nn.LayerNorm(6),
        nn.RMSNorm(6),
        nn.Sigmoid(),
        nn.SiLU(inplace=True),
        nn.Identity(),
    ],
)
def test_other_modules_are_left(module: nn.Module) -> None:
    states = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    assert held(module, (states.requires_grad_() * 1)) is None


def test_what_has_matrices_is_not_tried() -> None:
    assert not may_be_activation(nn.Linear(2, 2))
    assert not may_be_activation(nn.Sequential(nn.GELU()))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "mish": functional.mish,
    "elu": lambda x: functional.elu(x, 0.5),
    "selu": functional.selu,
    "celu": functional.celu,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardtanh": functional.hardtanh,
    "softsign": functional.softsign,
    "torch.tanh": torch.tanh,
    "functional.tanh": functional.tanh,
    "Tensor.tanh": lambda x: x.tanh(),
    "nn.Tanh": nn.Tanh(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch(name: str) -> None:
    states = torch.linspace(-7, 7, 30).requires_grad_()
    expected = FUNCTIONS[name](states).detach()
    with SecantFunctions():
        output = FUNCTIONS[name](states)
    torch.testing.assert_close(output, expected)
    (gradient,) = torch.autograd.grad(output.sum(), states)
    torch.testing.assert_close(gradient, expected / states.detach())
    outside = FUNCTIONS[name](states)
    (slope,) = torch.autograd.grad(outside.sum(), states)
    assert not torch.allclose(gradient, slope)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu", "hardswish", "tanh"])
def test_what_is_not_held_shows_in_the_graph(name: str) -> None:
    function = FUNCTIONS.get(name, torch.tanh)
    output = function(torch.ones(2, requires_grad=True))
    assert find_step(output * 2, is_activation) is not None
    with SecantFunctions():
        output = function(torch.ones(2, requires_grad=True))
    assert find_step(output * 2, is_activation) is None
