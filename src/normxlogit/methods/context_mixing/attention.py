"""Attention as an explanation: of one layer, and rolled out over several."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import register
from normxlogit.methods.scores import MethodScores
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import tolerance

FAMILY = "context mixing"
COST = "2 forwards"
SERVES = "texts, models that give attentions"

Maps = Mapping[int, Tensor]
"""By the number of a layer what each token takes from each, [tokens, tokens]."""


@register(
    "attention",
    family=FAMILY,
    cost=COST,
    serves=SERVES,
    source="Bahdanau et al. 2015",
    reads="states",
    has_layers=True,
)
def attention(context: MethodContext) -> MethodScores:
    """Mean over heads of A[r, i]: the attention that the read position r pays to token i.

    Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate
    (ICLR); Jain & Wallace 2019, Attention is not Explanation (NAACL).

    Of the last layer unless another is asked for; where the head pools, the mean over its
    positions. Cost: a further forward pass, with eager attention. A baseline: what a layer looks at
    need not be what it takes, nor what the layers before have left there.

    Raises:
        UnsupportedHeadError: the model gives no such maps.
    """
    scores = read_maps(context, "eager", partial(_maps, context), rolled_out=False)
    return MethodScores(scores, unsigned="more attention")


@register(
    "attention_rollout",
    family=FAMILY,
    cost=COST,
    serves=SERVES,
    source="Abnar & Zuidema 2020",
    reads="states",
    has_layers=True,
)
def attention_rollout(context: MethodContext) -> MethodScores:
    """(A'_l ... A'_1)[r, i] with A' = (A + I) / 2, A the mean over heads, r the read position.

    Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers (ACL).

    Up to the last layer l unless another is asked for. Cost: a further forward pass, with eager
    attention. Trust it over `attention` in deep models, for it follows tokens to where they have
    been mixed; it knows neither values nor what a block does after its attention.

    Raises:
        UnsupportedHeadError: the model gives no such maps.
    """

    def maps(*which: Any) -> tuple[Maps, Tensor]:
        found, kept = _maps(context, *which)
        return {layer: _with_residual(one) for layer, one in found.items()}, kept

    scores = read_maps(context, "eager", maps, rolled_out=True)
    return MethodScores(scores, unsigned="more attention")


def read_maps(
    context: MethodContext,
    implementation: str,
    maps: Callable[[ModelClone, int, list[int]], tuple[Maps, Tensor]],
    *,
    rolled_out: bool,
) -> Tensor:
    """What the positions that are read take from each token.

    Args:
        context: what one forward pass gave.
        implementation: of attention, the name by which transformers knows it.
        maps: takes a clone that attends so, a row and the layers whose maps are needed; gives
            these, and the positions of the row's tokens, int64 [tokens].
        rolled_out: multiply the map of a layer with those of all before it.

    Returns:
        float32 [batch, targets or 1, layers, sequence].
    """
    weights, layers = context.read_weights(), context.layers
    needed = list(range(1, max(layers) + 1)) if rolled_out else layers
    rows, targets, sequence = weights.shape
    clone = context.reruns.clone()
    clone.attend(implementation)
    scores = weights.new_zeros(rows, targets, len(layers), sequence)
    for row in range(rows):
        found, kept = maps(clone, row, needed)
        for number, layer in enumerate(layers):
            taken = weights[row][:, kept]
            for one in range(layer, 0 if rolled_out else layer - 1, -1):
                taken = taken @ found[one].to(taken)
            scores[row, :, number][:, kept] = taken
    return context.of_rows(scores)


def _with_residual(attention: Tensor) -> Tensor:
    return (attention + torch.eye(len(attention)).to(attention)) / 2


def _maps(context: MethodContext, clone: ModelClone, row: int, _: list[int]) -> tuple[Maps, Tensor]:
    """The mean over heads of each layer's attention, float32, and where the row's tokens are."""
    outputs, kept = context.reruns.run_clone(clone, row, output_attentions=True)
    name, given, count = type(clone.root).__name__, outputs.get("attentions") or (), len(kept)
    found = {
        layer: one[0].float().mean(0)
        for layer, one in enumerate(given, 1)
        if isinstance(one, Tensor)
        and one.dim() == 4
        and (one.shape[0], *one.shape[2:]) == (1, count, count)
        and bool(((one.float().sum(-1) - 1).abs() <= tolerance(one.dtype)).all())
    }
    if not found or len(found) != len(given) or len(found) != context.depth:
        shapes = [list(getattr(one, "shape", [])) for one in given]
        raise UnsupportedHeadError(
            f"attention needs of each layer a map of [1, heads, {count}, {count}] whose rows sum "
            f"to one, so {context.depth} in all; {name} gave {len(shapes)}, {len(found)} of them "
            f"like that{f' (the first is {shapes[0]})' if shapes else ''}. method='normxlogit' "
            "needs none."
        )
    return found, kept
