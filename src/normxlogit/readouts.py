"""Which number is read from HoT(x_i): how one token's outputs speak for the target.

Every readout takes HoT of each token by class, [batch, classes, layers, sequence], the targets' ids
[batch, targets] and the model's own output [batch, classes]; it returns [batch, targets, layers,
sequence]. NormXLogit multiplies it by ||x_i^0||.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .errors import OptionError
from .targets import Problem

Readout = Callable[[Tensor, Tensor, Tensor], Tensor]


def logit(hot: Tensor, targets: Tensor, _own: Tensor) -> Tensor:
    """HoT(x_i)[target], LogAt of the paper. Signed: positive speaks for the target."""
    rows = torch.arange(len(hot), device=hot.device)[:, None]
    return hot[rows, targets.clamp_min(0)]


def margin(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """HoT(x_i)[target] minus the best other class of the same token.

    Unlike the logit it does not change when a constant is added to all logits, and neither does the
    model's probability.
    """
    if hot.shape[1] < 2:
        raise OptionError("readout 'margin' compares labels, and this model has only one.")
    best = hot.topk(2, dim=1)
    is_target = best.indices[:, :1] == targets[:, :, None, None]
    return logit(hot, targets, own) - torch.where(is_target, best.values[:, 1:], best.values[:, :1])


def logprob(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """log p(target | x_i), by softmax over the classes of the same token; never positive."""
    return logit(hot.log_softmax(1), targets, own)


def label_logprob(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """log p(target | x_i) of a label that stands for itself (multi-label), by sigmoid."""
    return logsigmoid(logit(hot, targets, own))


def centered(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """HoT(x_i)[target] minus the mean over the classes of the same token."""
    return logit(hot - hot.mean(1, keepdim=True), targets, own)


def distance(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """|HoT(x_i) - HoT(x_read)|, from a token's own value to the prediction, as published."""
    return (logit(hot, targets, own) - own.gather(1, targets)[:, :, None, None]).abs()


def closeness(hot: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """The largest distance in the text minus the token's distance.

    The published text calls a token important that resembles the prediction; measured, the nearest
    tokens are the important ones, so this is the default of regressions. Padding must be nan.
    """
    far = distance(hot, targets, own)
    return far.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True) - far


READOUTS: dict[Problem, dict[str, Readout]] = {
    Problem.SINGLE_LABEL: {
        "logit": logit,
        "margin": margin,
        "logprob": logprob,
        "centered": centered,
    },
    Problem.MULTI_LABEL: {"logit": logit, "logprob": label_logprob},
    Problem.REGRESSION: {"closeness": closeness, "distance": distance},
}
"""For each kind of problem its readouts by name, the default first."""


def find_readout(name: str | None, problem: Problem, contrasts: bool) -> str:
    """The name of the readout to use; None means the problem's default.

    Raises:
        OptionError: it does not exist, or not for this problem, or not with a contrast.
    """
    readouts = READOUTS[problem]
    if contrasts and problem is Problem.REGRESSION:
        raise OptionError(
            "contrast compares two labels, and this model's output is a value, not a label."
        )
    if name is None:
        return next(iter(readouts))
    if name not in readouts:
        raise OptionError(
            f"readout {name!r} is not one of those for {problem.value}: {', '.join(readouts)}."
        )
    if contrasts and name == "margin":
        raise OptionError(
            "readout 'margin' already compares with the best other label. Use readout='logit' with "
            "a contrast."
        )
    return name
