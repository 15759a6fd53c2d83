"""ALTI: how near what tokens bring comes to what attention makes of all of them."""

from dataclasses import replace

import torch
from torch import Tensor

from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.encoder_blocks import (
    FAMILY,
    SERVES,
    Block,
    read_block_maps,
    some_at_a_time,
)
from normxlogit.methods.registry import register
from normxlogit.methods.scores import MethodScores


@register(
    "alti",
    family=FAMILY,
    cost="4 forwards, n vectors a token",
    serves=SERVES,
    source="Ferrando et al. 2022",
    reads="states",
    has_layers=True,
)
def alti(context: MethodContext, rollout: bool = True) -> MethodScores:
    """C_l[r, i], or (C_l ... C_1)[r, i] rolled out, for the read position r.

    Ferrando et al. 2022, Measuring the Mixing of Contextual Information in the Transformer (EMNLP).

    C_l[i, j] is max(0, ||y_i||_1 - ||T_ij - y_i||_1), rows normalised to sum to one. T_ij is what
    token i has of token j after a block's attention and its LayerNorm, without biases:
    T_ij = g (r_ij - mean(r_ij)) / s_i with r_ij = sum_h A^h_ij W_o^h (W_v x_j + b_v)^h, and x_i of
    token i itself; s_i is the deviation of what is really normalised, and y_i, the sum over j of
    T_ij and of the biases, is the result. What lies farther from y_i than nothing does counts
    nothing; where that is so of all tokens the row is zero. Up to, or of, the last layer unless
    another is asked for.

    Cost: that of about three further forward passes, and for each layer n x n vectors of the hidden
    size, of which few are in memory at once. Trust it over attention rollout, for it knows values,
    residuals and the LayerNorm, and its rows are parts of a whole; the feed-forward layers are not
    in it, and it tells what tokens take from each other and not what for.

    Args:
        context: what one forward pass gave.
        rollout: multiply the map of a layer with those of all before it.

    Raises:
        UnsupportedHeadError: the model's blocks are not those of the BERT family.
    """
    return MethodScores(
        read_block_maps(context, alti_map, rollout), unsigned="larger part of the state"
    )


def alti_map(block: Block) -> Tensor:
    """C of a block, [tokens, tokens]."""
    first, norm = block.own.first, replace(block.first_norm, eps=0.0)
    weights = block.weights / norm.deviation(first)[:, None]
    brought, whole, distances = norm.scaled(block.brought), norm(first)[:, None], []
    for some in some_at_a_time(len(first), first.numel(), first.device):
        shares = torch.einsum("hij,jhd->ijd", weights[:, :, some], brought[some])
        distances.append(shares.sub_(whole - 1e-6).abs_().sum(-1))
    near = (whole.abs().sum(-1) - torch.cat(distances, 1)).clamp_min(0)
    total = near.sum(-1, keepdim=True)
    return near / total.where(total != 0, 1)
