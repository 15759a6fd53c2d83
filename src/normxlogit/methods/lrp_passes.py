"""Reruns whose gradients follow layer-wise relevance propagation through a model's last blocks.

In these blocks the weights of attention and the divisors of norms are constants to autograd (Ali et
al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation, ICML, their
rules for attention heads and LayerNorm), so that gradients times states conserve what they explain.
All else is differentiated as it is.
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

# Why constants: attention and norms are then linear in the states, and gradient * state keeps its
# sum through them, but for biases. A norm's true gradient is orthogonal to its input, which may be
# scaled without effect, so relevance through it sums to zero; a softmax breaks the sum as well.

INSTEAD_OF_LRP = (
    "method='gradient_x_input' takes nothing for constant, and 'normxlogit' no gradients."
)


class LRPReruns(Reruns):
    """Reruns whose gradients are taken at the input of a late block, [rows, sequence, width],
    instead of at the word embeddings.
    """

    place = "the input of its last blocks"

    def __init__(self, *reruns_args: Any, blocks: nn.Module | None, depth: int, last: int) -> None:
        """Prepare to run a model.

        Args:
            *reruns_args: the arguments of `Reruns`.
            blocks: the model's list of its blocks.
            depth: how many block calls a pass makes.
            last: how many of these calls, counted from the end, are differentiated.
        """
        super().__init__(*reruns_args)
        self._blocks, self._depth, self._last = blocks, depth, last

    @cached_property
    def _clone(self) -> ModelClone:
        clone = self.clone()
        clone.attend(_ATTENTION_NAME)
        for module in clone.of.values():
            if not module._modules and _may_be_norm(module):
                module.register_forward_hook(_hold_norm_divisor, with_kwargs=True)
        return clone

    def check(self, values: Tensor, rows: Tensor) -> None:
        """Check values as `Reruns.check` does, but only to the precision of the model's dtype."""
        # The prediction's attention (SDPA, flash) rounds differently from the eager one here, which
        # in 16 bits is more than `Reruns.check` allows.
        dtype = self._model.dtype
        if dtype not in (torch.bfloat16, torch.float16):
            super().check(values, rows)
            return
        if self._expected is None:
            return
        expected = self._expected[rows].to(values.device)
        if not self.agree(values, expected, rows, dtype):
            now, before = (side.flatten()[:3].tolist() for side in (values, expected))
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} gave {now} with eager attention where it gave "
                f"{before} before, in {dtype}. Load it with dtype=float32. {INSTEAD_OF_LRP}"
            )

    def _values_and_leaves(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        name = type(self._model).__name__
        if self._blocks is None or self._model.config.is_encoder_decoder:
            raise UnsupportedHeadError(f"{name} has no single list of blocks. {INSTEAD_OF_LRP}")
        entry = _GraphEntry(self._depth - self._last)
        handles = [
            self._clone.of[block].register_forward_pre_hook(entry, with_kwargs=True)
            for block in self._blocks.children()
        ]
        token = _ACTIVE_ENTRY.set(entry)
        try:
            values = self._run(rows)
        finally:
            _ACTIVE_ENTRY.reset(token)
            for handle in handles:
                handle.remove()
        leaf = entry.leaf
        if leaf is None or entry.calls != self._depth or leaf.shape[:-1] != self.ids[rows].shape:
            raise UnsupportedHeadError(
                f"{name} ran {entry.calls} of {self._depth} blocks in the usual way, or their "
                f"states are not one per token. {INSTEAD_OF_LRP}"
            )
        if entry.attended != set(range(self._depth - self._last, self._depth)):
            raise UnsupportedHeadError(
                f"not every one of the last {self._last} blocks of {name} calls transformers' "
                "attention functions, so the weights of its attention cannot be held constant. "
                f"{INSTEAD_OF_LRP}"
            )
        # Hooks see modules only. A norm or attention that a forward computes itself shows as a node
        # of autograd's graph between the leaf and the values; one held constant leaves none.
        if (step := _find_unheld_step(values)) is not None:
            raise UnsupportedHeadError(
                f"something in the last {self._last} blocks of {name}, or after them, normalises "
                f"or attends in a way that is not known ({step}), so its divisor cannot be held "
                f"constant. {INSTEAD_OF_LRP}"
            )
        self.check(values.detach(), rows)
        return values, [leaf]


class _GraphEntry:
    """A hook before blocks that makes the input of one of them a leaf of autograd's graph.

    Blocks are counted by call, for models that share weights run one module several times.

    Attributes:
        leaf: that input, once the block was called; None before.
        calls: how many block calls there were.
        block: the block that is running.
        attended: which calls, from 0, have attended since the leaf was made.
    """

    def __init__(self, call: int) -> None:
        """Take the block call, 0 for the first, whose input becomes the leaf."""
        self.leaf: Tensor | None = None
        self.calls = 0
        self.block: nn.Module | None = None
        self.attended = set[int]()
        self._call = call

    def __call__(self, block: nn.Module, args: Any, kwargs: Any) -> Any:
        self.calls, self.block = self.calls + 1, block
        if self.calls != self._call + 1:
            return None
        if args and isinstance(args[0], Tensor):
            return (self._as_leaf(args[0]), *args[1:]), kwargs
        if isinstance(kwargs.get("hidden_states"), Tensor):
            return args, {**kwargs, "hidden_states": self._as_leaf(kwargs["hidden_states"])}
        return None

    def attend(self, module: nn.Module, value: Tensor) -> None:
        """Note that a module attends to these values.

        Raises:
            UnsupportedHeadError: the module is not in the running block, or its values do not
                depend on the leaf.
        """
        if self.leaf is None or self.block is None:
            return
        # Values from before the leaf reach the output by a path that gradients at it would miss.
        if module not in set(self.block.modules()) or not value.requires_grad:
            raise UnsupportedHeadError(
                f"{type(module).__name__} attends outside of the last blocks, or to values that "
                f"were computed before them. {INSTEAD_OF_LRP}"
            )
        self.attended.add(self.calls - 1)

    def _as_leaf(self, states: Tensor) -> Tensor:
        self.leaf = states.detach().clone().requires_grad_()
        return self.leaf


# transformers finds attention functions by name for the whole process; the context, which each
# thread has of its own, tells the function which pass calls it.
_ACTIVE_ENTRY: ContextVar[_GraphEntry | None] = ContextVar("_ACTIVE_ENTRY", default=None)


def _attend_with_constant_weights(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Call a model's own eager attention with weights that are constant to autograd."""
    # Each modelling file has its own eager attention, with the model's soft caps, sinks and scales.
    forward = inspect.unwrap(type(module).forward)
    eager: Callable[..., Any] | None = forward.__globals__.get("eager_attention_forward")
    if eager is None:
        raise UnsupportedHeadError(
            f"{type(module).__name__} has no eager attention whose weights could be held "
            f"constant. {INSTEAD_OF_LRP}"
        )
    entry = _ACTIVE_ENTRY.get()
    if entry is not None:
        entry.attend(module, value)
    options = {name: _detached(option) for name, option in kwargs.items()}
    return eager(
        module, query.detach(), key.detach(), value, *(_detached(arg) for arg in args), **options
    )


def _detached(argument: Any) -> Any:
    return argument.detach() if isinstance(argument, Tensor) else argument


_ATTENTION_NAME = "normxlogit_conservative"
AttentionInterface.register(_ATTENTION_NAME, _attend_with_constant_weights)
AttentionMaskInterface.register(_ATTENTION_NAME, eager_mask)


def _hold_norm_divisor(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
    """Return a norm's output with divisors that are constant to autograd; None if it is no norm.

    A norm is (x - mean) * gain / divisor + bias, with or without the mean, and one divisor a token.
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
    # A class's name tells neither whether it subtracts the mean (LayerNorm) or not (RMSNorm), nor
    # whether its gain is the weight or 1 + weight (Gemma). So all variants are tried, and the one
    # that gives the module's output is taken; the divisor, with its eps, is read off that output.
    means: list[Tensor | float] = [wide.mean(-1, keepdim=True), 0.0]
    gains: list[Tensor | float] = [1.0] if weight is None else [weight, 1 + weight]
    target = output.detach()

    def rebuild(mean: Tensor | float, gain: Tensor | float) -> Tensor:
        scaled = (wide - mean) * gain
        direction = scaled.detach()
        # Least squares for one number a token, [..., tokens, 1]: 1 / divisor if the variant fits.
        squares = direction.square().sum(-1, keepdim=True).clamp_min(1e-30)
        factor = (direction * (target - shift)).sum(-1, keepdim=True) / squares
        rebuilt: Tensor = scaled * factor + shift
        return rebuilt.to(output.dtype)

    variants = [rebuild(mean, gain) for mean, gain in product(means, gains)]
    best = min(variants, key=lambda rebuilt: _worst_gap(rebuilt.detach(), target))
    # Many norms compute in float32 even in a float64 model.
    narrow = torch.float32 if target.dtype == torch.float64 else target.dtype
    return best if agree(best.detach().to(narrow), target.to(narrow)) else None


def _worst_gap(rebuilt: Tensor, target: Tensor) -> float:
    return float(gap(rebuilt.float(), target.float()).amax())


def _may_be_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    is_gain = weight is not None and weight.dim() == 1
    return is_gain or "norm" in type(module).__name__.lower()


_UNHELD = re.compile(r"(?i:sqrt|(layer|group|rms|vector)norm|scaleddotproduct)|^(Norm|Std|Var)")
"""Matches names of autograd's nodes for roots, norms, and attention computed in one operation."""


def _find_unheld_step(values: Tensor) -> str | None:
    """Return the name of a step to these values whose divisor depends on the states, or None."""
    visited, pending = set[Any](), [values.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        name = str(node.name())
        # x ** -0.5 is a root as well; x ** 3 is a part of activations.
        if _UNHELD.search(name) or (name.startswith("Pow") and not _is_whole_power(node)):
            return name
        pending.extend(before for before, _ in node.next_functions)
    return None


def _is_whole_power(node: Any) -> bool:
    """Return whether the exponent of a power is 1, 2, ..."""
    exponent = getattr(node, "_saved_exponent", None)
    return isinstance(exponent, (int, float)) and exponent >= 1 and float(exponent).is_integer()
