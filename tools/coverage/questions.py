"""What is asked about the head of each auto mapping, and what the answer should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.helpers.zoo import Padding
from tools.coverage import oracle
from tools.coverage.oracle import Answer, Heads, Question
from tools.coverage.overwriting import Inputs, NotPerTokenError

_TARGET_IDS = (33, 77)
"""Ids asked about for the rows of a batch, beside the predicted ones."""

START, END, SPAN = 0, 1, 2
"""Outputs of question answering."""


@dataclass(frozen=True)
class Exam:
    """How the heads of one mapping are put to the test.

    heads      the oracle
    questions  what to ask about a batch
    answer     what the package should say
    paddings   which batches
    needs_position  whether nothing can be asked without a position
    """

    heads: Callable[[PreTrainedModel, Inputs], Heads]
    questions: Callable[[Heads], list[Question]]
    answer: Callable[[Heads, Question], Answer]
    paddings: tuple[Padding | None, ...] = (None, "right", "left")
    needs_position: bool = False


def _one_question(_heads: Heads) -> list[Question]:
    return [Question()]


def _choices_too(_heads: Heads) -> list[Question]:
    return [Question(), Question({"target": "all"})]


def _about_a_token(heads: Heads) -> list[Question]:
    """Of every row the second token, predicted and as something else."""
    second = heads.tokens[:, heads.sources :].int().argmax(-1) + 1
    other = torch.tensor(_TARGET_IDS[: len(second)]) % heads.own.shape[-1]
    return [
        Question({"position": second}, second),
        Question({"position": second, "target": other}, second),
    ]


def _about_the_next(heads: Heads) -> list[Question]:
    """What follows the last token, and what else might follow the second.

    A model that sees what follows (XLM) is asked as one that fills in.
    """
    if not heads.causal:
        return _about_a_token(heads)
    tokens = heads.tokens[:, heads.sources :]
    last = tokens.shape[1] - 1 - tokens.flip(-1).int().argmax(-1)
    second = tokens.int().argmax(-1) + 1
    other = torch.tensor(_TARGET_IDS[: len(last)])
    return [Question({}, last), Question({"position": second, "target": other}, second)]


def _about_a_span(heads: Heads) -> list[Question]:
    """The likeliest span, and the start of another."""
    likeliest = torch.stack(
        [_best_span(row, tokens) for row, tokens in zip(heads.own, heads.tokens, strict=True)]
    )
    first = heads.tokens.int().argmax(-1)
    other = torch.stack([first + 1, first + 2], 1)
    return [Question({}, likeliest), Question({"position": other, "target": START}, other)]


def _best_span(logits: Tensor, tokens: Tensor) -> Tensor:
    """Start and end of the span with the largest sum, by trying all of them."""
    where = tokens.nonzero().flatten().tolist()
    spans = [(start, end) for start in where for end in where if start <= end]
    return torch.tensor(
        max(spans, key=lambda span: float(logits[span[0], START] + logits[span[1], END]))
    )


def _predicted(heads: Heads, _question: Question) -> Answer:
    rows = torch.arange(len(heads.own))
    reads = heads.reads
    assert reads is not None
    return Answer(
        heads.logits[rows, :, heads.own.argmax(-1)],
        heads.norms,
        heads.tokens,
        heads.own,
        heads.logits,
        reads.int().argmax(-1).masked_fill(reads.sum(-1) > 1, -1),
    )


def _chosen(heads: Heads, question: Question) -> Answer:
    values = heads.logits[..., 0]
    if question.arguments.get("target") == "all":
        return Answer(values, heads.norms, heads.tokens, heads.own, None, None)
    row = (torch.arange(len(heads.own)), heads.own.argmax(-1))
    norms = None if heads.norms is None else heads.norms[row]
    return Answer(values[row], norms, heads.tokens[row], heads.own, None, None)


def _at_position(heads: Heads, question: Question, *, vocabulary: bool = False) -> Answer:
    position = question.position
    assert position is not None
    rows = torch.arange(len(heads.own))
    prediction = heads.own[rows, position]
    target = question.arguments.get("target", prediction.argmax(-1))
    scored = heads.tokens
    if heads.causal:
        places = torch.arange(scored.shape[1]) - heads.sources
        scored = scored & (places <= position[:, None])
    return Answer(
        heads.logits[rows, :, target],
        heads.norms,
        scored,
        prediction,
        None if vocabulary else heads.logits,
        None,
        heads.sources,
    )


def _of_span(heads: Heads, question: Question) -> Answer:
    assert question.position is not None
    start, end = question.position.unbind(-1)
    rows = torch.arange(len(heads.own))
    ends = torch.stack([heads.own[rows, start, START], heads.own[rows, end, END]], -1)
    logits = _with_sum(heads.logits)
    target = question.arguments.get("target", SPAN)
    return Answer(logits[..., target], heads.norms, heads.tokens, _with_sum(ends), logits, None)


def _with_sum(ends: Tensor) -> Tensor:
    return torch.cat([ends, ends.sum(-1, keepdim=True)], -1)


def _logits(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def _span_logits(output: Any) -> Tensor:
    if "start_logits" not in output:
        raise NotPerTokenError(f"its output is {', '.join(output.keys())}, no start and end")
    return torch.stack([output.start_logits, output.end_logits], -1)


_generates = Exam(oracle.language_model, _about_the_next, partial(_at_position, vocabulary=True))
_whole = Exam(oracle.pooled, _one_question, _predicted)
_not_text = Exam(oracle.pooled, _one_question, _predicted, paddings=(None,))

EXAMS: dict[str, Exam] = {
    "sequence-classification": _whole,
    "causal-lm": _generates,
    "masked-lm": Exam(
        oracle.language_model,
        _about_a_token,
        partial(_at_position, vocabulary=True),
        needs_position=True,
    ),
    "token-classification": Exam(
        partial(oracle.token_wise, read=_logits),
        _about_a_token,
        _at_position,
        needs_position=True,
    ),
    "question-answering": Exam(
        partial(oracle.token_wise, read=_span_logits), _about_a_span, _of_span
    ),
    "multiple-choice": Exam(oracle.pooled, _choices_too, _chosen),
    "seq2seq-lm": _generates,
    "image-classification": _not_text,
    "audio-classification": _not_text,
}
"""By the names of `zoo.MAPPINGS`."""
