"""Reruns through a model's last blocks whose gradients times states keep what they explain.

In these blocks the weights of attention and what norms divide by are constants to autograd (Ali et
al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation, ICML, their
rules for attention heads and LayerNorm). All else is differentiated as it is.
"""

import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import agree, first_tensor, gap
from normxlogit.model.reruns import Reruns

WAY_OUT = "method='gradient_x_input' takes nothing for constant, and 'normxlogit' no gradients."


class LRPReruns(Reruns):
    """Reruns that are differentiated at the input of one of the last blocks, [rows, sequence,
    width], in place of the word embeddings.
    """

    place = "the input of its last blocks"

    def __init__(self, *of_passes: Any, blocks: nn.Module | None, depth: int, last: int) -> None:
        """Prepare to run a model.

        Args:
            *of_passes: what `Reruns` takes.
            blocks: the model's list of its blocks.
            depth: how often blocks are run in a pass.
            last: how many of these, from the end, are differentiated.
        """
        super().__init__(*of_passes)
        self._blocks, self._depth, self._last = blocks, depth, last

    @cached_property
    def _clone(self) -> ModelClone:
        clone = self.clone()
        clone.attend(_NAME)
        for module in clone.of.values():
            if not module._modules and _may_be_norm(module):
                module.register_forward_hook(_divided_by_a_constant, with_kwargs=True)
        return clone

    def check(self, found: Tensor, rows: Tensor) -> None:
        """As `Reruns.check`, to the precision of the model: attention is computed in another way
        than before.
        """
        dtype = self._model.dtype
        if dtype not in (torch.bfloat16, torch.float16):
            super().check(found, rows)
            return
        both = self._beside_expected(found, rows)
        if both is not None and not agree(*(values.to(dtype) for values in both)):
            now, before = (values[:3].tolist() for values in both)
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} gave {now} with eager attention where it gave "
                f"{before} before, in {dtype}. Load it with dtype=float32. {WAY_OUT}"
            )

    def _noted(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        name = type(self._model).__name__
        if self._blocks is None or self._model.config.is_encoder_decoder:
            raise UnsupportedHeadError(f"{name} has no one list of blocks. {WAY_OUT}")
        entry = _Entry(self._depth - self._last)
        handles = [
            self._clone.of[block].register_forward_pre_hook(entry, with_kwargs=True)
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
        if (node := _unheld(values)) is not None:
            raise UnsupportedHeadError(
                f"something in the last {self._last} blocks of {name}, or after them, normalises "
                f"or attends in a way that is not known ({node}), so what it divides by cannot be "
                f"held constant. {WAY_OUT}"
            )
        self.check(values.detach(), rows)
        return values, [leaf]


class _Entry:
    """A hook before blocks that makes what one of them is given a leaf of autograd's graph.

    Attributes:
        leaf: what was given to it, once it was.
        calls: how many blocks were run.
        block: the one that is running.
        attended: which of them, by when they are run, have called attention since then.
    """

    def __init__(self, number: int) -> None:
        """Take which block it is, 0 for the first that is run."""
        self.leaf: Tensor | None = None
        self.calls = 0
        self.block: nn.Module | None = None
        self.attended = set[int]()
        self._number = number

    def __call__(self, block: nn.Module, args: Any, kwargs: Any) -> Any:
        self.calls, self.block = self.calls + 1, block
        if self.calls != self._number + 1:
            return None
        if args and isinstance(args[0], Tensor):
            return (self._made(args[0]), *args[1:]), kwargs
        if isinstance(kwargs.get("hidden_states"), Tensor):
            return args, {**kwargs, "hidden_states": self._made(kwargs["hidden_states"])}
        return None

    def attend(self, module: nn.Module, value: Tensor) -> None:
        """Take that a module attends to these values.

        Raises:
            UnsupportedHeadError: it is no part of the block, or its values come from further down.
        """
        if self.leaf is None or self.block is None:
            return
        if module not in set(self.block.modules()) or not value.requires_grad:
            raise UnsupportedHeadError(
                f"{type(module).__name__} attends outside of the last blocks, or to values that "
                f"were made before them. {WAY_OUT}"
            )
        self.attended.add(self.calls - 1)

    def _made(self, states: Tensor) -> Tensor:
        self.leaf = states.detach().clone().requires_grad_()
        return self.leaf


_ENTRY: ContextVar[_Entry | None] = ContextVar("_ENTRY", default=None)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """A model's own eager attention, its weights constant to autograd."""
    forward = inspect.unwrap(type(module).forward)
    eager: Callable[..., Any] | None = forward.__globals__.get("eager_attention_forward")
    if eager is None:
        raise UnsupportedHeadError(
            f"{type(module).__name__} has no eager attention, whose weights could be held "
            f"constant. {WAY_OUT}"
        )
    entry = _ENTRY.get()
    if entry is not None:
        entry.attend(module, value)
    others = {name: _constant(given) for name, given in kwargs.items()}
    return eager(
        module, query.detach(), key.detach(), value, *(_constant(one) for one in args), **others
    )


def _constant(given: Any) -> Any:
    return given.detach() if isinstance(given, Tensor) else given


_NAME = "normxlogit_conservative"
AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


def _divided_by_a_constant(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
    """What a norm gives, (x - mean) * gain / divisor + bias or the same without the mean, with a
    divisor for each token that is constant to autograd; None of what is no such norm.
    """
    states = first_tensor((*args, *kwargs.values()))
    if (
        states is None
        or not states.requires_grad
        or not isinstance(output, Tensor)
        or output.shape != states.shape
    ):
        return None
    weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    shift: Tensor | float = 0.0 if bias is None else bias
    gains: list[Tensor | float] = [1.0] if weight is None else [weight, 1 + weight]
    aim = output.detach()

    def found(mean: Tensor | float, gain: Tensor | float) -> Tensor:
        scaled = (wide - mean) * gain
        fixed = scaled.detach()
        squares = fixed.square().sum(-1, keepdim=True).clamp_min(1e-30)
        factor = (fixed * (aim - shift)).sum(-1, keepdim=True) / squares
        made: Tensor = scaled * factor + shift
        return made.to(output.dtype)

    means: list[Tensor | float] = [wide.mean(-1, keepdim=True), 0.0]
    every = [found(mean, gain) for mean, gain in product(means, gains)]
    best = min(every, key=lambda one: float(gap(one.detach().float(), aim.float()).amax()))
    narrow = torch.float32 if aim.dtype == torch.float64 else aim.dtype  # as many norms compute
    return best if agree(best.detach().to(narrow), aim.to(narrow)) else None


def _may_be_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    is_gain = weight is not None and weight.dim() == 1
    return is_gain or "norm" in type(module).__name__.lower()


_UNHELD = re.compile(r"(?i:sqrt|(layer|group|rms|vector)norm|scaleddotproduct)|^(Norm|Std|Var)")
"""In the names of autograd's nodes: roots, norms, and attention that is computed by itself."""


def _unheld(values: Tensor) -> str | None:
    """The name of a step to these values that divides by what depends on the states."""
    seen, left = set[Any](), [values.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = str(node.name())
        if _UNHELD.search(name) or (name.startswith("Pow") and not _is_power(node)):
            return name
        left.extend(before for before, _ in node.next_functions)
    return None


def _is_power(node: Any) -> bool:
    """Whether the exponent is 1, 2, ..."""
    exponent = getattr(node, "_saved_exponent", None)
    return isinstance(exponent, (int, float)) and exponent >= 1 and float(exponent).is_integer()
