"""Sentences about an answer and its sources: which one it rests on, how much, or that none leads.

A drop of the log-probability by x nats makes a span exp(x) times less likely; scores without a unit
have an order only.
"""

import math
from collections.abc import Sequence

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import phrases

NATS = "nats"
_KNOWN_BEFORE = 0.5
"""The share that no source explains from which the model would have said the same without any."""

_SAME = 0.95
"""The same from which it would have been as likely."""

_ABOUT = math.log(2)
"""The change in nats, either way, from which on it would not be about as likely."""

_NAME = 40


def message(result: SourceAttribution) -> str:
    """Return the sentence that a picture of an answer leads with; it speaks of the whole answer."""
    if result.unit != NATS or result.threshold is None:
        return _order(result)
    totals = result.total.tolist()
    ordered = sorted(range(len(totals)), key=lambda n: -totals[n])
    named = [name(result, n) for n in ordered if rests_on(result, totals[n])]
    if not named:
        return _of_none(result, totals)
    fall = times(totals[ordered[0]])
    if len(named) == 1:
        return f"Rests on {named[0]}: without it the answer would be {fall}."
    if 2 * totals[ordered[0]] >= sum(total for total in totals if total > 0):
        return f"Rests mostly on {named[0]}: without it the answer would be {fall}."
    return f"Rests on {_listed(named)}: without {named[0]} the answer would be {fall}."


def rests_on(result: SourceAttribution, score: float) -> bool:
    """Return whether a score says that something rests on a source."""
    return score > 0 and (result.threshold is None or score >= result.threshold)


def _of_none(result: SourceAttribution, totals: Sequence[float]) -> str:
    """Say that the answer as a whole rests on no source, though a part of it may."""
    best = result.scores.max(0).tolist()
    ordered = sorted(range(len(best)), key=lambda n: -best[n])
    named = [name(result, n) for n in ordered if rests_on(result, best[n])]
    if named:
        it = "it" if len(named) == 1 else named[0]
        fall = _fall(totals[ordered[0]])
        return (
            f"Only a part of the answer rests on {_listed(named)}: without {it} the whole {fall}."
        )
    kinds, share, most = plural(result), _share(result), max(totals)
    if share >= _KNOWN_BEFORE:
        return f"Rests on none of the {len(totals)} {kinds}: {without_any(share)}."
    fall = "stays about as likely" if max(map(abs, totals)) < _ABOUT else _fall(most, "at most ")
    return (
        f"No {kinds.removesuffix('s')} stands out: without any one of them the answer {fall}, and "
        f"{without_any(share)}; what several say alike counts for none."
    )


def _fall(drop: float, limit: str = "") -> str:
    """Return what a drop that need not be one does to an answer."""
    return f"would be {limit}{times(drop)}" if drop >= _ABOUT else "would not be much less likely"


def _listed(named: Sequence[str]) -> str:
    """Return up to three names, and how many there are more."""
    if len(named) == 1:
        return named[0]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    joint = ", " if more else " and "
    return f"{', '.join(named[:-1][:2])}{joint}{named[min(2, len(named) - 1)]}{more}"


def without_any(share: float) -> str:
    """Return how likely an answer would be without any source."""
    if share >= _SAME:
        return "without any it would be as likely"
    if share >= _KNOWN_BEFORE:
        return f"without any it would be {phrases.percent(share)} as likely"
    return f"without all of them it would be {times(-math.log(max(share, 1e-300)))}"


def times(drop: float) -> str:
    """Return what a drop of the log-probability means, such as "25 times less likely"."""
    if drop <= 0:
        return "no less likely"
    if drop > math.log(1e6):
        return "more than a million times less likely"
    ratio = math.exp(drop)
    if ratio >= 100:  # to two figures
        ratio = round(ratio, 1 - int(math.log10(ratio)))
    return f"{ratio:,.0f} times less likely" if ratio >= 10 else f"{ratio:.1f} times less likely"


def name(result: SourceAttribution, number: int) -> str:
    """Return what a source is called, such as "document 2 (Rivers)"."""
    source = result.sources[number]
    noun = "part" if source.kind == "span" else source.kind
    shown = source.name if source.kind in ("document", "message") else source.text.strip()
    shown = phrases.shortened(phrases.one_line(" ".join(shown.split())), _NAME)
    if source.kind in ("document", "message"):
        return f"{noun} {number + 1} ({shown})" if source.name else f"{noun} {number + 1}"
    return f"{noun} {number + 1} (“{shown}”)"


def plural(result: SourceAttribution) -> str:
    """Return what the sources are, such as "documents"."""
    kinds = {source.kind for source in result.sources}
    kind = kinds.pop() if len(kinds) == 1 else "source"
    return {"span": "parts"}.get(kind, f"{kind}s")


def meaning(result: SourceAttribution) -> str:
    """Return what a score says, in a sentence."""
    if result.unit == NATS:
        return (
            "A score is by how many nats the log-probability of the sentence falls when the source "
            "goes: 0.7 halves its probability, 2.3 leaves a tenth."
        )
    reduce = result.provenance.options.get("reduce", "sum")
    how = {"sum": "the sum", "mean": "the mean", "max": "the largest"}.get(str(reduce), "the sum")
    return (
        f"A score is {how} of the scores of a source's tokens by {result.provenance.method}: it "
        "orders sources, and has no unit."
    )


def is_signed(result: SourceAttribution) -> bool:
    """Return whether signs of scores mean anything, so that a positive one is shown with a plus.

    A drop of the log-probability may be a rise. Other scores, such as attention, have no sign where
    none is below zero.
    """
    scores = [result.scores, *result.sentence_scores.values()]
    return result.unit == NATS or any(bool((part < 0).any()) for part in scores)


def summary(result: SourceAttribution) -> str:
    """Return how the scores were made, and by which model."""
    options = [f"{key}={value}" for key, value in result.provenance.options.items()]
    is_kept = result.cached and result.unit == NATS
    kept = ", their shared beginning computed once" if is_kept else ""
    parts = [
        ", ".join([result.provenance.method, *options]),
        f"{result.passes:,} passes{kept}",
        f"model {phrases.without_folders(result.provenance.model)}",
    ]
    return phrases.visible("; ".join(parts))


def _order(result: SourceAttribution) -> str:
    """Say which source leads, by scores that have an order only."""
    totals = result.total.tolist()
    first, *rest = sorted(range(len(totals)), key=lambda n: -totals[n])
    method = result.provenance.method
    if not rest:
        return f"{name(result, first).capitalize()} is the only source."
    if totals[first] <= 0:
        return f"No {plural(result).removesuffix('s')} speaks for the answer, by {method}."
    return f"By {method} the answer rests most on {name(result, first)}."


def _share(result: SourceAttribution) -> float:
    """Return the share of the whole answer that no source explains."""
    logprob, prior = (
        sum(getattr(span, key) for span in result.spans) for key in ("logprob", "prior")
    )
    return math.exp(min(0.0, prior - logprob))
