"""Whether methods rank better than a random order does."""

from collections.abc import Mapping

from normxlogit.evaluation.metrics.bootstrap import Estimate
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from normxlogit.evaluation.report.view import MAIN, EvaluationView

VsRandom = Mapping[tuple[str, str], str]
"""Of a method's name and a metric: "same" if it is not told apart from random order, or "worse"."""


def compare_with_random(found: EvaluationView, paired: PairedBootstrap) -> VsRandom:
    """The methods that are not shown to be better than random order, if that was measured."""
    if found.random is None:
        return {}
    placed = {}
    for metric in (metric for metric in MAIN if metric in found.metrics):
        for name in found.ranking(metric):
            difference = paired.difference(metric, name, found.random)
            if name == found.random or difference is None:
                continue
            place = gain(found, metric, difference)
            if place != "better":
                placed[name, metric] = place
    return placed


def gain(found: EvaluationView, metric: str, difference: Estimate) -> str:
    """What the difference of one method to another says of the one: "better", "same", "worse"."""
    if not difference.differs_from_zero:
        return "same"
    return "better" if found.is_gain(metric, difference.value) else "worse"
