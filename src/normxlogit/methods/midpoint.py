"""One gradient, half way from the masked text to the text."""

from contextlib import suppress
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.gradients import choose_reduction
from normxlogit.methods.lrp_passes import INSTEAD_OF_LRP, GraphEntry, LRPReruns, find_step
from normxlogit.methods.registry import register
from normxlogit.methods.scores import MethodScores
from normxlogit.methods.secants import (
    SecantFunctions,
    hold_secant,
    is_activation,
    may_be_activation,
)
from normxlogit.model.clone import ModelClone
from normxlogit.model.reruns import differentiable


@register(
    "midpoint",
    family="gradient",
    cost="3 forwards, 1 backward a target",
    serves="texts, blocks with transformers' attention functions",
    source="Ali et al. 2022, half way from the mask: docs/single-pass.md",
    of_output=True,
)
def midpoint(
    context: MethodContext, baseline: Any = None, reduce: str | None = None
) -> MethodScores:
    """Sum over the width of (x_i - b_i) * df(m)/dm_i, at m = (x + b) / 2.

    x are the states that enter the first block, and b those of the text with every token masked.
    This is integrated gradients (Sundararajan et al. 2017) with one step, which would be far off
    but for the rules of Ali et al. 2022, XAI for Transformers: Better Explanations through
    Conservative Propagation (ICML): the weights of attention and the divisors of norms are
    constants to the gradient. docs/single-pass.md says how the two were put together, and how
    faithful scores are.

    Cost: two further forwards and, for each target, a backward pass. Scores have a sign; for a
    regression whose value may move either way, take `reduce="l1"`.

    Args:
        context: the forward pass and what to explain of it.
        baseline: what masks tokens: "mask", the tokenizer's mask token; "pad", or another token's
            id. By default the mask token if the tokenizer has one, else the padding token.
        reduce: "sum", the default, keeps the sign; "l1" sums absolute values, for a regression, to
            ask what moves its value in either direction.

    Raises:
        OptionError: no such token, or no such `reduce`.
        UnsupportedHeadError: the model has no such blocks, attention or norms.
    """
    reduction = choose_reduction(reduce, None)
    token = _token(baseline, context)
    reruns = context.reruns_by(
        partial(MidpointReruns, blocks=context.blocks, depth=context.depth, token=token)
    )
    # Gradients by the share of the way hold (x - b) already.
    relevance = reruns.gradients(lambda gradients, _shares: reduction(gradients))
    return MethodScores(context.of_rows(relevance)[:, :, None], unsigned=reduction.unsigned)


def _token(baseline: Any, context: MethodContext) -> int:
    """Return the id of the token that masks others."""
    if baseline is None:
        mask = context.lookup.mask
        baseline = "pad" if mask is None else mask
    if isinstance(baseline, str) and baseline in ("mask", "pad"):
        baseline = context.lookup.token(baseline)
    token = as_integer(baseline)
    if token is None:
        raise OptionError(f"baseline must be 'mask', 'pad' or a token's id; got {baseline!r:.80}.")
    context.reruns.check_token(token)
    return token


class MidpointReruns(LRPReruns):
    """Reruns whose gradients are taken half way from the masked text to the text.

    They are those of the share of the way, [rows, sequence, width]. Activations are their secants.
    """

    place = "the input of its first block"

    def __init__(self, *reruns_args: Any, token: int, depth: int, **lrp_args: Any) -> None:
        """Prepare to run a model.

        Args:
            *reruns_args: the arguments of `Reruns`.
            token: the id of what masks tokens.
            depth, **lrp_args: the arguments of `LRPReruns`; all blocks are differentiated.
        """
        super().__init__(*reruns_args, depth=depth, last=depth, **lrp_args)
        self._token = token

    @cached_property
    def _clone(self) -> ModelClone:
        clone = super()._clone
        for module in clone.of.values():
            if may_be_activation(module):
                module.register_forward_hook(hold_secant)
        return clone

    def _values_and_leaves(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Values half way cannot be held against the prediction, so those of the text are.
        _ = self.original
        midpoint = _Midpoint(self._masked_states(rows))
        with SecantFunctions():
            values, shares = self._values_and_leaf(rows, midpoint)
        if (step := find_step(values, is_activation)) is not None:
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} computes an activation in a way that is not known "
                f"({step}), so its secant cannot be taken. method='late_lrp' needs none."
            )
        return values, [shares]

    def _masked_states(self, rows: Tensor) -> Tensor:
        """The first block's input of masked texts, [rows, sequence, width]."""
        entry = _FirstStates()
        ids = self.ids[rows].masked_fill(self.mask[rows], self._token)
        with differentiable(False), self._entering(entry), suppress(_Reached):
            self._run(rows, ids)
        if entry.leaf is None:
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} does not hand states to its first block in the "
                f"usual way. {INSTEAD_OF_LRP}"
            )
        return entry.leaf


class _Reached(BaseException):
    """Ends a pass at its first block; no error, and not to be handled as one on the way."""


class _FirstStates(GraphEntry):
    """An entry that ends the pass at the first block, with its input as the leaf."""

    def __init__(self) -> None:
        super().__init__(0)

    def enter(self, states: Tensor) -> Tensor:
        """Note the states."""
        self.leaf = states.detach()
        raise _Reached


class _Midpoint(GraphEntry):
    """An entry half way from other states to the first block's input.

    Its leaf are shares of that way, so their gradient is the way times that of the states.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__(0)
        self._start = start

    def enter(self, states: Tensor) -> Tensor:
        """Return the states half way."""
        self.leaf = torch.full_like(states, 0.5, requires_grad=True)
        return self._start + self.leaf * (states.detach() - self._start)
