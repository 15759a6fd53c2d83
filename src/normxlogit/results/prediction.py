"""What a model predicts: its outputs, and those of them that count as predicted."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.plain import Plain

PROBLEMS = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
    "multiple_choice",
    "span",
    "token",
)
"""What the outputs of a model may mean, see `Prediction`."""


@dataclass(frozen=True)
class Target:
    """An output of the model.

    Attributes:
        label: its name.
        id: its number.
        logit: the output of the head; for a regression the value itself.
        probability: by softmax, or by sigmoid if several labels may hold; None for a regression.
        position: the token at which it is read, if the head has outputs for every token: for a
            causal language model the token before the predicted one; for an answer its first.
    """

    label: str
    id: int
    logit: float
    probability: float | None
    position: int | None = None

    @property
    def value(self) -> float:
        """The probability; for a regression the value."""
        return self.logit if self.probability is None else self.probability

    def __str__(self) -> str:
        return f"{self.label} {self.value:.3f}"


@dataclass(frozen=True)
class Prediction:
    """The prediction of the model.

    Attributes:
        problem: the kind of outputs: "single_label_classification", "multi_label_classification",
            "regression", "multiple_choice", "span" (an answer in a text) or "token".
        predicted: the outputs that count as predicted: the largest; with several labels those over
            the threshold (there may be none); every value of a regression; the tag of every word in
            token classification; every token of generated text.
        outputs: the candidates at one position in the order of their ids: all of them, or from a
            vocabulary the most probable and the requested ones. Empty if several positions are
            read.
    """

    problem: str
    predicted: tuple[Target, ...]
    outputs: tuple[Target, ...]

    @property
    def top(self) -> Target:
        """The output with the largest logit."""
        return max(self.outputs or self.predicted, key=lambda output: output.logit)

    @property
    def label(self) -> str:
        """The label of `top`."""
        return self.top.label

    @property
    def id(self) -> int:
        """The id of `top`."""
        return self.top.id

    @property
    def probability(self) -> float | None:
        """The probability of `top`, the model's confidence; None for a regression."""
        return self.top.probability

    def __str__(self) -> str:
        return ", ".join(map(str, self.predicted)) or "no label"


def named_prediction(
    logits: NDArray[np.floating],
    probabilities: NDArray[np.float32],
    problem: str,
    labels: Sequence[str],
    threshold: float,
) -> Prediction:
    """Return a model's own output for an input, by name.

    Args:
        logits: the outputs, [outputs].
        probabilities: of these, float32 [outputs]; of a regression they count for nothing.
        problem: what the outputs mean, one of `PROBLEMS`.
        labels: their names.
        threshold: the probability above which one of several labels counts as predicted.
    """
    is_regression = problem == "regression"
    outputs = tuple(
        Target(label, number, logit, None if is_regression else probability)
        for number, (label, logit, probability) in enumerate(
            zip(labels, logits.tolist(), probabilities.tolist(), strict=True)
        )
    )
    if problem == "multi_label_classification":
        predicted = np.flatnonzero(probabilities > np.float32(threshold)).tolist()
    elif is_regression:
        predicted = list(range(len(outputs)))
    else:
        predicted = [int(logits.argmax())]
    return Prediction(problem, tuple(outputs[number] for number in predicted), outputs)


def read_targets(items: Sequence[Plain], count: int) -> tuple[Target, ...]:
    """Read what `asdict` made of outputs for an input of `count` positions.

    Raises:
        InputError: it is something else.
    """
    return tuple(_read_target(item, count) for item in items)


def _read_target(item: Plain, count: int) -> Target:
    item.has_only(_TARGET)
    label, number, logit, probability, position = (item.get(name) for name in _TARGET)
    return Target(
        label=label.text(),
        id=number.integer(),
        logit=logit.number(),
        # Rounding may put it a little above 1.
        probability=probability.optional(lambda value: value.number(0.0, 1.001)),
        position=position.optional(lambda value: value.integer(0, count - 1)),
    )


def read_prediction(item: Plain, count: int) -> Prediction:
    """Read what `asdict` made of a prediction; arguments and errors as `read_targets`."""
    item.has_only(_PREDICTION)
    problem, predicted, outputs = (item.get(name) for name in _PREDICTION)
    item.require(predicted.items() or outputs.items(), "a prediction with an output at least")
    return Prediction(
        problem=problem.choice(PROBLEMS),
        predicted=read_targets(predicted.items(), count),
        outputs=read_targets(outputs.items(), count),
    )


_TARGET = tuple(field.name for field in fields(Target))
_PREDICTION = tuple(field.name for field in fields(Prediction))


def with_positions(targets: Sequence[Target], places: NDArray[np.intp]) -> tuple[Target, ...]:
    """Return the targets with the new positions of their tokens; None for -1, and past the end."""

    def placed(target: Target) -> Target:
        if target.position is None:
            return target
        position = int(places[target.position]) if target.position < len(places) else -1
        return replace(target, position=None if position < 0 else position)

    return tuple(map(placed, targets))
