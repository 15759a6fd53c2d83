"""The outputs of a model that are explained."""

import difflib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import ModelError, OptionError

Target = str | int
Targets = Target | Sequence[Target] | Tensor | None
"""A label's name or id, several, "all", ids [batch] (one per row), or None for the prediction."""


@dataclass(frozen=True)
class TargetIds:
    """The outputs to explain, for each row of a batch.

    Attributes:
        ids: the outputs, int64 [batch, targets]; rows with fewer than others end in -1.
        positions: where each is read, int64 [batch, targets], if the head gives outputs for every
            token; None if it gives them for the whole row.
    """

    ids: Tensor
    positions: Tensor | None = None


class Problem(str, Enum):
    """The meaning of a model's outputs; the first three values are transformers' names."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"
    CHOICE = "multiple_choice"
    SPAN = "span"
    TOKEN = "token"

    @classmethod
    def of(cls, config: Any, outputs: int) -> "Problem":
        """Return a classifier's problem: its configuration's `problem_type`.

        If unset, transformers' rule: one output is regression.

        Raises:
            ModelError: the configuration has another `problem_type` than transformers knows.
        """
        if config.problem_type is not None:
            values = [cls.SINGLE_LABEL.value, cls.MULTI_LABEL.value, cls.REGRESSION.value]
            if config.problem_type not in values:
                raise ModelError(
                    f"the model's problem_type is {config.problem_type!r}; it must be one of "
                    f"{', '.join(values)}."
                )
            return cls(config.problem_type)
        return cls.REGRESSION if outputs == 1 else cls.SINGLE_LABEL

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities, float32 [..., outputs]; for regressions, the values unchanged."""
        if self in (Problem.SINGLE_LABEL, Problem.CHOICE, Problem.TOKEN):
            return logits.float().softmax(-1)
        return logits.float().sigmoid() if self is Problem.MULTI_LABEL else logits.float()


class TokenIds(Sequence[str]):
    """Labels of a language model without its tokenizer: token ids instead of names.

    A sequence that makes its labels when they are read, as a vocabulary has some 100,000.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        return str(range(self._size)[index])

    def __contains__(self, value: object) -> bool:
        return False


def label_names(config: Any, problem: Problem, outputs: int) -> Sequence[str]:
    """Return the names of the outputs; for classifiers, from the configuration's `id2label`."""
    if problem is Problem.SPAN:
        return ["start", "end", "span"]
    if problem is Problem.CHOICE:
        return [f"choice {i}" for i in range(outputs)]
    if problem is Problem.TOKEN:
        return TokenIds(outputs)
    names = config.id2label or {}  # its keys are text if the configuration came from plain JSON
    return [str(names.get(i, names.get(str(i), f"LABEL_{i}"))) for i in range(outputs)]


def target_id(target: Target, labels: Sequence[str]) -> int:
    """Return the output with a name or id. A name matches any case if only one label fits.

    Raises:
        OptionError: there is no such label.
    """
    if isinstance(labels, TokenIds) and isinstance(target, str) and not target.isdecimal():
        raise OptionError(
            f"the outputs of a language model are token ids; got {target!r}. With tensors give "
            "ids; normxlogit.Explainer, which has the tokenizer, takes text."
        )
    if isinstance(target, str) and not isinstance(labels, TokenIds):
        if target in labels:
            return labels.index(target)
        alike = [i for i, label in enumerate(labels) if label.casefold() == target.casefold()]
        if len(alike) == 1:
            return alike[0]
    # The command line gives ids as text; a label named "1" has won above.
    if isinstance(target, str):
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
    """Return the outputs to explain for each row.

    Args:
        target: see `Targets`. The prediction is the output with the largest logit; for multi-label
            models all labels with a probability above `threshold`, the most probable first, or
            else the most probable one; for regressions, all values.
        logits: the model's own output, [batch, outputs].

    Returns:
        int64 [batch, targets]; rows with fewer targets than others end in -1.

    Raises:
        OptionError: a target does not exist.
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
        order = logits.argsort(-1, descending=True)  # [batch, outputs], the most probable first
        above = problem.probabilities(logits).gather(-1, order) > threshold
        above[:, 0] = True
        # Sorted, so what is above the threshold comes first, and columns that are -1 in all rows
        # can be cut off.
        return order.masked_fill(~above, -1)[:, : int(above.sum(-1).max())]
    if target is None and problem is Problem.SPAN:
        return torch.full((batch, 1), labels.index("span"), device=logits.device)
    if target is None and problem is not Problem.REGRESSION:
        return logits.argmax(-1, keepdim=True)
    if isinstance(target, str) and target == "all" and problem is Problem.TOKEN:
        raise OptionError("target 'all' would be the whole vocabulary. Name the tokens.")
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
    """Return whether the result has an axis of targets.

    It depends on the query and the head, never on the prediction, so that all texts of a model have
    results of the same axes: a multi-label text with one label above the threshold has the axis.
    """
    if target is None:
        return problem is Problem.MULTI_LABEL or (problem is Problem.REGRESSION and outputs > 1)
    return target == "all" if isinstance(target, str) else isinstance(target, Sequence)
