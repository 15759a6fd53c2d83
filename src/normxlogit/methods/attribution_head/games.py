"""What an attribution head divides among the words: the outcome of a text, as a game of its words.

The value of a set of words is the model's output for the text with all other words hidden. A
classifier's logits are centred, as softmax ignores a constant added to all; so a score for one
label less that for another is a score for the contrast. A regression has two games for each value:
the value itself, and its closeness to what the model says of the whole text, minus the distance.
"""

import torch
from torch import Tensor

from normxlogit.model.targets import Problem

READOUTS = {
    Problem.SINGLE_LABEL: ("centered",),
    Problem.MULTI_LABEL: ("logit",),
    Problem.REGRESSION: ("value", "closeness"),
}
"""The readouts that stand for the games, in the order of a network's outputs."""


def game_count(problem: Problem, outputs: int) -> int:
    """How many games a model with so many outputs has."""
    return outputs * len(READOUTS[problem])


def game_values(logits: Tensor, whole: Tensor, problem: Problem) -> Tensor:
    """The values of every game.

    Args:
        logits: the model's outputs for sets of words, float32 [..., outputs].
        whole: its outputs for the whole text, broadcast to `logits`.
        problem: what they mean.

    Returns:
        [..., games].
    """
    if problem is Problem.REGRESSION:
        return torch.cat([logits, -(logits - whole).abs()], -1)
    return logits - logits.mean(-1, keepdim=True) if problem is Problem.SINGLE_LABEL else logits
