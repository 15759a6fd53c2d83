"""Which number is read from HoT(x_i): how one token's outputs speak for the target.

NormXLogit multiplies it by ||x_i^0||.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from normxlogit.errors import OptionError
from normxlogit.model.targets import Problem

Outputs = Callable[[Tensor, Tensor], Tensor]
"""Takes HoT of tokens [..., outputs] and targets' ids [..., targets]; gives [..., targets]."""

Finish = Callable[[Tensor, Tensor], Tensor]
"""Takes what was read of a text, [batch, targets, layers, sequence], nan at padding, and the
model's own output for the targets, [batch, targets, 1, 1]; gives the former's shape."""


@dataclass(frozen=True)
class Readout:
    """What is read from the outputs of each token, and what is made of it with the whole text."""

    of_outputs: Outputs
    finish: Finish | None = None


def logit(hot: Tensor, targets: Tensor) -> Tensor:
    """HoT(x_i)[target], LogAt of the paper. Signed: positive speaks for the target."""
    return hot.gather(-1, targets.clamp_min(0))


def margin(hot: Tensor, targets: Tensor) -> Tensor:
    """HoT(x_i)[target] minus the best other output of the same token.

    Unlike the logit it does not change when a constant is added to all logits, and neither does the
    model's probability.
    """
    if hot.shape[-1] < 2:
        raise OptionError("readout 'margin' compares labels, and this model has only one.")
    best = hot.topk(2, dim=-1)
    is_target = best.indices[..., :1] == targets
    return logit(hot, targets) - torch.where(is_target, best.values[..., 1:], best.values[..., :1])


def logprob(hot: Tensor, targets: Tensor) -> Tensor:
    """log p(target | x_i), by softmax over the outputs of the same token; never positive."""
    return logit(hot.log_softmax(-1), targets)


def label_logprob(hot: Tensor, targets: Tensor) -> Tensor:
    """log p(target | x_i) of a label that stands for itself (multi-label), by sigmoid."""
    return logsigmoid(logit(hot, targets))


def centered(hot: Tensor, targets: Tensor) -> Tensor:
    """HoT(x_i)[target] minus the mean over the outputs of the same token."""
    return logit(hot, targets) - hot.mean(-1, keepdim=True)


def distance(values: Tensor, own: Tensor) -> Tensor:
    """|HoT(x_i) - HoT(x_read)|, from a token's own value to the prediction, as published."""
    return (values - own).abs()


def closeness(values: Tensor, own: Tensor) -> Tensor:
    """The largest distance in the text minus the token's distance.

    The published text calls a token important that resembles the prediction; measured, the nearest
    tokens are the important ones, so this is the default of regressions.
    """
    far = distance(values, own)
    return far.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True) - far


_COMPARED = {
    "logit": Readout(logit),
    "margin": Readout(margin),
    "logprob": Readout(logprob),
    "centered": Readout(centered),
}

READOUTS: dict[Problem, dict[str, Readout]] = {
    Problem.SINGLE_LABEL: _COMPARED,
    Problem.MULTI_LABEL: {"logit": Readout(logit), "logprob": Readout(label_logprob)},
    Problem.REGRESSION: {
        "closeness": Readout(logit, closeness),
        "distance": Readout(logit, distance),
        "value": Readout(logit),
    },
    Problem.CHOICE: {"logit": Readout(logit)},
    Problem.SPAN: {"logit": Readout(logit)},
    Problem.TOKEN: _COMPARED,
}
"""For each kind of problem its readouts by name, the default first."""


def find_readout(name: str | None, problem: Problem, contrasts: bool, of_output: bool) -> str:
    """The name of the readout to use; None means the problem's default.

    `of_output` says that it is put to the model's own output only, and not to tokens.

    Raises:
        OptionError: it does not exist, or not for this problem, or not with a contrast.
    """
    readouts = READOUTS[problem]
    if contrasts and problem is Problem.REGRESSION:
        raise OptionError(
            "contrast compares two labels, and this model's output is a value, not a label."
        )
    if of_output:
        readouts = {known: way for known, way in readouts.items() if way.finish is None}
    if name is None:
        return next(iter(readouts))
    if name not in readouts:
        raise OptionError(
            f"readout {name!r} is not one of those for {problem.value}"
            f"{' with this method' * of_output}: {', '.join(readouts)}."
        )
    if contrasts and name == "margin":
        raise OptionError(
            "readout 'margin' already compares with the best other label. Use readout='logit' with "
            "a contrast."
        )
    return name
