"""What is explained: which outputs of the model."""

import difflib
import operator
from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from .errors import ModelError, OptionError

Target = str | int
Targets = Target | Sequence[Target] | Tensor | None
"""A label name or id, several, "all", ids [batch] (one a row), or None for what was predicted."""


class Problem(str, Enum):
    """What the outputs of a sequence classifier mean; the values are transformers' own names."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"

    @classmethod
    def of(cls, config: Any, outputs: int) -> "Problem":
        """The configuration's `problem_type`; unset, transformers' rule: one output is
        regression.
        """
        if config.problem_type is not None:
            try:
                return cls(config.problem_type)
            except ValueError:
                raise ModelError(
                    f"the model's problem_type is {config.problem_type!r}; it must be one of "
                    f"{', '.join(problem.value for problem in cls)}."
                ) from None
        return cls.REGRESSION if outputs == 1 else cls.SINGLE_LABEL

    def probabilities(self, logits: Tensor) -> Tensor:
        """[..., classes] -> the same in float32; a regression's values as they are."""
        if self is Problem.SINGLE_LABEL:
            return logits.float().softmax(-1)
        return logits.float().sigmoid() if self is Problem.MULTI_LABEL else logits.float()


def label_names(config: Any, outputs: int) -> list[str]:
    """The names of the outputs, from the configuration's `id2label`."""
    names = config.id2label or {}
    return [str(names.get(i, names.get(str(i), f"LABEL_{i}"))) for i in range(outputs)]


def target_id(target: Target, labels: Sequence[str]) -> int:
    """The output that a name or id means; a name counts in any case, if only one label fits.

    Raises:
        OptionError: no such label.
    """
    if isinstance(target, str):
        if target in labels:
            return labels.index(target)
        alike = [i for i, label in enumerate(labels) if label.casefold() == target.casefold()]
        if len(alike) == 1:
            return alike[0]
        if target.isdecimal() and int(target) < len(labels):
            return int(target)
    elif (
        not isinstance(target, bool)
        and hasattr(target, "__index__")
        and 0 <= operator.index(target) < len(labels)
    ):
        return operator.index(target)
    shown = ", ".join(difflib.get_close_matches(str(target), labels, 3, 0.5) or labels[:10])
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    raise OptionError(
        f"this model has no label {target!r}. Its labels: {shown}{more}, or an id from 0 to "
        f"{len(labels) - 1}."
    )


def target_ids(
    target: Targets, logits: Tensor, labels: Sequence[str], problem: Problem, threshold: float
) -> Tensor:
    """The outputs to explain for each row.

    Args:
        target: see `Targets`. Predicted is the largest logit; with several labels every label whose
            probability is above `threshold`, the most probable first, and if there is none, the
            most probable one; in a regression the value.
        logits: the model's own output, [batch, classes].

    Returns:
        int64 [batch, targets]; rows with fewer targets than others end in -1.

    Raises:
        OptionError: a target that does not exist.
    """
    batch, outputs = logits.shape
    if isinstance(target, Tensor):
        if target.shape != (batch,) or target.is_floating_point():
            raise OptionError(
                f"target ids must be integers of shape [{batch}], got {target.dtype} of shape "
                f"{list(target.shape)}."
            )
        for i in target.tolist():
            target_id(i, labels)
        return target.to(logits.device, torch.int64)[:, None]
    if target is None and problem is Problem.MULTI_LABEL:
        order = logits.argsort(-1, descending=True)
        above = problem.probabilities(logits).gather(-1, order) > threshold
        above[:, 0] = True
        return order.masked_fill(~above, -1)[:, : int(above.sum(-1).max())]
    if target is None and problem is Problem.SINGLE_LABEL:
        return logits.argmax(-1, keepdim=True)
    if target is None or (isinstance(target, str) and target == "all"):
        chosen = list(range(outputs))
    else:
        several: Sequence[Target] = [target]  # type: ignore[list-item]
        if isinstance(target, Sequence) and not isinstance(target, str):
            several = target
        chosen = [target_id(t, labels) for t in several]
    if not chosen:
        raise OptionError("target is an empty list: name at least one label.")
    return torch.tensor(chosen, device=logits.device).expand(batch, -1)


def is_several(target: Targets, problem: Problem, outputs: int) -> bool:
    """Whether the result has an axis of targets, which a caller may tell before any forward
    pass.
    """
    if target is None:
        return problem is Problem.MULTI_LABEL or (problem is Problem.REGRESSION and outputs > 1)
    return target == "all" if isinstance(target, str) else isinstance(target, Sequence)
