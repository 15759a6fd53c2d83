"""`normxlogit.attribute` against the oracle, for one random tiny model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import normxlogit
from tests.helpers import zoo
from tools.coverage.oracle import Answer, Heads, Question
from tools.coverage.overwriting import Inputs, NotPerTokenError, OracleUnavailableError
from tools.coverage.questions import EXAMS, Exam

TOLERANCE = 1e-5
"""Largest relative difference that counts as equal: float32 noise is some 1e-7."""

_UNPADDED = 4
"""A position that is no row's padding."""


class Result(IntEnum):
    """How a model type fared, better before worse."""

    EQUAL = 0
    RAISES = 1
    NO_ORACLE = 2
    NOT_BUILT = 3
    COULD_BE_EXPLAINED = 4
    SHOULD_RAISE = 5
    FAILS = 6
    DIFFERS = 7

    @property
    def wrong(self) -> bool:
        return self >= Result.SHOULD_RAISE

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


MEANINGS: dict[Result, str] = {
    Result.EQUAL: "the package says what the oracle says",
    Result.RAISES: "the package refuses, and by the oracle there is no logit or norm per token",
    Result.NO_ORACLE: "nothing to compare with",
    Result.NOT_BUILT: "the model cannot be built or run here",
    Result.COULD_BE_EXPLAINED: "the package raises, and the oracle can explain it",
    Result.SHOULD_RAISE: "the package explains what cannot be explained",
    Result.FAILS: "the package raises something else than it should",
    Result.DIFFERS: "the package says something else than the oracle",
}


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    model_type: str
    class_name: str
    result: Result
    detail: str


@dataclass(frozen=True)
class _Outcome:
    """Of one question.

    difference  relative, the largest of all that was compared
    note        what is special about an equal one, or what is wrong
    """

    result: Result
    difference: float = 0.0
    note: str = ""


def compare(mapping: str, model_type: str) -> Row:
    """The model of `model_type` with the head of `mapping`, over all batches and questions.

    The row is that of what fared worst.
    """
    class_name = zoo.MAPPINGS[mapping].classes[model_type]
    exam = EXAMS[mapping]
    try:
        model = zoo.tiny_model(model_type, mapping=mapping)
        batches = {
            padding: zoo.tiny_inputs(model, padding=padding, mapping=mapping)
            for padding in exam.paddings
        }
        for inputs in batches.values():
            _check_runs(model, inputs)
    except Exception as error:  # whatever transformers or a missing dependency comes up with
        return Row(model_type, class_name, Result.NOT_BUILT, _one_line(error))
    outcomes = {
        padding: max(_examine(model, inputs, exam), key=lambda outcome: outcome.result)
        for padding, inputs in batches.items()
    }
    worst = max(outcome.result for outcome in outcomes.values())
    if worst == Result.EQUAL:
        detail = f"{max(outcome.difference for outcome in outcomes.values()):.0e}"
    else:
        detail = ""
    notes: dict[str, list[str]] = {}
    for padding, outcome in outcomes.items():
        if outcome.result == worst and outcome.note:
            notes.setdefault(outcome.note, []).append(padding or "no")
    for note, paddings in notes.items():
        only = "" if len(paddings) == len(outcomes) else f"{' and '.join(paddings)} padding: "
        detail += f"{'; ' if detail else ''}{only}{note}"
    return Row(model_type, class_name, worst, detail)


@torch.no_grad()
def _check_runs(model: PreTrainedModel, inputs: Inputs) -> None:
    first, second = (model(**inputs, return_dict=True) for _ in range(2))
    names = [name for name in first if name.endswith(("logits", "score"))]
    if not names:
        raise ValueError(f"its output is {', '.join(first)}, no logits")
    for name in names:
        if not first[name].isfinite().all():
            raise ValueError("the random model's logits are not finite")
        if not torch.equal(first[name], second[name]):
            raise ValueError("two forward passes differ")


def _examine(model: PreTrainedModel, inputs: dict[str, Tensor], exam: Exam) -> list[_Outcome]:
    """An outcome for every question about a batch."""
    try:
        heads = exam.heads(model, inputs)
    except OracleUnavailableError as error:
        return [_Outcome(Result.NO_ORACLE, note=_one_line(error))]
    except NotPerTokenError as error:
        return [_refused(model, inputs, exam, error)]
    except Exception as error:  # one model must not end the comparison of the others
        return [_Outcome(Result.NO_ORACLE, note=f"{type(error).__name__}: {_one_line(error)}")]
    return [
        _compare(model, inputs, heads, question, exam.answer(heads, question))
        for question in exam.questions(heads)
    ]


def _refused(
    model: PreTrainedModel, inputs: dict[str, Tensor], exam: Exam, why: Exception
) -> _Outcome:
    """The outcome where there is nothing to explain."""
    try:
        normxlogit.attribute(model, inputs, position=_UNPADDED if exam.needs_position else None)
    except normxlogit.UnsupportedHeadError as error:
        return _Outcome(Result.RAISES, note=f"{_one_line(error)} (oracle: {_one_line(why)})")
    except Exception as error:
        return _Outcome(Result.FAILS, note=f"{type(error).__name__}: {_one_line(error)}")
    return _Outcome(Result.SHOULD_RAISE, note=_one_line(why))


def _compare(
    model: PreTrainedModel,
    inputs: dict[str, Tensor],
    heads: Heads,
    question: Question,
    answer: Answer,
) -> _Outcome:
    arguments: dict[str, Any] = {"readout": "logit", **question.arguments}
    note = ""
    try:
        try:
            ours = normxlogit.attribute(model, inputs, **arguments)
        except normxlogit.UnsupportedHeadError:
            if answer.norms is not None:
                raise
            note = "norm undefined, logat"
            ours = normxlogit.attribute(model, inputs, method="logat", **arguments)
    except normxlogit.UnsupportedHeadError as error:
        return _Outcome(Result.COULD_BE_EXPLAINED, note=_one_line(error))
    except normxlogit.InputError as error:
        if heads.reads is not None and not (heads.reads & heads.tokens).any(-1).all():
            return _Outcome(Result.EQUAL, note="refused, its head would read padding")
        return _Outcome(Result.FAILS, note=f"InputError: {_one_line(error)}")
    except Exception as error:
        return _Outcome(Result.FAILS, note=f"{type(error).__name__}: {_one_line(error)}")
    if answer.norms is None and not note:
        return _Outcome(Result.SHOULD_RAISE, note="x^0 has other positions than x^L")
    wrong = _different_places(ours, answer)
    if wrong:
        return _Outcome(Result.DIFFERS, note=wrong)
    differences = _differences(ours, heads, answer)
    wrong = ", ".join(
        f"{name} by {value:.0e}" for name, value in differences.items() if not value <= TOLERANCE
    )
    if wrong:
        return _Outcome(Result.DIFFERS, note=wrong)
    return _Outcome(Result.EQUAL, max(differences.values()), note)


def _different_places(ours: normxlogit.TensorAttribution, answer: Answer) -> str:
    """What stands elsewhere than it should; empty if nothing does."""
    if not torch.equal(ours.scores.isnan(), ~answer.scored):
        return (
            f"scores {list(ours.scores.shape)} are nan elsewhere than outside of the "
            f"{int(answer.scored.sum())} positions of {list(answer.scored.shape)}"
        )
    if ours.sources != answer.sources:
        return f"{ours.sources} sources, expected {answer.sources}"
    expected = answer.read_position
    if expected is not None and (
        ours.read_position is None or not torch.equal(ours.read_position, expected)
    ):
        return f"read position {ours.read_position}, expected {expected.tolist()}"
    return ""


def _differences(
    ours: normxlogit.TensorAttribution, heads: Heads, answer: Answer
) -> dict[str, float]:
    scored = answer.scored
    differences = {
        "prediction": _relative_difference(ours.prediction, answer.prediction),
        "values": _relative_difference(ours.values, answer.values, scored),
    }
    if answer.logits is not None:
        differences["logits"] = _relative_difference(ours.logits, answer.logits, scored)
    if answer.norms is None or heads.norms is None:
        differences["scores"] = _relative_difference(ours.scores, answer.values, scored)
    else:
        of_choices = heads.norms.dim() > 2  # all of them, whichever is explained
        where = heads.tokens if of_choices else scored
        differences["norms"] = _relative_difference(ours.norms, heads.norms, where)
        expected = answer.norms * answer.values
        differences["scores"] = _relative_difference(ours.scores, expected, scored)
    return differences


def _relative_difference(
    ours: Tensor | None, expected: Tensor, where: Tensor | None = None
) -> float:
    """Largest difference over largest value; infinite where there is none or the shapes differ."""
    if ours is None or ours.shape != expected.shape:
        return float("inf")
    if where is not None:
        ours, expected = ours[where], expected[where]
    return float((ours - expected).abs().max() / expected.abs().max())


def _one_line(error: Exception, length: int = 240) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[: length - 3]}..."
