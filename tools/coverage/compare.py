"""`normxlogit.attribute` against the oracle, for one random tiny model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor
from transformers import PreTrainedModel

import normxlogit
from tools.coverage import oracle, zoo

TOLERANCE = 1e-5
"""Largest relative difference that counts as equal: float32 noise is some 1e-7."""

READS_PADDING = "reads padding"
"""Stands for the difference where the head reads padding alone, so that inputs must be refused."""

PADDINGS: tuple[zoo.Padding | None, ...] = (None, "right", "left")


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


def compare(model_type: str) -> Row:
    """The sequence classifier of `model_type`, without padding and with it on either side.

    The row is that of the padding that fared worst.
    """
    class_name = zoo.SEQUENCE_CLASSIFIERS[model_type]
    try:
        model = zoo.tiny_model(model_type)
        for padding in PADDINGS:
            _check_runs(model, zoo.tiny_inputs(model, padding=padding))
    except Exception as error:  # whatever transformers or a missing dependency comes up with
        return Row(model_type, class_name, Result.NOT_BUILT, _one_line(error))
    outcomes = [_compare(model, zoo.tiny_inputs(model, padding=padding)) for padding in PADDINGS]
    worst = max(result for result, _ in outcomes)
    if worst == Result.EQUAL:
        differences = [
            float(difference) for _, difference in outcomes if difference != READS_PADDING
        ]
        refused = [
            f"{padding} padding refused, its head would read it"
            for padding, (_, detail) in zip(PADDINGS, outcomes, strict=True)
            if detail == READS_PADDING
        ]
        detail = "; ".join([f"{max(differences):.0e}", *refused])
    else:
        found = {
            str(padding or "no"): text
            for padding, (result, text) in zip(PADDINGS, outcomes, strict=True)
            if result == worst
        }
        detail = next(iter(found.values()))
        if len(found) < len(PADDINGS):
            detail = f"{' and '.join(found)} padding: {detail}"
    return Row(model_type, class_name, worst, detail)


@torch.no_grad()
def _check_runs(model: PreTrainedModel, inputs: oracle.Inputs) -> None:
    first, second = model(**inputs).logits, model(**inputs).logits
    if not first.isfinite().all():
        raise ValueError("the random model's logits are not finite")
    if not torch.equal(first, second):
        raise ValueError("two forward passes differ")


def _compare(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Result, str]:
    """The result and its detail, which for EQUAL is the relative difference."""
    refusal: Exception | None = None
    no_answer: Exception | None = None
    try:
        ours = normxlogit.attribute(model, inputs, readout="logit")
    except (normxlogit.UnsupportedHeadError, normxlogit.InputError) as error:
        refusal = error
    except Exception as error:
        return Result.FAILS, f"{type(error).__name__}: {_one_line(error)}"
    try:
        found = oracle.logits_by_overwriting(model, inputs)
        norms = oracle.norms(model, inputs)
    except oracle.OracleUnavailableError as error:
        return Result.NO_ORACLE, _one_line(error)
    except oracle.NotPerTokenError as error:
        no_answer = error

    tokens = oracle.scored_positions(inputs)
    if isinstance(refusal, normxlogit.InputError):
        if no_answer is None and not _reads_tokens(found, tokens):
            return Result.EQUAL, READS_PADDING
        return Result.FAILS, _one_line(refusal)
    if refusal and no_answer:
        return Result.RAISES, f"{_one_line(refusal)} (oracle: {_one_line(no_answer)})"
    if refusal:
        return Result.COULD_BE_EXPLAINED, _one_line(refusal)
    if no_answer:
        return Result.SHOULD_RAISE, _one_line(no_answer)
    scores = oracle.expected_attribution(model, inputs, found=found)
    if not torch.equal(ours.scores.isnan(), ~tokens):
        return Result.DIFFERS, "nan elsewhere than at padding"
    if ours.read_position is None or not torch.equal(ours.read_position, found.read_position):
        expected = found.read_position.tolist()
        return Result.DIFFERS, f"read position {ours.read_position}, expected {expected}"
    differences = {
        "prediction": _relative_difference(ours.prediction, found.prediction_logits),
        "logits": _relative_difference(ours.logits, found.logits, tokens),
        "norms": _relative_difference(ours.norms, norms, tokens),
        "scores": _relative_difference(ours.scores, scores, tokens),
    }
    wrong = {name: value for name, value in differences.items() if not value <= TOLERANCE}
    if wrong:
        return Result.DIFFERS, ", ".join(f"{name} by {value:.0e}" for name, value in wrong.items())
    return Result.EQUAL, str(max(differences.values()))


def _reads_tokens(found: oracle.OracleResult, tokens: Tensor) -> bool:
    """Whether in every row one of the positions that the head reads holds a token."""
    return bool((found.reads & tokens).any(-1).all())


def _relative_difference(
    ours: Tensor | None, expected: Tensor, tokens: Tensor | None = None
) -> float:
    """Largest difference over largest value; infinite where there is none or the shapes differ."""
    if ours is None or ours.shape != expected.shape:
        return float("inf")
    if tokens is not None:
        ours, expected = ours[tokens], expected[tokens]
    return float((ours - expected).abs().max() / expected.abs().max())


def _one_line(error: Exception, length: int = 240) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[: length - 3]}..."
