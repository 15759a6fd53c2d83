"""Plausibility: agreement of scores with known evidence, or with people's rationales.

It measures whether an explanation points to where a reader would look, not whether the model looks
there: report it beside faithfulness, never as a part of it.

Evidence, or a rationale, is a bool per token; below, E is the set of tokens where it is true.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normxlogit.data.option_checks import check_type, whole_number
from normxlogit.errors import InputError, OptionError
from normxlogit.results.text import Attribution
from normxlogit.text.words import Span, checked_span

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def dot_product(scores: ArrayLike, evidence: ArrayLike, normalise: str = "softmax") -> float:
    """sum of p_i over i in E: the share of the scores' mass on the evidence.

    Abbasi et al. 2025, section on evidence alignment: p is softmax(s) for signed scores, such as
    logits and scores derived from them, and s / sum(s) for others. Scores that are zero everywhere
    count as equal.

    Args:
        scores: s, [tokens].
        evidence: E, bool [tokens]; some tokens, but not all.
        normalise: "softmax" or "sum".

    Returns:
        From 0 to 1; |E| / tokens if all scores are equal.

    Raises:
        InputError: lengths differ, no token or every token is evidence, or a score is not finite,
            or negative with "sum".
        OptionError: `normalise` is neither.
    """
    scores, evidence = _checked(scores, evidence)
    if normalise == "softmax":
        mass = np.exp(scores - scores.max())
    elif normalise == "sum":
        if scores.min() < 0:
            raise InputError(
                f"scores below zero ({scores.min():.4g}) are no shares of their sum: "
                "take normalise='softmax'."
            )
        top = scores.max()  # dividing by it keeps the sum of large scores finite
        mass = scores / top if top > 0 else np.ones(len(scores))
    else:
        raise OptionError(f"normalise must be one of softmax, sum; got {normalise!r}.")
    return float(mass[evidence].sum() / mass.sum())


def average_precision(scores: ArrayLike, evidence: ArrayLike) -> float:
    """sum over n of (R_n - R_(n-1)) P_n: average precision.

    R_n and P_n are recall and precision of the tokens whose score is at least the n-th highest
    distinct score. This is the step-wise area under the precision-recall curve, as in Abbasi et al.
    2025 and scikit-learn's `average_precision_score`. Tokens with the same score enter together, so
    their order does not matter; if all are equal the result is |E| / tokens.

    Args, raises: as `dot_product`, but scores may have any sign.
    """
    precision, recall = _curve(*_checked(scores, evidence))
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def auprc(scores: ArrayLike, evidence: ArrayLike) -> float:
    """sum over n of (R_n - R_(n-1)) (P_n + P_(n-1)) / 2, with R_0 = 0 and P_0 = 1.

    The area under the same curve with linear interpolation, which is somewhat optimistic; ERASER
    reports it for scores (DeYoung et al. 2020, section 4).

    Args, raises: as `average_precision`.
    """
    precision, recall = _curve(*_checked(scores, evidence))
    height = precision + np.append(1, precision[:-1])
    return float(np.sum(np.diff(recall, prepend=0) * height) / 2)


def token_f1(scores: ArrayLike, rationale: ArrayLike, top: int) -> float:
    """2 |S & E| / (|S| + |E|), S being the tokens with the `top` highest scores.

    DeYoung et al. 2020, ERASER, section 4. There `top` is the mean length of the data set's
    rationales, as in `agreement`; |E| of the text itself would leak what a method cannot know.
    Among equal scores the first tokens are selected.

    Args:
        scores: [tokens].
        rationale: E, bool [tokens]; some tokens, but not all.
        top: the number of tokens to select, from 1 to all.

    Raises:
        InputError: as in `average_precision`.
        OptionError: `top` is not a whole number from 1 to the number of tokens.
    """
    selected, rationale = _selected(scores, rationale, top)
    return float(2 * (selected & rationale).sum() / (selected.sum() + rationale.sum()))


def iou(scores: ArrayLike, rationale: ArrayLike, top: int) -> float:
    """|S & E| / |S | E|: intersection over union; S, args and errors as in `token_f1`.

    ERASER computes it for spans and counts those above one half. Scores select tokens rather than
    spans, so this is for tokens.
    """
    selected, rationale = _selected(scores, rationale, top)
    return float((selected & rationale).sum() / (selected | rationale).sum())


def rationale_mask(attribution: Attribution, spans: Sequence[Sequence[Span]]) -> Mask:
    """Mark the tokens, or words, of an attribution that lie in spans of its texts.

    A token is in a span if they share a character other than white space. Special tokens are in no
    span; attention sinks, which count as special but are part of the text, may be.

    Args:
        attribution: scores of tokens, words, sentences or lines.
        spans: the spans of each text, each the first character and last + 1.

    Returns:
        bool [tokens].

    Raises:
        InputError: the numbers of texts differ; a span is empty, outside of its text, or holds no
            token, for instance because the text was truncated.
        OptionError: the attribution is of parts that need not be contiguous.
    """
    check_type("an attribution", attribution, Attribution)
    check_type("a rationale", spans, Sequence)
    if attribution.unit not in ("token", "word", "sentence", "line"):
        raise OptionError(
            f"an attribution of {attribution.unit}s has no place for spans. Take that of its "
            "tokens, or its words()."
        )
    if len(spans) != len(attribution.texts):
        raise InputError(
            f"got spans for {len(spans)} texts, and the attribution has {len(attribution.texts)}: "
            "give a list of spans for each text, [] for one without."
        )
    mask = np.zeros(len(attribution), np.bool_)
    for segment, (text, text_spans) in enumerate(zip(attribution.texts, spans, strict=True)):
        visible = np.array([not character.isspace() for character in text], np.bool_)
        tokens = np.flatnonzero(attribution.segments == segment)
        check_type("the spans of a text", text_spans, Sequence)
        for start, end in (checked_span(span, text) for span in text_spans):
            inside = np.zeros(len(text), np.bool_)
            inside[start:end] = visible[start:end]
            held = [i for i in tokens if inside[slice(*attribution.offsets[i])].any()]
            if not held:
                raise InputError(
                    f"span ({start}, {end}) ({text[start:end]!r:.60}) holds no token. If the text "
                    "was truncated, leave out what is not in it."
                )
            mask[held] = True
    return mask


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of explanations with rationales, each metric float64 [texts].

    Attributes:
        token_f1, iou, auprc, average_precision: see the functions of these names.
        top: the number of tokens that `token_f1` and `iou` selected, or all of a shorter text.
    """

    token_f1: Floats
    iou: Floats
    auprc: Floats
    average_precision: Floats
    top: int


def agreement(
    attributions: Iterable[Attribution],
    rationales: Iterable[Sequence[Sequence[Span]]],
    top: int | None = None,
) -> Agreement:
    """Compare explanations with people's rationales, from any data set that has spans.

    Special tokens, attention sinks included, are left out.

    Args:
        attributions: of one target and layer each.
        rationales: one for each attribution, as `rationale_mask` takes it.
        top: the number of tokens to select for `token_f1` and `iou`. None is the rounded mean
            length of these rationales, as in ERASER (DeYoung et al. 2020).

    Raises:
        InputError: there are no texts, or the number of rationales differs; or a text cannot be
            compared, as in `rationale_mask` and `average_precision`. The error names the text.
        OptionError: as in `rationale_mask` and `token_f1`.
    """
    check_type("attributions", attributions, Iterable)
    check_type("rationales", rationales, Iterable)
    top = None if top is None else whole_number("top", top)
    spans, scored = list(rationales), list[tuple[Floats, Mask]]()
    for number, attribution in enumerate(attributions):
        if number == len(spans):
            raise InputError(f"there are {len(spans)} rationales, and more attributions.")
        try:
            mask, kept = rationale_mask(attribution, spans[number]), ~attribution.special
            scored.append(_checked(attribution.only().scores[kept], mask[kept]))
        except InputError as error:
            raise InputError(f"text {number}: {error}") from error
    if not scored or len(scored) < len(spans):
        raise InputError(f"there are {len(scored)} attributions, and {len(spans)} rationales.")
    if top is None:
        top = max(1, round(float(np.mean([mask.sum() for _, mask in scored]))))
    selections = [(scores, mask, min(top, len(scores))) for scores, mask in scored]
    return Agreement(
        token_f1=np.array([token_f1(*selection) for selection in selections]),
        iou=np.array([iou(*selection) for selection in selections]),
        auprc=np.array([auprc(*text) for text in scored]),
        average_precision=np.array([average_precision(*text) for text in scored]),
        top=top,
    )


def _checked(scores: ArrayLike, evidence: ArrayLike) -> tuple[Floats, Mask]:
    """Convert both to arrays, if they can be compared."""
    values, mask = np.asarray(scores, np.float64), np.asarray(evidence)
    if mask.dtype != np.bool_:
        raise InputError(
            f"evidence must be a bool for each token, got {mask.dtype}. If these are the numbers "
            "of tokens, pass np.isin(range(len(scores)), numbers)."
        )
    if values.ndim != 1 or values.shape != mask.shape:
        raise InputError(
            f"scores and evidence must be of the same tokens, [tokens]; got {list(values.shape)} "
            f"and {list(mask.shape)}."
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{(~np.isfinite(values)).sum()} of {len(values)} scores are nan or infinite. Leave "
            "out tokens that have no score, such as special ones."
        )
    if not mask.any() or mask.all():
        raise InputError(
            f"{'every' if mask.any() else 'no'} token of {len(mask)} is evidence, so there is "
            "nothing to tell apart. Leave this text out."
        )
    return values, mask


def _curve(scores: Floats, evidence: Mask) -> tuple[Floats, Floats]:
    """Precision and recall of the tokens down to each distinct score, from the highest."""
    order = np.argsort(-scores, kind="stable")
    # `last` is the place in the order of the last token of each distinct score, where all tokens
    # of that score have entered.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(evidence[order])[last]
    return hits / (last + 1), hits / evidence.sum()


def _selected(scores: ArrayLike, rationale: ArrayLike, top: Any) -> tuple[Mask, Mask]:
    """Select the tokens with the highest scores; return them and the rationale."""
    values, mask = _checked(scores, rationale)
    top = whole_number("top", top, most=len(values))
    selected = np.zeros(len(values), np.bool_)
    selected[np.argsort(-values, kind="stable")[:top]] = True
    return selected, mask
