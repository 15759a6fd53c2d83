"""GlobEnc: norms of tokens' contributions to each other, past both LayerNorms of a block."""

import torch
from torch import Tensor

from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.encoder_blocks import Block, read_block_maps
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores


@implement("globenc")
def globenc(context: MethodContext, rollout: bool = True) -> MethodScores:
    """N_l[r, i], or (N_l ... N_1)[r, i] rolled out, for the read position r.

    Modarressi et al. 2022, GlobEnc: Quantifying Global Token Attribution by Incorporating the Whole
    Encoder Layer in Transformers (NAACL).

    N_l[i, j] is ||z_ij||_2. Token j's contribution to token i after a block's attention is r_ij =
    sum_h A^h_ij W_o^h (W_v x_j + b_v)^h, and x_i more for j = i. Both LayerNorms, without their
    biases, turn it into z_ij = g_2 (t_ij - mean(t_ij)) / s_2i with t_ij = g_1 (r_ij - mean(r_ij)) /
    s_1i, where s_1i and s_2i are the deviations of the sums that the model normalises, so that the
    feed-forward layer counts in s_2i only. Norms are multiplied as they are, so their size means
    nothing over several layers. The last layer l, unless another is asked for.

    Cost: about three further forward passes. Trust it over attention, for it knows values,
    residuals and LayerNorms; like attention, it tells what tokens take from each other, but not
    what for.

    Args:
        context: the forward pass and what to explain of it.
        rollout: multiply a layer's map with those of all layers before it.

    Raises:
        UnsupportedHeadError: the model's blocks are not those of the BERT family; or the product
            is too large for float32, which it may be from some 24 layers on.
    """
    return MethodScores(
        read_block_maps(context, globenc_map, rollout), unsigned="larger norm of what it brings"
    )


def globenc_map(block: Block) -> Tensor:
    """Return ||z_ij||, [tokens, tokens]."""
    first, second, computed = block.first_norm, block.second_norm, block.computed
    vectors = second.scaled(first.scaled(block.contributions)).double()  # [j, heads + 1, hidden]
    # ||sum_h w_h v_h||^2 = sum_hg w_h w_g <v_h, v_g> needs no n x n vectors z_ij, only products of
    # heads, [j, heads + 1, heads + 1]. These cancel, hence float64.
    weights, products = block.weights.double(), vectors @ vectors.mT
    squares = torch.einsum("hij,jhg,gij->ij", weights, products, weights)
    deviations = first.deviation(computed.first) * second.deviation(computed.second)
    return squares.clamp_min(0).sqrt() / deviations[:, None]
