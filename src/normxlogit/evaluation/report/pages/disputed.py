"""A text as several methods mark it, side by side."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from normxlogit.evaluation.report.disputed_texts import Disputed, Floats
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.show import phrases
from normxlogit.show.templating import fill

_TOP = 5
_FAINT = 0.04
"""The share of the largest score below which words stay without colour."""


@dataclass(frozen=True)
class MarkedPiece:
    """A piece of a text, and its score as a share of the largest; None if it is not coloured."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class MethodView:
    """A text as a method marks it.

    Attributes:
        method: the name of the method.
        pieces: the text.
        highest: the words with the highest scores.
    """

    method: str
    pieces: list[MarkedPiece]
    highest: list[str]


def disputed_text(
    findings: EvaluationView, methods: Sequence[str], number: int, text: Disputed
) -> Markup:
    """Return the HTML of a disputed text.

    The two methods that agree least, NormXLogit and the best stand first, the rest is folded.
    """
    first = [*text.farthest, *(name for name in findings.variants if name in methods), methods[0]]
    shown = list(dict.fromkeys(first))[:4]
    values = {
        "number": number,
        "text": text,
        "prediction": None if findings.regression else text.prediction,
        "confidence": phrases.decimal(text.confidence)
        if findings.regression
        else phrases.percent(text.confidence),
        "agreement": phrases.decimal(text.agreement, 2),
        "lowest": phrases.decimal(text.lowest, 2),
        "first": [_view(name, text) for name in shown],
        "rest": [_view(name, text) for name in methods if name not in shown],
    }
    return fill("disputed.html", values, __package__)


def _view(method: str, text: Disputed) -> MethodView:
    scores = text.scores[method]
    top = [n for n in np.argsort(-scores, kind="stable")[:_TOP] if not math.isnan(scores[n])]
    highest = [phrases.shortened(phrases.one_line(text.units[n]), 24) for n in top]
    return MethodView(method, list(_pieces(text, scores)), highest)


def _pieces(text: Disputed, scores: Floats) -> Iterator[MarkedPiece]:
    """Cut the text into its units, and what stands between them as it is."""
    largest = float(np.abs(np.nan_to_num(scores)).max(initial=0.0)) or 1.0
    number, position = 0, 0
    for unit, score in zip(text.units, scores.tolist(), strict=True):
        start = text.texts[number].find(unit, position)
        if start < 0 and number + 1 < len(text.texts):
            later = text.texts[number + 1].find(unit)
            if later >= 0:
                yield MarkedPiece(text.texts[number][position:] + "\n")
                number, position, start = number + 1, 0, later
        if start < 0:
            yield MarkedPiece(" " if position else "")
        else:
            yield MarkedPiece(text.texts[number][position:start])
            position = start + len(unit)
        share = 0.0 if math.isnan(score) else score / largest
        yield MarkedPiece(unit, share if abs(share) >= _FAINT else None)
    yield MarkedPiece(text.texts[number][position:])
    yield from (MarkedPiece("\n" + rest) for rest in text.texts[number + 1 :])
