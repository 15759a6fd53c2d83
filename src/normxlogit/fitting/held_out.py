"""How good a head is on texts that it was not fitted on, beside other methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from normxlogit.errors import NormXLogitError
from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.metrics.faithfulness import Ranked, drop, erase
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.presets import Corrected
from normxlogit.evaluation.perturb.rankings import descending, rank_units, unit_scores
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.methods.attribution_head.games import READOUTS
from normxlogit.model.targets import Problem
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

HEAD, RANDOM = "attribution_head", "random"
RIVALS = ("normxlogit", "late_lrp")
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The shares of words that are hidden. Nine of them, and several random orders, would cost as many
passes as the fit, for intervals that are hardly narrower."""
EXPLAINING = 3
"""As many passes as the dearest of these methods makes to explain a text."""


def most_passes(samples: Sequence[Sample], problem: Problem) -> int:
    """How many forward passes `measure_faithfulness` makes at most."""
    methods = len(READOUTS[problem]) + len(RIVALS)
    most = 0
    for sample in samples:
        # A word, or all, may be hidden at several shares; all are hidden once for all orders.
        counts = {*Corrected().counts(sample, RATIOS)} - {0, sample.count}
        variants = 2 * len(counts) * (methods + 1) + 1
        most += methods * EXPLAINING + min(variants, (1 << sample.count) - 1)
    return most


def measure_faithfulness(
    explainer: ModelExplainer,
    samples: Sequence[Sample],
    cache: PredictionCache,
    problem: Problem,
    seed: int,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """Comprehensiveness and sufficiency of the head, its rivals and random orders, as plain data.

    DeYoung et al. 2020, by words, with 95% intervals; of a method that does not serve the model,
    why.

    Args:
        explainer: explains with the head.
        samples: the texts, with probabilities (or values) as their output.
        cache: predicts these, with words hidden.
        problem: what the outputs mean; each of the head's readouts for it is measured.
        seed: of the random orders and of the bootstrap.
        show: called with the method that is tried.
    """
    bootstrap, readouts = Bootstrap(len(samples), seed), READOUTS[problem]
    # Of several labels the likeliest is explained, whether it is predicted or not.
    target = "all" if problem is Problem.MULTI_LABEL else None
    figures: dict[str, Any] = {}
    estimates: dict[str, dict[str, Estimate]] = {}
    named = {f"{HEAD} ({r})" if len(readouts) > 1 else HEAD: (HEAD, r) for r in readouts}
    for name, (method, readout) in {**named, **{rival: (rival, None) for rival in RIVALS}}.items():
        show(name)
        try:
            scores = _unit_scores(explainer, samples, method, readout, target)
        except NormXLogitError as error:
            if method == HEAD:
                raise
            figures[name] = {"not_measured": str(error)}
            continue
        estimates[name] = _estimates(cache, samples, scores, bootstrap)
    show(RANDOM)
    drawn = [descending(Corrected().draw(sample, seed, 0)) for sample in samples]
    estimates[RANDOM] = _estimates(cache, samples, drawn, bootstrap)
    best = max(named, key=lambda name: estimates[name]["comprehensiveness"].value)
    for name, metrics in estimates.items():
        figures[name] = {
            metric: {
                **estimate.to_dict(),
                "head_less_this": (estimates[best][metric] - estimate).to_dict(),
            }
            for metric, estimate in metrics.items()
        }
    return {"texts": len(samples), "head": best, "methods": figures}


def verdict(figures: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether to use the head, and why, in one sentence."""
    beside = figures["methods"].get("normxlogit", {})
    less = {metric: beside.get(metric, {}).get("head_less_this") for metric in _BETTER}
    if any(value is None for value in less.values()):
        random = figures["methods"][RANDOM]["comprehensiveness"]["head_less_this"]
        if random["low"] > 0:
            return True, "Use it: it ranks words better than random orders do."
        return False, "Do not use it: it ranks words no better than random orders do."
    ahead = [m for m, sign in _BETTER.items() if sign * less[m]["low" if sign > 0 else "high"] > 0]
    behind = [m for m, sign in _BETTER.items() if sign * less[m]["high" if sign > 0 else "low"] < 0]
    if ahead and not behind:
        metrics = " and ".join(ahead)
        return True, f"Use it: it is ahead of NormXLogit in {metrics} on held-out texts."
    if behind:
        return False, (
            f"Do not use it: it is behind NormXLogit in {' and '.join(behind)} on held-out texts. "
            "Fit it on more texts, or with more masks."
        )
    return False, (
        "Do not use it yet: on held-out texts it is not ahead of NormXLogit by more than chance. "
        "Fit it on more texts, or with more masks."
    )


_BETTER = {"comprehensiveness": 1, "sufficiency": -1}
"""The metrics, and whether more is better."""


def _unit_scores(
    explainer: ModelExplainer,
    samples: Sequence[Sample],
    method: str,
    readout: str | None,
    target: str | None,
) -> list[Any]:
    items = [sample.item for sample in samples]
    results = explainer.explain(items, method=method, readout=readout, target=target)
    scores = []
    for sample, result in zip(samples, results, strict=True):
        if not isinstance(result, Attribution):
            raise result.error
        token_scores = result.scores[sample.target] if "target" in result.axes else result.scores
        scored = np.where(result.special, np.nan, token_scores)
        scores.append(unit_scores(scored, sample.units_in(result.tokens), sample.count))
    return scores


def _estimates(
    cache: PredictionCache,
    samples: Sequence[Sample],
    scores: Sequence[Any],
    bootstrap: Bootstrap,
) -> dict[str, Estimate]:
    """Both metrics, of scores for each text's words, [samples]."""
    preset = Corrected()
    rankings = [
        Ranked(sample, rank_units(of_units), preset.counts(sample, RATIOS))
        for sample, of_units in zip(samples, scores, strict=True)
    ]
    erased = erase(cache, rankings)
    by_metric = {
        "comprehensiveness": [of_text.without_top for of_text in erased],
        "sufficiency": [of_text.top_alone for of_text in erased],
    }
    return {
        metric: bootstrap.mean(
            np.array([drop(s, o).mean() for s, o in zip(samples, outputs, strict=True)])
        )
        for metric, outputs in by_metric.items()
    }
