"""Variants at about the price of one forward pass, registered as methods."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

import normxlogit as nxl
from normxlogit.methods import METHODS, register
from normxlogit.methods.context import MethodContext
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import first_tensor
from normxlogit.model.reruns import Reruns, differentiable

FAMILY, SOURCE = "single pass", "experiments.single_pass"
VALUES = ("value", "v_proj")
"""Names of the projection to values in models."""
HEAD_WIDTH = ("attention_head_size", "head_dim")
"""Names of the width of a head in models."""


@dataclass(frozen=True)
class Row:
    """A row without its padding, on a clone of the model.

    Attributes:
        number: which row.
        inputs: the model's inputs.
        special: which of its tokens are special, bool [tokens].
        mask: the id of the mask token, or of the padding token if there is no such token.
    """

    reruns: Reruns
    clone: ModelClone
    blocks: Sequence[nn.Module]
    number: int
    inputs: Mapping[str, Any]
    special: Tensor
    mask: int

    def site(self, block: int, at: str) -> nn.Module:
        """Return a block, counted from the last, which is 1, or 0 for the first; or its
        projection to values; or the word embeddings.
        """
        if at == "word":
            words: nn.Module = self.clone.root.get_input_embeddings()
            return words
        twin = self.clone.of[self.blocks[-block]]
        if at == "state":
            return twin
        inner: dict[str, nn.Module] = dict(twin.named_modules())
        return inner[next(name for name in inner if name.rpartition(".")[2] in VALUES)]

    def run(
        self, block: int, at: str, states: Tensor | None = None, *, masked: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Run the row with other states at a site, or with its own.

        Args:
            block, at: the site.
            states: other states.
            masked: "mask" to put the mask token in place of every token but special ones, "all" of
                every token.

        Returns:
            The values to explain, [variants, targets]; and the states there, [variants, tokens,
            width], leaves of autograd's graph.
        """
        count, leaves = 1 if states is None else len(states), list[Tensor]()

        def leaf(state: Tensor) -> Tensor:
            leaves.append((state if states is None else states).detach().clone().requires_grad_())
            return leaves[0]

        def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            if args:
                return (leaf(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": leaf(kwargs["hidden_states"])}

        site = self.site(block, at)
        handle = (
            site.register_forward_pre_hook(before, with_kwargs=True)
            if at == "state"
            else site.register_forward_hook(lambda _module, _args, output: leaf(output))
        )
        inputs = {
            key: value.expand(count, *value.shape[1:]).clone()
            if isinstance(value, Tensor)
            else value
            for key, value in self.inputs.items()
        }
        if masked:
            hidden = torch.ones_like(self.special) if masked == "all" else ~self.special
            inputs["input_ids"][:, hidden] = self.mask
        try:
            logits = self.clone.root(**inputs, return_dict=True).logits
        finally:
            handle.remove()
        return self.reruns.objective(logits, torch.full((count,), self.number)), leaves[0]

    def gradients(self, values: Tensor, state: Tensor) -> Tensor:
        """[targets, variants, tokens, width]."""
        return torch.stack(
            [torch.autograd.grad(value.sum(), state, retain_graph=True)[0] for value in values.T]
        )


def _frozen(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call a model's own eager attention with weights that are constant to autograd."""
    eager = inspect.unwrap(type(module).forward).__globals__["eager_attention_forward"]
    return eager(module, query.detach(), key.detach(), *args, **kwargs)


_NAME = "single_pass_frozen"
AttentionInterface.register(_NAME, _frozen)
AttentionMaskInterface.register(_NAME, eager_mask)


def freeze(clone: ModelClone, what: str) -> None:
    """Make attention constant to autograd.

    For "both" the divisors of norms as well; for "all" also what activations multiply by.
    """
    clone.attend(_NAME)
    for module in clone.of.values() if what in ("both", "all") else ():
        if isinstance(module, nn.LayerNorm):
            vars(module)["forward"] = partial(_normed, module)
        elif type(module).__name__.endswith("RMSNorm"):
            vars(module)["forward"] = partial(_scaled, module)
        elif what == "all" and type(module).__module__.endswith((".activation", ".activations")):
            module.register_forward_hook(_secant)


def _normed(layer: nn.LayerNorm, states: Tensor) -> Tensor:
    centred = states - states.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt().detach()
    normed: Tensor = centred / spread * layer.weight + layer.bias
    return normed


def _scaled(norm: Any, states: Tensor) -> Tensor:
    spread = (states.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt().detach()
    normed: Tensor = states / spread * norm.weight
    return normed


def _secant(_module: nn.Module, args: Any, output: Tensor) -> Tensor:
    (states,) = args
    tiny = states.abs() < 1e-12
    # Where the input is zero the secant is the slope there.
    factor = (output / states.masked_fill(tiny, 1)).detach()
    return torch.where(tiny, output, states * factor)


def each(context: MethodContext, score: Callable[[Row], Tensor], frozen: str = "") -> Tensor:
    """Return scores of every row, each [targets, tokens], as those of a batch."""
    reruns, blocks = context.reruns, context.blocks
    assert blocks is not None
    special = context.lookup.units("token") < 0
    mask = context.lookup.token("pad") if context.lookup.mask is None else context.lookup.mask
    with differentiable():
        scores = torch.zeros(len(reruns.mask), reruns.targets, reruns.mask.shape[1])
        clone = reruns.clone()
        if frozen:
            freeze(clone, frozen)
        for number in range(len(scores)):
            inputs, kept = reruns.unpadded(number)
            row = Row(
                reruns,
                clone,
                list(blocks.children()),
                number,
                inputs,
                special[number, kept],
                mask,
            )
            scores[number][:, kept] = score(row).detach()
    return context.of_rows(scores)[:, :, None]


def folded(parts: Tensor, row: Row, fold: str) -> Tensor:
    """Fold parts [targets, tokens, width] into scores [targets, tokens]."""
    if fold == "l1":
        return parts.abs().sum(-1)
    if fold in ("heads", "plus"):
        width = head_width(row.blocks[-1])
        parts = parts.reshape(*parts.shape[:-1], -1, width).sum(-1)
        parts = parts.abs() if fold == "heads" else parts.clamp_min(0)
    scores = parts.sum(-1)
    return scores.abs() if fold == "abs" else scores


def head_width(block: nn.Module) -> int:
    """Return the width of a head of the block's attention."""
    widths = [
        width
        for module in block.modules()
        for name in HEAD_WIDTH
        if isinstance(width := getattr(module, name, None), int)
    ]
    return widths[0]


def standard(scores: Tensor) -> Tensor:
    """Standardise scores of a text's tokens, [..., tokens]; nan stays."""
    centred = scores - scores.nanmean(-1, keepdim=True)
    return centred / centred.square().nanmean(-1, keepdim=True).sqrt().clamp_min(1e-12)


@register("sp_gradient", family=FAMILY, source=SOURCE, reads="head", of_output=True)
def gradient(
    context: MethodContext,
    block: int = 1,
    at: str = "state",
    less: str = "",
    steps: int = 0,
    times: str = "",
    frozen: str = "",
    fold: str = "",
) -> Tensor:
    """(x_i - b_i) * df/dx_i at the input of a block, or at its values; summed over the width.

    Args:
        context: the forward pass and what to explain of it.
        block: which, counted from the last, which is 1; or 0, the first.
        at: "state", "value" for what the attention's projection to values gives, or "word" for the
            word embeddings.
        less: b: "" is 0, "mean" the mean of the text's tokens, "mask" what stands there when all
            of them are masked, "all" when special tokens are, too.
        steps: at how many points between b and x the gradient is taken, the midpoint for 1; 0
            means at x.
        times: "norm", "value" or "sum" to combine it with ||x^0||, |LogAt| or NormXLogit.
        frozen: "attention" takes its weights for constants, "both" also the spreads of norms,
            "all" also the secants of activations, output / input.
        fold: "" is the sum over the width, "abs" its absolute value, "l1" the sum of absolute
            values; "heads" that of the absolute sums of heads, "plus" of their positive sums.
    """

    def score(row: Row) -> Tensor:
        values, state = row.run(block, at)
        start = torch.zeros_like(state)
        if less == "mean":
            start = state[:, ~row.special].mean(1, keepdim=True)
        if less in ("mask", "all"):
            start = row.run(block, at, masked=less)[1]
        moved = (state - start).detach()
        if steps == 0:
            slope = row.gradients(values, state)
        else:
            points, weights = np.polynomial.legendre.leggauss(steps)
            way = torch.tensor((points + 1) / 2, dtype=state.dtype)[:, None, None]
            weight = torch.tensor(weights / 2, dtype=state.dtype)[:, None, None]
            values, line = row.run(block, at, start.detach() + way * moved)
            slope = (row.gradients(values, line) * weight).sum(1, keepdim=True)
        return folded((slope * moved)[:, 0], row, fold)

    scores = each(context, score, frozen)
    if times == "norm":
        return scores * context.norms()
    if times == "value":
        return scores * context.values.abs()
    if times == "sum":
        return standard(scores) + standard(context.norms() * context.values)
    return scores


@register("sp_gradient_of_blocks", family=FAMILY, source=SOURCE, of_output=True)
def gradient_of_blocks(context: MethodContext, last: int = 3, at: str = "state") -> Tensor:
    """The mean of `gradient` at the inputs, or values, of the last blocks."""
    return torch.stack([gradient(context, block, at) for block in range(1, last + 1)]).mean(0)


@register("sp_replaced", family=FAMILY, source=SOURCE, of_output=True)
def replaced(context: MethodContext, block: int = 1, at: str = "value", by: str = "zero") -> Tensor:
    """f(x) - f(x with another vector at token i), in a block's values, or at its input.

    `by` is "zero", "mean" of the text's tokens, or "mask", what stands there when all are masked.
    """

    def score(row: Row) -> Tensor:
        values, state = row.run(block, at)
        state = state.detach()
        other = torch.zeros_like(state)
        if by == "mean":
            other = state[:, ~row.special].mean(1, keepdim=True).expand_as(state)
        if by == "mask":
            other = row.run(block, at, masked="mask")[1]
        tokens = torch.arange(state.shape[1])
        variants = state.repeat(len(tokens), 1, 1)
        variants[tokens, tokens] = other[0]
        return (values - row.run(block, at, variants)[0]).T

    return each(context, score)


@register("sp_taken", family=FAMILY, source=SOURCE, reads="head")
def taken(context: MethodContext, by: str = "attention", norm: str = "") -> Tensor:
    """LogAt, or with a norm NormXLogit, times what the read position takes from the token."""
    options = {"rollout": False} if by == "value_zeroing" else {}
    took = METHODS[by](context, **options).scores
    scores = took * context.values
    return scores * context.norms(norm) if norm else scores


@register("sp_less", family=FAMILY, source=SOURCE, reads="head")
def less(context: MethodContext, less: str = "mean", norm: str = "embedding") -> Tensor:
    """||x_i^0|| * (LogAt - b): b is the mean of the text's tokens, or f of the text masked."""
    values = context.values
    if less == "mask":
        base = each(context, lambda row: row.run(1, "state", masked="mask")[0].T)
        base = base.where(base != 0, torch.nan)
    else:
        base = values.nanmean(-1, keepdim=True)
    return context.norms(norm) * (values - base)


def of_model(model: Any) -> None:
    """Register the variants that need another pass by the model itself."""

    @register("sp_layers", family=FAMILY, source=SOURCE, reads="head")
    def layers(context: MethodContext, last: int = 4, norm: str = "embedding") -> Tensor:
        """The norm times the mean of LogAt over the last layers.

        `norm` is "embedding", "none", "final" for ||x^L||, "middle" for that half way, or "before"
        for what the embeddings are before their LayerNorm.
        """
        batch, targets, _, width = context.values.shape
        scores = torch.zeros(batch, targets, 1, width)
        for row in range(batch):
            inputs, kept = context.reruns.unpadded(row)
            for target in range(targets):
                scores[row, target, 0, kept] = of_target(context, inputs, row, target, kept, last)
            if norm in ("final", "middle"):
                norms = nxl.attribute(model, inputs, layer="all", method="norm").scores[0]
                scores[row, :, 0, kept] *= norms[-1 if norm == "final" else len(norms) // 2]
            if norm == "before":
                scores[row, :, 0, kept] *= before_norm(inputs)
        return scores * context.norms() if norm == "embedding" else scores

    def of_target(
        context: MethodContext,
        inputs: Mapping[str, Any],
        row: int,
        target: int,
        kept: Tensor,
        last: int,
    ) -> Tensor:
        position = None
        if context.targets.positions is not None:
            position = (kept < context.targets.positions[row, target]).sum()[None].clone()
        every = nxl.attribute(
            model,
            inputs,
            target=context.targets.ids[row : row + 1, target].clone(),
            position=position,
            layer="all",
            method="logat",
        )
        return every.scores[0, -last:].mean(0)

    def before_norm(inputs: Mapping[str, Any]) -> Tensor:
        seen = list[Tensor]()
        layer = model.base_model.embeddings.LayerNorm
        handle = layer.register_forward_pre_hook(lambda _, args: seen.append(first_tensor(args)))
        try:
            model(**inputs)
        finally:
            handle.remove()
        norms: Tensor = seen[0][0].norm(dim=-1)
        return norms
