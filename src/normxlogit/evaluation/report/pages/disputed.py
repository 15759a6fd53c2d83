"""A text as several methods mark it, side by side."""

import math
import re
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from normxlogit.evaluation.report.disagreement import Disputed, Floats
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.show import phrases
from normxlogit.show.markup import look

_TOP = 5
_FAINT = 0.04
"""The share of the largest score below which words stay without colour."""


def text_of(found: EvaluationView, methods: Sequence[str], number: int, text: Disputed) -> str:
    """A disputed text: the two methods that agree least, NormXLogit and the best, then the rest."""
    first = [*text.farthest, *(name for name in found.variants if name in methods), methods[0]]
    shown = list(dict.fromkeys(first))[:4]
    rest = [name for name in methods if name not in shown]
    said = f"{text.prediction} " if not found.regression else ""
    amount = f"{text.confidence:.3f}" if found.regression else phrases.percent(text.confidence)
    label = "" if text.label is None else f"; labelled {text.label}"
    more = f"{len(rest)} more method{'s' * (len(rest) > 1)}"
    folded = f"<details><summary>{more}</summary>\n{_grid(rest, text)}</details>\n" if rest else ""
    return (
        f"<section>\n<h3>{number}. Row {text.row}: {_text(said)}{amount}{_text(label)}</h3>\n"
        f'<p class="nx-quiet">Agreement {_signed(text.agreement)}; least between '
        f"{_text(text.farthest[0])} and {_text(text.farthest[1])}, {_signed(text.lowest)}.</p>\n"
        f"{_grid(shown, text)}{folded}</section>\n"
    )


def _grid(names: Sequence[str], text: Disputed) -> str:
    return '<div class="nx-side">\n' + "".join(_one(n, text) for n in names) + "</div>\n"


def _one(name: str, text: Disputed) -> str:
    scores = text.scores[name]
    top = [n for n in np.argsort(-scores, kind="stable")[:_TOP] if not math.isnan(scores[n])]
    words = (_text(phrases.shortened(phrases.one_line(text.units[n]), 24)) for n in top)
    listed = ", ".join(f"<bdi>“{word}”</bdi>" for word in words)
    return (
        f'<div><h4>{breakable(name)}</h4>\n<p class="nx-text" dir="auto">'
        f'{"".join(_marks(text, scores))}</p>\n<p class="nx-quiet">Highest: {listed}</p></div>\n'
    )


def _marks(text: Disputed, scores: Floats) -> Iterator[str]:
    """The text with its units marked; what stands between them is as it is."""
    full = float(np.abs(np.nan_to_num(scores)).max(initial=0.0)) or 1.0
    number, position = 0, 0
    for unit, score in zip(text.units, scores.tolist(), strict=True):
        found = text.texts[number].find(unit, position)
        if found < 0 and number + 1 < len(text.texts):
            later = text.texts[number + 1].find(unit)
            if later >= 0:
                yield _text(text.texts[number][position:]) + "\n"
                number, position, found = number + 1, 0, later
        if found < 0:
            yield " " if position else ""
        else:
            yield _text(text.texts[number][position:found])
            position = found + len(unit)
        share = 0.0 if math.isnan(score) else score / full
        shown = _text(unit)
        yield f"<mark{look(share)}>{shown}</mark>" if abs(share) >= _FAINT else shown
    yield _text(text.texts[number][position:])
    yield from ("\n" + _text(rest) for rest in text.texts[number + 1 :])


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def breakable(name: str) -> str:
    """A method's name, which may go on on the next line where its parts meet."""
    return re.sub("([_:=,])", r"\1<wbr>", _text(name))


def _text(text: str) -> str:
    return escape(phrases.visible(text))
