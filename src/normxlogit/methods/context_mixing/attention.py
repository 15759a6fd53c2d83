"""Attention as an explanation: of one layer, and rolled out over several."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import tolerance

Maps = Mapping[int, Tensor]
"""By layer number, what each token takes from each token, [tokens, tokens]."""


@implement("attention")
def attention(context: MethodContext) -> MethodScores:
    """Mean over heads of A[r, i]: the attention that the read position r pays to token i.

    Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate
    (ICLR); Jain & Wallace 2019, Attention is not Explanation (NAACL).

    The last layer, unless another is asked for; where the head pools, the mean over its positions.
    Cost: a further forward pass, with eager attention. A baseline: what a layer attends to need
    not be what it takes, and by then a position holds more than its own token.

    Args:
        context: the forward pass and what to explain of it.

    Raises:
        UnsupportedHeadError: the model returns no such maps.
    """
    scores = read_maps(context, "eager", partial(_attention_maps, context), rolled_out=False)
    return MethodScores(scores, unsigned="more attention")


@implement("attention_rollout")
def attention_rollout(context: MethodContext) -> MethodScores:
    """(A'_l ... A'_1)[r, i] with A' = (A + I) / 2, A the mean over heads, r the read position.

    Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers (ACL).

    Up to the last layer l, unless another is asked for. Cost: a further forward pass, with eager
    attention. Trust it over `attention` in deep models, for it follows tokens to where they have
    been mixed; it knows neither values nor what a block does after its attention.

    Args:
        context: the forward pass and what to explain of it.

    Raises:
        UnsupportedHeadError: the model returns no such maps.
    """

    def layer_maps(clone: ModelClone, row: int, layers: list[int]) -> tuple[Maps, Tensor]:
        maps, tokens = _attention_maps(context, clone, row, layers)
        return {layer: _with_residual(attention) for layer, attention in maps.items()}, tokens

    scores = read_maps(context, "eager", layer_maps, rolled_out=True)
    return MethodScores(scores, unsigned="more attention")


def read_maps(
    context: MethodContext,
    implementation: str,
    layer_maps: Callable[[ModelClone, int, list[int]], tuple[Maps, Tensor]],
    *,
    rolled_out: bool,
) -> Tensor:
    """Read what the read positions take from each token.

    Args:
        context: the forward pass and what to explain of it.
        implementation: the attention implementation, by the name that transformers knows.
        layer_maps: takes a clone with that attention, a row, and the layers whose maps are needed;
            returns these, and the positions of the row's tokens, int64 [tokens].
        rolled_out: multiply a layer's map with those of all layers before it.

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
        maps, tokens = layer_maps(clone, row, needed)
        for number, layer in enumerate(layers):
            # [targets, tokens] @ [tokens, tokens], from the top down: no product of n x n matrices.
            taken = weights[row][:, tokens]
            for level in range(layer, 0 if rolled_out else layer - 1, -1):
                taken = taken @ maps[level].to(taken)
            scores[row, :, number][:, tokens] = taken
    return context.of_rows(scores)


def _with_residual(attention: Tensor) -> Tensor:
    return (attention + torch.eye(len(attention)).to(attention)) / 2


def _attention_maps(
    context: MethodContext, clone: ModelClone, row: int, _layers: list[int]
) -> tuple[Maps, Tensor]:
    """Return each layer's attention, its mean over heads in float32, and the tokens' positions."""
    outputs, tokens = context.reruns.run_clone(clone, row, output_attentions=True)
    name, count = type(clone.root).__name__, len(tokens)
    attentions = outputs.get("attentions") or ()
    # Some models return by this name windows of local attention, or weights of which a sink took a
    # part; neither is a share for each token.
    maps = {
        layer: attention[0].float().mean(0)  # [heads, tokens, tokens] -> [tokens, tokens]
        for layer, attention in enumerate(attentions, 1)
        if isinstance(attention, Tensor)
        and attention.dim() == 4
        and (attention.shape[0], *attention.shape[2:]) == (1, count, count)
        and _rows_sum_to_one(attention)
    }
    if not maps or len(maps) != len(attentions) or len(maps) != context.depth:
        shapes = [list(getattr(attention, "shape", [])) for attention in attentions]
        raise UnsupportedHeadError(
            f"attention needs a map of [1, heads, {count}, {count}] for each layer, whose rows sum "
            f"to one, so {context.depth} in all; {name} gave {len(shapes)}, {len(maps)} of them "
            f"like that{f' (the first is {shapes[0]})' if shapes else ''}. method='normxlogit' "
            "needs none."
        )
    return maps, tokens


def _rows_sum_to_one(attention: Tensor) -> bool:
    return bool(((attention.float().sum(-1) - 1).abs() <= tolerance(attention.dtype)).all())
