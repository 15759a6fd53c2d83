"""Made-up results of evaluations, as reports are written of."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.records import records_table
from normxlogit.methods import METHODS

Data = dict[str, Any]
Array = NDArray[np.float64]
RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
DRAWS = 5

METRICS: dict[str, Data] = {
    "comprehensiveness": {
        "about": "what the model loses of its confidence with the words ranked highest hidden",
        "higher_is_better": True,
        "by_ratio": True,
    },
    "sufficiency": {
        "about": "what the model loses of its confidence with all but those hidden",
        "higher_is_better": False,
        "by_ratio": True,
    },
}

ACCURACY_METRICS: dict[str, Data] = {
    "comprehensiveness_accuracy": {
        "about": "how often the model is right with the words ranked highest hidden",
        "higher_is_better": False,
        "by_ratio": True,
    },
    "sufficiency_accuracy": {
        "about": "how often the model is right with all but those hidden",
        "higher_is_better": True,
        "by_ratio": True,
    },
}

FURTHER_METRICS: dict[str, Data] = {
    name: {"about": f"a figure called {name}", "higher_is_better": higher, "by_ratio": False}
    for name, higher in (
        ("deletion", False),
        ("insertion", True),
        ("naopc_comprehensiveness", True),
        ("naopc_sufficiency", False),
        ("loo_tau", True),
    )
}

STRENGTH = {
    "occlusion": (0.42, 52.0),
    "integrated_gradients": (0.40, 48.3),
    "decompx": (0.415, 70.4),
    "normxlogit": (0.33, 1.28),
    "logat": (0.31, 1.3),
    "norm": (0.19, 0.98),
    "progressive_inference": (0.28, 1.15),
    "random": (0.15, 1.02),
    "position": (0.14, 1.06),
    "frequency": (0.18, 1.18),
    "attention": (0.22, 2.25),
    "attention_rollout": (0.16, 2.46),
    "value_zeroing": (0.29, 26.8),
    "alti": (0.30, 7.47),
    "globenc": (0.27, 4.16),
    "gradient_norm": (0.21, 3.9),
    "gradient_x_input": (0.24, 3.7),
}
"""The true comprehensiveness and cost of made-up results of each method."""

TEXT = "a great movie with poor performers and the soup was cold but I loved every minute of it"
"""Made-up texts are of its words."""


def random_evaluation(
    names: Sequence[str] = tuple(STRENGTH),
    *,
    examples: int = 120,
    regression: bool = False,
    labelled: bool = True,
    further: bool = False,
    text: str | None = None,
    pairs: bool = False,
    failed: Mapping[str, str] | None = None,
    strength: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[Data, pa.Table]:
    """Made-up results, and the rows that they are of.

    Args:
        names: of methods. One may have a layer, "normxlogit:layer=2", and then scores the higher
            the deeper.
        examples: how many texts there are.
        regression: whether the model gives a value rather than one of two classes.
        labelled: whether texts have labels.
        further: whether there are the metrics beside comprehensiveness and sufficiency.
        text: every text, in place of random words.
        pairs: whether every text is a pair, of the same text twice.
        failed: why other methods failed, by name.
        strength: the true comprehensiveness of methods, in place of that in `STRENGTH`.
        seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    metrics = dict(METRICS)
    if labelled:
        kind = "pearson" if regression else "accuracy"
        metrics |= {n.replace("accuracy", kind): about for n, about in ACCURACY_METRICS.items()}
    metrics |= FURTHER_METRICS if further else {}
    texts = [
        " ".join(rng.choice(TEXT.split(), rng.integers(4, 25))) if text is None else text
        for _ in range(examples)
    ]
    ease = rng.normal(0, 0.08, examples)
    drops: dict[str, dict[str, Array]] = {}
    records: list[Data] = []
    for name in names:
        method, _, layer = name.partition(":layer=")
        base = (strength or {}).get(name, STRENGTH[method][0] + 0.02 * int(layer or 0))
        drops[name] = _random_drops(rng, base, ease, DRAWS if method == "random" else 1)
        records += _random_records(rng, name, drops[name], texts, pairs=pairs, labelled=labelled)
    order = rng.permutation(len(records))
    values = {name: _values_per_text(rng, drops[name], metrics) for name in names}
    results = {
        "schema": "normxlogit/evaluation/1",
        "settings": _settings(names),
        "versions": {"normxlogit": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "problem": "regression" if regression else "single_label_classification",
        "labels": ["LABEL_0"] if regression else ["NEGATIVE", "POSITIVE"],
        "examples": _example_counts(examples, regression=regression, labelled=labelled),
        "forwards": {"asked": 90000, "run": 70000, "tokens": 2000000},
        "metrics": metrics,
        "methods": _method_results(names, metrics, values, drops),
        "failed": dict(failed or {}),
        "notes": [] if labelled else ["no example has a label."],
    }
    return results, records_table([records[n] for n in order])


def _random_drops(
    rng: np.random.Generator, base: float, ease: Array, draws: int
) -> dict[str, Array]:
    """Drops of confidence by metric, [examples, draws, ratios].

    Args:
        rng: the source of noise.
        base: the mean comprehensiveness.
        ease: what is added to every drop of an example, [examples].
        draws: how many orders of a method there are.
    """
    shares = np.array(RATIOS)

    def noise() -> Array:
        return ease[:, None, None] + rng.normal(0, 0.09, (len(ease), draws, len(RATIOS)))

    return {
        "comprehensiveness": base * (0.4 + 1.2 * shares) + noise(),
        "sufficiency": (0.55 - base) * (1.6 - 1.2 * shares) + noise(),
    }


def _random_records(
    rng: np.random.Generator,
    name: str,
    drops: dict[str, Array],
    texts: list[str],
    *,
    pairs: bool,
    labelled: bool,
) -> list[Data]:
    """A record of each text and draw of a method, with random scores of its words."""
    records = []
    draws = drops["comprehensiveness"].shape[1]
    for row, draw in itertools.product(range(len(texts)), range(draws)):
        units = texts[row].split() * (2 if pairs else 1)
        scores = rng.normal(0.3, 1, len(units))
        records.append(
            {
                "row": row,
                "text": texts[row],
                "pair": texts[row] if pairs else None,
                "label": "POSITIVE" if labelled else None,
                "prediction": "NEGATIVE",
                "confidence": 0.87,
                "method": name,
                "draw": draw,
                "units": units,
                "scores": [math.nan, *scores[1:]],
                "comprehensiveness": drops["comprehensiveness"][row, draw].tolist(),
                "comprehensiveness_said": [0.0] * len(RATIOS),
                "sufficiency": drops["sufficiency"][row, draw].tolist(),
                "sufficiency_said": [0.0] * len(RATIOS),
            }
        )
    return records


def _values_per_text(
    rng: np.random.Generator, drops: dict[str, Array], metrics: Mapping[str, Data]
) -> dict[str, Array]:
    """Each metric of each text, [examples]: means of drops, and of other metrics 0 or 1."""
    values = {metric: drop.mean((1, 2)) for metric, drop in drops.items()}
    chances = 0.3 + values["comprehensiveness"]
    for metric in (m for m in metrics if m not in METRICS):
        values[metric] = (rng.random(len(chances)) < chances).astype(float)
    return values


def _method_results(
    names: Sequence[str],
    metrics: Mapping[str, Data],
    values: dict[str, dict[str, Array]],
    drops: dict[str, dict[str, Array]],
) -> dict[str, Data]:
    """What results have of each method: its figures, their intervals, and those beside the best."""
    best = {}
    for metric, about in metrics.items():
        sign = 1 if about["higher_is_better"] else -1
        ranked = [name for name in names if name != "random"] or names
        best[metric] = max(ranked, key=lambda name: sign * values[name][metric].mean())
    methods = {}
    for name in names:
        method = METHODS[name.partition(":")[0]]
        figures = {}
        for metric, about in metrics.items():
            repeated = np.tile(values[name][metric][:, None, None], (1, 1, len(RATIOS)))
            by_ratio = drops[name].get(metric, repeated).mean((0, 1)).tolist()
            figures[metric] = {
                **_figure(metric, name, best[metric], values),
                "by_ratio": by_ratio if about["by_ratio"] else None,
            }
        methods[name] = {
            "method": method.name,
            "family": method.family,
            "cost": method.cost,
            "source": method.source,
            "draws": DRAWS if method.name == "random" else 1,
            "figures": figures,
        }
    return methods


def _figure(metric: str, name: str, best: str, values: dict[str, dict[str, Array]]) -> Data:
    """A method's mean over texts, and how far it is from that of the best method."""
    per_text = values[name][metric]
    bootstrap = Bootstrap(len(per_text), 0)
    gap = bootstrap.mean(per_text - values[best][metric])
    beside_best = {"best": best, **_interval_fields(gap), "differs": gap.differs_from_zero}
    return {
        **_interval_fields(bootstrap.mean(per_text)),
        "examples": len(per_text) - 2 if metric == "loo_tau" else len(per_text),
        "beside_best": None if name == best else beside_best,
    }


def _interval_fields(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval
    return {"value": estimate.value, "low": low, "high": high}


def _settings(names: Sequence[str]) -> Data:
    candidates: list[Data] = []
    for name in names:
        method, _, layer = name.partition(":layer=")
        candidates.append(
            {
                "name": name,
                "method": method,
                "layer": int(layer) if layer else None,
                "reduction": "sum",
                "readout": None,
                "options": {},
            }
        )
    return {
        "model": {
            "name": "some/model-for-sentiment",
            "revision": "abc123",
            "architecture": "SomeForSequenceClassification",
            "dtype": "float32",
            "sha256": "0123456789abcdef" * 4,
        },
        "data": {"files": [{"name": "reviews.csv", "bytes": 123456, "sha256": "fed" * 21}]},
        "columns": {"text": "review", "pair": None, "label": "stars"},
        "preset": "corrected",
        "unit": "word",
        "operator": "mask",
        "ratios": RATIOS,
        "candidates": candidates,
        "metrics": [],
        "draws": DRAWS,
        "seed": 0,
        "limit": 500,
        "long": "error",
        "max_length": 128,
    }


def _example_counts(examples: int, *, regression: bool, labelled: bool) -> Data:
    quality = {"pearson": 0.81} if regression else {"accuracy": 0.87}
    half = examples // 2
    has_classes = labelled and not regression
    return {
        "read": examples + 3,
        "evaluated": examples,
        "labelled": examples if labelled else 0,
        "errors": {"too_long": 3},
        "first_errors": ["row 3: too long, 612 tokens of at most 512."],
        "labels": {"NEGATIVE": half, "POSITIVE": examples - half} if has_classes else {},
        **(quality if labelled else dict.fromkeys(quality)),
    }


def method_costs(results: Data) -> Data:
    """What each method of made-up results costs."""
    methods = {
        name: {"seconds": 0.004 * cost, "forwards": cost}
        for name, method in results["methods"].items()
        for cost in [STRENGTH[method["method"]][1]]
    }
    return {"examples": 16, "forward_seconds": 0.004, "methods": methods}
