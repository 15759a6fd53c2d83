"""Progressive inference (Kariyappa et al. 2024), the head at every position of a causal model."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement


@implement("progressive_inference")
def progressive_inference(context: MethodContext) -> Tensor:
    """HoT(x_i^L)[target] - HoT(x_{i-1}^L)[target]; for the first token HoT(x_1^L)[target].

    Kariyappa et al. 2024, Progressive Inference: Explaining Decoder-Only Sequence Classification
    Models Using Intermediate Predictions (ICML), its single pass variant.

    A causal model's state at a token is that of the text up to it, so a score is what the token
    changes when a text is read from left to right; scores add up to the model's output. Tokens
    after the one that the head reads have no score (nan). Cost: one forward pass. A token is
    credited only for what it does to the text before it: after a negation, the words that follow
    get the credit for what they change, not the negation.

    Args:
        context: the forward pass and what to explain of it.

    Raises:
        UnsupportedHeadError: the model's states depend on later tokens, or its head reads several
            tokens.
    """
    if not context.hides_what_follows:
        raise UnsupportedHeadError(
            "progressive inference reads a causal model's head at every position, and this "
            "model's states depend on later tokens. method='normxlogit' serves such models."
        )
    read = context.of_rows(context.read_weights())[:, :, None]
    if (read.amax(-1) < 1).any():
        raise UnsupportedHeadError(
            "progressive inference needs a head that reads one token, and this one reads several "
            "together. method='normxlogit' serves such models."
        )
    # [batch, targets, layers, sequence]; zero, not nan, at padding before the first token.
    values = context.values.nan_to_num()
    differences = values - pad(values, (1, 0))[..., :-1]
    after = read.cumsum(-1) - read
    return differences.masked_fill(after > 0, torch.nan)
