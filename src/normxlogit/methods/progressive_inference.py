"""Progressive inference (Kariyappa et al. 2024), the head at every position of a causal model."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import register


@register(
    "progressive_inference",
    family="head on top",
    cost="1 forward",
    serves="causal models",
    source="Kariyappa et al. 2024, SP-PI",
    of_output=True,
    reads="head",
    has_layers=True,
)
def progressive_inference(context: MethodContext) -> Tensor:
    """HoT(x_i^L)[target] - HoT(x_{i-1}^L)[target], the first token's being HoT(x_1^L)[target].

    Kariyappa et al. 2024, Progressive Inference: Explaining Decoder-Only Sequence Classification
    Models Using Intermediate Predictions (ICML), its single pass variant.

    A causal model's state at a token is that of the text up to it, so these are what each token
    changes when a text is read from left to right; they add up to the model's output. What stands
    after the token that the head reads has no score (nan). Cost: one forward pass. A token is only
    credited for what it does to those before it: of a negation the words that follow get what they
    change, and not the negation.

    Raises:
        UnsupportedHeadError: the model reads what follows a token too, or its head several tokens.
    """
    if not context.hides_what_follows:
        raise UnsupportedHeadError(
            "progressive inference reads a causal model's head at every position, and this "
            "model's states know what follows them. method='normxlogit' serves such models."
        )
    read = context.of_rows(context.read_weights())[:, :, None]
    if (read.amax(-1) < 1).any():
        raise UnsupportedHeadError(
            "progressive inference needs a head that reads one token, and this one reads several "
            "together. method='normxlogit' serves such models."
        )
    values = context.values.nan_to_num()
    differences = values - pad(values, (1, 0))[..., :-1]
    after = read.cumsum(-1) - read
    return differences.masked_fill(after > 0, torch.nan)
