"""Readouts: the number that says how much HoT(x_i), one token's outputs, supports the target.

NormXLogit multiplies it by ||x_i^0||.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from normxlogit.errors import OptionError
from normxlogit.model.targets import Problem, check_has_labels

Outputs = Callable[[Tensor, Tensor], Tensor]
"""Takes HoT of tokens [..., outputs] and targets' ids [..., targets]; returns [..., targets]."""

Finish = Callable[[Tensor, Tensor], Tensor]
"""Takes a text's readouts, [batch, targets, layers, sequence], nan at padding, and the model's own
output for the targets, [batch, targets, 1, 1]; returns scores in the shape of the readouts."""


@dataclass(frozen=True)
class Readout:
    """A number per token and target, and how it becomes a score.

    Attributes:
        of_outputs: reads the number from the outputs of a token alone.
        finish: compares it with the other tokens of the text; None if it is the score.
    """

    of_outputs: Outputs
    finish: Finish | None = None


def logit(hot: Tensor, targets: Tensor) -> Tensor:
    """Return HoT(x_i)[target], the paper's LogAt. Signed: positive supports the target."""
    # -1 stands for the targets that a row has fewer than others; these are masked later.
    return hot.gather(-1, targets.clamp_min(0))


def margin(hot: Tensor, targets: Tensor) -> Tensor:
    """Return HoT(x_i)[target] minus the best other output of the same token.

    Like the model's probability, and unlike the logit, it does not change when a constant is added
    to all logits.
    """
    if hot.shape[-1] < 2:
        raise OptionError("readout 'margin' compares labels, and this model has only one.")
    # The best other output is the second best of all where the target is the best. [..., 1] and
    # [..., targets] broadcast.
    best = hot.topk(2, dim=-1)
    is_target = best.indices[..., :1] == targets
    return logit(hot, targets) - torch.where(is_target, best.values[..., 1:], best.values[..., :1])


def logprob(hot: Tensor, targets: Tensor) -> Tensor:
    """Return log p(target | x_i), by softmax over the outputs of the token; never positive."""
    return logit(hot.log_softmax(-1), targets)


def label_logprob(hot: Tensor, targets: Tensor) -> Tensor:
    """Return log p(target | x_i) of a multi-label model's label, by sigmoid."""
    return logsigmoid(logit(hot, targets))


def centered(hot: Tensor, targets: Tensor) -> Tensor:
    """Return HoT(x_i)[target] minus the mean over the outputs of the same token."""
    return logit(hot, targets) - hot.mean(-1, keepdim=True)


def distance(values: Tensor, prediction: Tensor) -> Tensor:
    """Return |HoT(x_i) - HoT(x_read)|, from a token's value to the prediction, as published."""
    return (values - prediction).abs()


def closeness(values: Tensor, prediction: Tensor) -> Tensor:
    """Return the largest distance in the text minus the token's distance.

    The paper's formula gives the tokens farthest from the prediction the highest scores, while its
    text calls those important that resemble the prediction. Measured, the nearest tokens are the
    important ones, so this is the default for regressions.
    """
    distances = distance(values, prediction)
    # The maximum over the sequence must not be padding's nan.
    return distances.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True) - distances


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
"""The readouts for each problem by name, the default first."""


def find_readout(
    name: str | None,
    problem: Problem,
    contrasts: bool,
    of_output: bool,
    only: Collection[str] | None = None,
) -> str:
    """Return the name of the readout to use; `None` means the problem's default.

    Args:
        name: as the user gave it.
        problem: of the model.
        contrasts: whether a target is compared with another label.
        of_output: whether the method reads the model's own output only, and not tokens' outputs.
        only: the names of those that the method has, the default first; None if it has all.

    Raises:
        OptionError: it does not exist, or not for this problem, or not with a contrast.
    """
    readouts = READOUTS[problem]
    if contrasts:
        check_has_labels(problem)
    if only is not None:
        readouts = {key: readouts[key] for key in only}
    elif of_output:
        # There is nothing to compare a single output with.
        readouts = {key: readout for key, readout in readouts.items() if readout.finish is None}
    if name is None:
        return next(iter(readouts))
    if not isinstance(name, str) or name not in readouts:
        raise OptionError(
            f"readout {name!r:.80} is not one of those for {problem.value}"
            f"{' with this method' * of_output}: {', '.join(readouts)}."
        )
    if contrasts and name == "margin":
        raise OptionError(
            "readout 'margin' already compares with the best other label. Use readout='logit' with "
            "a contrast."
        )
    return name


@dataclass(frozen=True)
class Objective:
    """The number that is explained: a readout of the model's own output.

    Attributes:
        readout: takes outputs and targets.
        ids: the targets, int64 [rows, targets]; -1 where a row has fewer.
        foils: outputs whose readout is subtracted, int64 [rows, 1]; or None.
        positions: where the targets are read, int64 [rows, targets], if the head gives outputs for
            every token.
        span: the start and the end of the answer that is read, int64 [rows, 2].
    """

    readout: Outputs
    ids: Tensor
    foils: Tensor | None = None
    positions: Tensor | None = None
    span: Tensor | None = None

    def __call__(self, logits: Tensor, rows: Tensor, *, gathered: bool = False) -> Tensor:
        """Compute the numbers from the model's output on variants of rows.

        Args:
            logits: [variants, outputs] or [variants, sequence, outputs].
            rows: the row that each is a variant of, int64 [variants].
            gathered: whether `logits` are those at `positions` already.

        Returns:
            float32 [variants, targets].
        """
        ids = self.ids[rows]
        outputs = logits.float()
        each = torch.arange(len(rows), device=rows.device)[:, None]
        if self.span is not None:
            start, end = (outputs[each[:, 0], self.span[rows, i], i] for i in (0, 1))
            outputs = torch.stack([start, end, start + end], -1)
        elif self.positions is not None and not gathered:
            outputs = outputs[each, self.positions[rows].clamp_min(0)]
        if outputs.dim() == 2:
            outputs = outputs[:, None]
        outputs = outputs.expand(-1, ids.shape[1], -1)  # [variants, targets, outputs]
        values = self.readout(outputs, ids[..., None])[..., 0]
        if self.foils is not None:
            foils = self.foils[rows].expand_as(ids)
            values = values - self.readout(outputs, foils[..., None])[..., 0]
        return values
