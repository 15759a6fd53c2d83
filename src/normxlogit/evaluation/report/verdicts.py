"""Whether two methods differ, and which are no better than random order."""

from collections.abc import Mapping

from normxlogit.evaluation.metrics.bootstrap import Estimate
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from normxlogit.evaluation.report.view import MAIN, EvaluationView

VsRandom = Mapping[tuple[str, str], str]
"""By method and metric: "same" if indistinguishable from random order, or "worse"."""


def compare_with_random(view: EvaluationView, paired: PairedBootstrap) -> VsRandom:
    """Find the methods not shown to be better than random order, if that was measured."""
    if view.random is None:
        return {}
    outcomes = {}
    for metric in (metric for metric in MAIN if metric in view.metrics):
        for name in view.ranking(metric):
            difference = paired.difference(metric, name, view.random)
            if name == view.random or difference is None:
                continue
            outcome = verdict(view, metric, difference)
            if outcome != "better":
                outcomes[name, metric] = outcome
    return outcomes


def verdict(view: EvaluationView, metric: str, difference: Estimate) -> str:
    """Judge a method by its difference from another: "better", "same" or "worse".

    They differ if the interval of their paired difference excludes zero.
    """
    if not difference.differs_from_zero:
        return "same"
    return "better" if view.is_gain(metric, difference.value) else "worse"
