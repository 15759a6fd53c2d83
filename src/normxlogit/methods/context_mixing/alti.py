"""ALTI: how near each token's contribution comes to the sum of all of them after attention."""

from dataclasses import replace

import torch
from torch import Tensor

from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.encoder_blocks import (
    Block,
    chunks,
    read_block_maps,
)
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores


@implement("alti")
def alti(context: MethodContext, rollout: bool = True) -> MethodScores:
    """C_l[r, i], or (C_l ... C_1)[r, i] rolled out, for the read position r.

    Ferrando et al. 2022, Measuring the Mixing of Contextual Information in the Transformer (EMNLP).

    C_l[i, j] is max(0, ||y_i||_1 - ||T_ij - y_i||_1), rows normalised to sum to one. T_ij is token
    j's contribution to token i after a block's attention and its LayerNorm, without biases:
    T_ij = g (r_ij - mean(r_ij)) / s_i with r_ij = sum_h A^h_ij W_o^h (W_v x_j + b_v)^h, and x_i
    more for j = i; s_i is the deviation of the sum that the model normalises, and y_i, the sum over
    j of T_ij and of the biases, is the result. A contribution that lies farther from y_i than zero
    does counts nothing; if that holds for all tokens, the row is zero. The last layer l, unless
    another is asked for.

    Cost: about three further forward passes, and for each layer n x n vectors of the hidden size,
    of which few are in memory at once. Trust it over attention rollout, for it knows values,
    residuals and the LayerNorm, and its rows are parts of a whole; the feed-forward layers are not
    in it, and it tells what tokens take from each other, but not what for.

    Args:
        context: the forward pass and what to explain of it.
        rollout: multiply a layer's map with those of all layers before it.

    Raises:
        UnsupportedHeadError: the model's blocks are not those of the BERT family.
    """
    return MethodScores(
        read_block_maps(context, alti_map, rollout), unsigned="larger part of the state"
    )


def alti_map(block: Block) -> Tensor:
    """Return C of a block, [tokens, tokens]."""
    first, norm = block.computed.first, replace(block.first_norm, eps=0.0)
    weights = block.weights / norm.deviation(first)[:, None]  # [heads + 1, i, j]
    vectors, outputs, distances = norm.scaled(block.contributions), norm(first)[:, None], []
    for tokens in chunks(len(first), first.numel(), first.device):
        # T_ij for all i and the j of this chunk, [i, chunk, hidden].
        transformed = torch.einsum("hij,jhd->ijd", weights[:, :, tokens], vectors[tokens])
        # The authors' distance, torch's pairwise_distance, adds 1e-6 to each difference.
        distances.append(transformed.sub_(outputs - 1e-6).abs_().sum(-1))
    nearness = (outputs.abs().sum(-1) - torch.cat(distances, 1)).clamp_min(0)
    total = nearness.sum(-1, keepdim=True)
    return nearness / total.where(total != 0, 1)
