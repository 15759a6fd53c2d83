"""The outputs of a model that are explained."""

import difflib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from normxlogit.errors import InputError, ModelError, NormXLogitError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

_LISTED = 10
"""How many labels an error lists."""

Target = str | int
Targets: TypeAlias = "Target | Sequence[Target] | Tensor | None"
"""A label's name or id, several, "all", ids [batch] (one per row), or None for the prediction."""


@dataclass(frozen=True)
class TargetIds:
    """The outputs to explain, for each row of a batch.

    Attributes:
        ids: the outputs, int64 [batch, targets]; rows with fewer than others end in -1.
        positions: where each is read, int64 [batch, targets], if the head gives outputs for every
            token; None if it gives them for the whole row.
    """

    ids: "Tensor"
    positions: "Tensor | None" = None


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

    def probabilities(self, logits: "Tensor") -> "Tensor":
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
    """Return the output with a name or id; see `fitting`.

    Raises:
        OptionError: there is no such label, or several.
    """
    numbers = fitting(target, labels, range(len(labels)))
    if len(numbers) > 1:
        raise OptionError(
            f"{len(numbers)} labels fit {target!r}: those of the ids "
            f"{', '.join(map(str, numbers))}. Give the id of one, as a number."
        )
    if not numbers:
        raise OptionError(_no_label(target, labels))
    return numbers[0]


def fitting(target: Target, labels: Sequence[str], ids: Sequence[int]) -> list[int]:
    """Return the indices of the outputs that a target fits.

    Text is a name: as it is, or else whatever its case and the white space around it. It is an id
    only where no label is a number, for a command or a table has no other way to give one. A number
    is an id.

    Args:
        target: a name or id.
        labels: the names of the outputs.
        ids: their ids, in the same order.
    """
    if isinstance(target, str):
        name = _plain(target)
        if not isinstance(labels, TokenIds):
            exact = [n for n, label in enumerate(labels) if label == target]
            named = exact or [n for n, label in enumerate(labels) if _plain(label) == name]
            if named or any(_plain(label).isdecimal() for label in labels):
                return named
        if not name.isdecimal():
            return []
        target = int(name)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        return []
    number = operator.index(target)
    if isinstance(ids, range):  # a vocabulary is too long to be gone through
        return [number] if number in ids else []
    return [n for n, i in enumerate(ids) if i == number]


def gold_id(label: str, labels: Sequence[str]) -> int:
    """Return the output that a row has as its own label, to compare it with predictions by name.

    Raises:
        OptionError: there is no such label, or others are called the same.
    """
    number = target_id(label, labels)
    name = labels[number]
    if labels.count(name) > 1:
        raise OptionError(
            f"this model calls {labels.count(name)} labels {name!r}, so {label!r} cannot be told "
            "from others in predictions. Give each a name of its own in config.id2label."
        )
    return number


def _plain(text: str) -> str:
    """Return text without what does not tell labels apart; tables with gaps write 1 as "1.0"."""
    text = text.strip().casefold()
    number = text.removesuffix(".0")
    return number if number.isdecimal() else text


def _no_label(target: Target, labels: Sequence[str]) -> str:
    count = len(labels)
    if isinstance(labels, TokenIds):
        return (
            f"the outputs of a language model are token ids, from 0 to {count - 1}; got "
            f"{target!r}. With tensors give ids; normxlogit.Explainer, which has the tokenizer, "
            "takes text."
        )
    if count <= _LISTED:
        return (
            f"this model has no label {target!r}. Its labels: {', '.join(labels)}, or an id from 0 "
            f"to {count - 1}."
        )
    nearest = difflib.get_close_matches(str(target), labels, 3, 0.5) or labels[:_LISTED]
    return (
        f"this model has no label {target!r}. Its labels: {', '.join(nearest)} and "
        f"{count - len(nearest)} more, or an id from 0 to {count - 1}."
    )


def target_ids(
    target: Targets, logits: "Tensor", labels: Sequence[str], problem: Problem, threshold: float
) -> "Tensor":
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
    import torch  # results know problems and labels, and are read without it

    batch = len(logits)
    if isinstance(target, torch.Tensor):
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
    chosen = named_ids(target, labels, problem)
    if chosen is None:
        return logits.argmax(-1, keepdim=True)
    return torch.tensor(chosen, device=logits.device).expand(batch, -1)


def named_ids(target: Targets, labels: Sequence[str], problem: Problem) -> list[int] | None:
    """Return the outputs that a target names, the same for every text; None for the prediction.

    Args:
        target: see `Targets`, but for a tensor. Of a regression None stands for all values.
        labels: the names of the outputs.
        problem: what these mean.

    Raises:
        OptionError: a target does not exist, or none is named.
    """
    if target is None and problem is not Problem.REGRESSION:
        return None
    is_all = isinstance(target, str) and target == "all"
    if is_all and problem is Problem.TOKEN:
        raise OptionError("target 'all' would be the whole vocabulary. Name the tokens.")
    if target is None or is_all:
        return list(range(len(labels)))
    several: Sequence[Target] = [target]  # type: ignore[list-item]
    if isinstance(target, Sequence) and not isinstance(target, str):
        several = target
    if not several:
        raise OptionError("target is an empty list: name at least one label.")
    return [target_id(one, labels) for one in several]


def check_has_labels(problem: Problem) -> None:
    """Raise `OptionError` for a contrast of values, which are no labels to compare."""
    if problem is Problem.REGRESSION:
        raise OptionError(
            "contrast compares two labels, and this model's output is a value, not a label."
        )


def same_as_contrast(label: str, target: object) -> NormXLogitError:
    """Return the error for a contrast with the output that is explained.

    Args:
        label: the name of that output.
        target: the target as it was given; None for the prediction, where it is this text's error.
    """
    predicted = target is None
    return (InputError if predicted else OptionError)(
        f"{'the prediction' if predicted else 'the target'} and the contrast are both {label!r}, "
        "which leaves nothing to explain. Name another target or contrast."
    )


def is_several(target: Targets, problem: Problem, outputs: int) -> bool:
    """Return whether the result has an axis of targets.

    It depends on the query and the head, never on the prediction, so that all texts of a model have
    results of the same axes: a multi-label text with one label above the threshold has the axis.
    """
    if target is None:
        return problem is Problem.MULTI_LABEL or (problem is Problem.REGRESSION and outputs > 1)
    return target == "all" if isinstance(target, str) else isinstance(target, Sequence)
