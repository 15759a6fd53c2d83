"""Passes through a model's last blocks whose gradients times states keep what they explain.

In these blocks the weights of attention and what norms divide by are constants to autograd, so
that all of a prediction that reaches a block's values and residual stream is handed on to them
(Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation, ICML,
their rules for attention heads and LayerNorm).
"""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from .errors import UnsupportedHeadError
from .numerics import agree
from .passes import Passes
from .shadow import Shadow
from .watch import first_tensor

WAY_OUT = "method='gradient_x_input' takes nothing for constant, and 'normxlogit' no gradients."


class ConservativePasses(Passes):
    """Passes that are differentiated at the input of one of the last blocks, [rows, sequence,
    width], in place of the word embeddings.
    """

    place = "the input of its last blocks"

    def __init__(self, *of_passes: Any, blocks: nn.Module | None, depth: int, last: int) -> None:
        """Prepare to run a model.

        Args:
            *of_passes: what `Passes` takes.
            blocks: the model's list of its blocks.
            depth: how often blocks are run in a pass.
            last: how many of these, from the end, are differentiated.
        """
        super().__init__(*of_passes)
        self._blocks, self._depth, self._last = blocks, depth, last

    @cached_property
    def _shadow(self) -> Shadow:
        shadow = self.shadow()
        shadow.attend(_NAME)
        for module in shadow.of.values():
            if _is_norm(module):
                module.register_forward_hook(_divided_by_a_constant, with_kwargs=True)
        return shadow

    def _noted(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        name = type(self._model).__name__
        if self._blocks is None or self._model.config.is_encoder_decoder:
            raise UnsupportedHeadError(f"{name} has no one list of blocks. {WAY_OUT}")
        entry = _Entry(self._depth - self._last)
        handles = [
            self._shadow.of[block].register_forward_pre_hook(entry, with_kwargs=True)
            for block in self._blocks.children()
        ]
        token = _ENTRY.set(entry)
        try:
            values = self._run(rows)
        finally:
            _ENTRY.reset(token)
            for handle in handles:
                handle.remove()
        leaf = entry.leaf
        if leaf is None or entry.calls != self._depth or leaf.shape[:-1] != self.ids[rows].shape:
            raise UnsupportedHeadError(
                f"{name} ran {entry.calls} of {self._depth} blocks in the usual way, or their "
                f"states stand not one to a token. {WAY_OUT}"
            )
        if entry.attended != set(range(self._depth - self._last, self._depth)):
            raise UnsupportedHeadError(
                f"not each of the last {self._last} blocks of {name} calls transformers' attention "
                f"functions, so the weights of its attention cannot be held constant. {WAY_OUT}"
            )
        self.check(values.detach(), rows)
        return values, [leaf]


class _Entry:
    """A hook before blocks that makes what one of them is given a leaf of autograd's graph.

    Attributes:
        leaf: what was given to it, once it was.
        calls: how many blocks were run.
        attended: which of them, by when they are run, have called attention since then.
    """

    def __init__(self, number: int) -> None:
        """Take which block it is, 0 for the first that is run."""
        self.leaf: Tensor | None = None
        self.calls = 0
        self.attended = set[int]()
        self._number = number

    def __call__(self, _block: nn.Module, args: Any, kwargs: Any) -> Any:
        self.calls += 1
        if self.calls != self._number + 1:
            return None
        if args and isinstance(args[0], Tensor):
            return (self._made(args[0]), *args[1:]), kwargs
        if isinstance(kwargs.get("hidden_states"), Tensor):
            return args, {**kwargs, "hidden_states": self._made(kwargs["hidden_states"])}
        return None

    def _made(self, states: Tensor) -> Tensor:
        self.leaf = states.detach().clone().requires_grad_()
        return self.leaf


_ENTRY: ContextVar[_Entry | None] = ContextVar("_ENTRY", default=None)


def _attend(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A model's own eager attention, its weights constant to autograd."""
    forward = inspect.unwrap(type(module).forward)
    eager: Callable[..., Any] | None = forward.__globals__.get("eager_attention_forward")
    if eager is None:
        raise UnsupportedHeadError(
            f"{type(module).__name__} has no eager attention, whose weights could be held "
            f"constant. {WAY_OUT}"
        )
    entry = _ENTRY.get()
    if entry is not None and entry.leaf is not None:
        entry.attended.add(entry.calls - 1)
    return eager(module, query.detach(), key.detach(), *args, **kwargs)


_NAME = "normxlogit_conservative"
AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


def _is_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    is_gain = weight is not None and weight.dim() == 1
    return not module._modules and (is_gain or "norm" in type(module).__name__.lower())


def _divided_by_a_constant(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
    """What a norm gives, (x - mean) * gain / divisor + bias or the same without the mean, with a
    divisor for each token that is constant to autograd.

    Raises:
        UnsupportedHeadError: it gives something else.
    """
    states = first_tensor((*args, *kwargs.values()))
    if states is None or not states.requires_grad:
        return None
    weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    gains = [1.0] if weight is None else [weight, 1 + weight]
    if isinstance(output, Tensor) and output.shape == states.shape:
        for mean, gain in product((wide.mean(-1, keepdim=True), 0), gains):
            scaled, aim = (wide - mean) * gain, output.detach() - (0 if bias is None else bias)
            squares = scaled.detach().square().sum(-1, keepdim=True)
            factor = (scaled.detach() * aim).sum(-1, keepdim=True) / squares.clamp_min(1e-30)
            found: Tensor = (scaled * factor + (0 if bias is None else bias)).to(output.dtype)
            if agree(found.detach(), output.detach()):
                return found
    raise UnsupportedHeadError(
        f"{type(module).__name__} does not divide each token's state by one number, so what it "
        f"divides by cannot be held constant. {WAY_OUT}"
    )
