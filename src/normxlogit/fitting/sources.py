"""Weights of a model's attention heads, and thresholds, from questions whose sources are known."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.location import local_path
from normxlogit.data.option_checks import flag, whole_number
from normxlogit.data.progress import Meter
from normxlogit.errors import InputError, NormXLogitError, UnsupportedHeadError
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.sources.answers import GENERATION, Answered, answer_questions
from normxlogit.evaluation.sources.questions import GoldQuestion, identity, read_questions
from normxlogit.evaluation.sources.synthetic import make_questions
from normxlogit.evaluation.sources.thresholds import choose_threshold
from normxlogit.extras import versions
from normxlogit.fitting.head_weights import MATTERS, effects, fit_heads
from normxlogit.sources.attention import attention_of_heads
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.sources.weights import SourceWeights
from normxlogit.tasks.digest import digest
from normxlogit.tasks.fingerprint import model_fingerprint

Floats = NDArray[np.float64]

LEAST = 12
"""The fewest questions that a fit takes."""
_HELD_OUT = 3
"""Of so many questions one is held out from the fit of heads, and thresholds are chosen on it."""
_TOGETHER = 8
"""How many questions are answered together."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """What is known of a question.

    Attributes:
        gold: the numbers of the documents that the answer comes from.
        attention: what each head pays to each document, [documents, layers, heads].
        drops: how far the log-probability falls without each document, [documents].
    """

    gold: tuple[int, ...]
    attention: Floats
    drops: Floats


def fit_sources(
    explainer: SourceExplainer,
    source: str | Path | None = None,
    output: str | Path | None = None,
    *,
    questions: int = 240,
    seed: int = 0,
    progress: bool = False,
) -> SourceWeights:
    """Fit weights of heads to what leaving documents out changes, and choose thresholds.

    Of three questions one is held out from the fit of the weights; thresholds are chosen on these.

    Args:
        explainer: of a causal language model.
        source: a file of questions, see `read_questions`; None for the part of the synthetic set
            that is there to fit.
        output: the file to write; None to write none.
        questions: how many are asked, of the synthetic set or at most of the file.
        seed: of the synthetic set and the bootstrap.
        progress: show progress on standard error.

    Raises:
        InputError: the questions cannot be read, too few can be asked, or none has a gold source;
            the file cannot be written.
        OptionError: an option is out of range.
        ModelError: the model does not generate text.
        UnsupportedHeadError: the model does not give the weights of its attention.
    """
    count = whole_number("questions", questions, least=LEAST)
    seed = whole_number("seed", seed, least=0)
    is_shown = flag("progress", progress)
    file = None if output is None else local_path(output, what="weights are written to a file")
    if source is None:
        asked = make_questions(count, seed, "fit")
        data: dict[str, Any] = {"synthetic": "fit", "seed": seed}
    else:
        asked, data = read_questions(source, count), identity(source)
    if is_shown:
        passes = sum(len(question.documents) + 2 for question in asked)
        print(f"{len(asked):,} answers and {passes:,} forward passes.", file=sys.stderr)
    measured, failed = _measure(explainer, asked, is_shown)
    if len(measured) < LEAST:
        why = f" The first that failed: {failed[0]}" if failed else ""
        raise InputError(
            f"{len(measured)} questions could be asked, and a fit takes {LEAST} or more.{why}"
        )
    held_out = measured[_HELD_OUT - 1 :: _HELD_OUT]
    rest = [one for n, one in enumerate(measured) if n % _HELD_OUT != _HELD_OUT - 1]
    fitted = fit_heads(
        [one.attention.reshape(len(one.drops), -1) for one in rest],
        [effects(one.drops) for one in rest],
    )
    heads = fitted.weights.reshape(measured[0].attention.shape[1:]).astype(np.float32)
    scores = {
        "leave_one_out": [one.drops for one in held_out],
        "attention": [np.einsum("plh,lh->p", one.attention, heads) for one in held_out],
    }
    gold = [one.gold for one in held_out]
    chosen = {name: choose_threshold(of, gold) for name, of in scores.items()}
    fingerprint = {
        **model_fingerprint(explainer),
        "weights": digest(explainer.model, explainer.tokenizer, of_any_dtype=True),
    }
    weights = SourceWeights(
        heads=heads,
        thresholds={name: threshold.value for name, threshold in chosen.items()},
        model=fingerprint,
        settings={
            "questions": count,
            "seed": seed,
            "penalty": fitted.penalty,
            "generation": GENERATION,
        },
        data={**data, "questions": len(measured), "failed": len(failed)},
        held_out={
            "questions": len(held_out),
            "agreement": _agreement(held_out, scores["attention"]),
            "methods": {
                name: {
                    "top1": _top1(of, gold, seed),
                    "precision": chosen[name].precision,
                    "recall": chosen[name].recall,
                }
                for name, of in scores.items()
            },
        },
        versions=versions(),
    )
    if file is not None:
        weights.save(file)
    return weights


def _measure(
    explainer: SourceExplainer, questions: Sequence[GoldQuestion], progress: bool
) -> tuple[list[_Measured], list[str]]:
    """Measure every question that can be asked; of the others, why not."""
    measured, failed = list[_Measured](), list[str]()
    with Meter(len(questions), 0, 0, shown=progress) as meter:
        for start in range(0, len(questions), _TOGETHER):
            together = questions[start : start + _TOGETHER]
            for number, answered in enumerate(answer_questions(explainer, together), start + 1):
                try:
                    measured.append(_measured(answered))
                except UnsupportedHeadError:
                    raise
                except NormXLogitError as error:
                    failed.append(str(error))
                meter.show(number, 0)
    return measured, failed


def _measured(answered: Answered | NormXLogitError) -> _Measured:
    if isinstance(answered, NormXLogitError):
        raise answered
    paid = attention_of_heads(answered.case, answered.case.sources)[0]  # [layers, heads, documents]
    return _Measured(
        answered.question.gold, paid.transpose(2, 0, 1).astype(np.float64), answered.drops()
    )


def _agreement(measured: Sequence[_Measured], scores: Sequence[Floats]) -> float | None:
    """How often the leading document is that of leaving out, among answers that rest on one."""
    resting = [n for n, one in enumerate(measured) if effects(one.drops).max() >= MATTERS]
    if not resting:
        return None
    return float(np.mean([scores[n].argmax() == measured[n].drops.argmax() for n in resting]))


def _top1(scores: Sequence[Floats], gold: Sequence[Sequence[int]], seed: int) -> dict[str, float]:
    hits = [float(of.argmax() in right) for of, right in zip(scores, gold, strict=True) if right]
    return Bootstrap(len(hits), seed).mean(np.array(hits)).to_dict()
