"""Made-up evaluations, and reports that are written of them."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.records import records_table
from normxlogit.evaluation.report.pages.page import page
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.methods import METHODS
from tests.helpers.pages import HOSTILE, HTMLReader

Data = dict[str, Any]
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

    Names may have a layer, "normxlogit:layer=2", and then score the higher the deeper.
    """
    rng = np.random.default_rng(seed)
    metrics = dict(METRICS)
    if labelled:
        kind = "pearson" if regression else "accuracy"
        metrics |= {n.replace("accuracy", kind): about for n, about in ACCURACY_METRICS.items()}
    metrics |= FURTHER_METRICS if further else {}
    candidates: list[Data] = []
    found: dict[str, Data] = {}
    records: list[Data] = []
    texts = [
        " ".join(rng.choice(TEXT.split(), rng.integers(4, 25))) if text is None else text
        for _ in range(examples)
    ]
    ease = rng.normal(0, 0.08, examples)
    drops: dict[str, dict[str, Any]] = {}
    for name in names:
        method, _, layer = name.partition(":layer=")
        candidates.append(
            {
                "name": name,
                "method": method,
                "layer": int(layer) if layer else None,
                "readout": None,
                "options": {},
            }
        )
        base = (strength or {}).get(name, STRENGTH[method][0] + 0.02 * int(layer or 0))
        draws = DRAWS if method == "random" else 1
        shares = np.array(RATIOS)
        comprehensiveness = base * (0.4 + 1.2 * shares) + (
            ease[:, None, None] + rng.normal(0, 0.09, (examples, draws, len(RATIOS)))
        )
        sufficiency = (0.55 - base) * (1.6 - 1.2 * shares) + (
            ease[:, None, None] + rng.normal(0, 0.09, (examples, draws, len(RATIOS)))
        )
        drops[name] = {"comprehensiveness": comprehensiveness, "sufficiency": sufficiency}
        for row, draw in itertools.product(range(examples), range(draws)):
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
                    "comprehensiveness": comprehensiveness[row, draw].tolist(),
                    "comprehensiveness_said": [0.0] * len(RATIOS),
                    "sufficiency": sufficiency[row, draw].tolist(),
                    "sufficiency_said": [0.0] * len(RATIOS),
                }
            )
    order = rng.permutation(len(records))
    bootstrap = Bootstrap(examples, 0)
    per_example: dict[str, dict[str, Any]] = {}
    for name in names:
        per_example[name] = {m: v.mean((1, 2)) for m, v in drops[name].items()}
        for metric in (m for m in metrics if m not in METRICS):
            chances = 0.3 + drops[name]["comprehensiveness"].mean((1, 2))
            per_example[name][metric] = (rng.random(examples) < chances).astype(float)
    best = {}
    for metric, about in metrics.items():
        sign = 1 if about["higher_is_better"] else -1
        ranked = [name for name in names if name != "random"] or names
        best[metric] = max(ranked, key=lambda n: sign * per_example[n][metric].mean())
    for name in names:
        known = METHODS[name.partition(":")[0]]
        measures = {}
        for metric, about in metrics.items():
            own, top = per_example[name][metric], best[metric]
            mean, gap = bootstrap.mean(own), bootstrap.mean(own - per_example[top][metric])
            by_ratio = drops[name].get(metric, np.tile(own[:, None, None], (1, 1, len(RATIOS))))
            measures[metric] = {
                **interval_fields(mean),
                "examples": examples - 2 if metric == "loo_tau" else examples,
                "by_ratio": by_ratio.mean((0, 1)).tolist() if about["by_ratio"] else None,
                "beside_best": None
                if name == top
                else {
                    "best": top,
                    **interval_fields(gap),
                    "differs": gap.differs_from_zero,
                },
            }
        found[name] = {
            "method": known.name,
            "family": known.family,
            "cost": known.cost,
            "source": known.source,
            "draws": DRAWS if known.name == "random" else 1,
            "figures": measures,
        }
    quality = {"pearson": 0.81} if regression else {"accuracy": 0.87}
    results = {
        "schema": "normxlogit/evaluation/1",
        "settings": {
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
        },
        "versions": {"normxlogit": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "problem": "regression" if regression else "single_label_classification",
        "labels": ["LABEL_0"] if regression else ["NEGATIVE", "POSITIVE"],
        "examples": {
            "read": examples + 3,
            "evaluated": examples,
            "labelled": examples if labelled else 0,
            "errors": {"too_long": 3},
            "first_errors": ["row 3: too long, 612 tokens of at most 512."],
            "labels": {"NEGATIVE": examples // 2, "POSITIVE": examples - examples // 2}
            if labelled and not regression
            else {},
            **(quality if labelled else dict.fromkeys(quality)),
        },
        "forwards": {"asked": 90000, "run": 70000, "tokens": 2000000},
        "metrics": metrics,
        "methods": found,
        "failed": dict(failed or {}),
        "notes": [] if labelled else ["no example has a label."],
    }
    return results, records_table([records[n] for n in order])


def interval_fields(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval
    return {"value": estimate.value, "low": low, "high": high}


def method_costs(results: Data) -> Data:
    """What methods cost."""
    methods = {
        name: {"seconds": 0.004 * cost, "forwards": cost}
        for name, one in results["methods"].items()
        for cost in [STRENGTH[one["method"]][1]]
    }
    return {"examples": 16, "forward_seconds": 0.004, "methods": methods}


FEW_METHODS = ("normxlogit", "gradient_x_input", "integrated_gradients", "occlusion", "random")
LAYERS = tuple(f"{name}:layer={n}" for name in ("normxlogit", "norm") for n in (1, 2, 3))

MANY_LAYERS = tuple(
    f"{name}:layer={n}"
    for name in (
        "normxlogit",
        "logat",
        "attention_rollout",
        "value_zeroing",
        "progressive_inference",
    )
    for n in range(1, 25)
)

HARD_NAME = "integrated_gradients:baseline=<$x$>|" + "你" * 20

CASES: dict[str, Callable[[], tuple[Data, pa.Table]]] = {
    "small": lambda: random_evaluation(FEW_METHODS),
    "all": lambda: random_evaluation(further=True, failed={"lrp": "it <failed>."}, examples=30),
    "layers": lambda: random_evaluation((*FEW_METHODS, *LAYERS), examples=30),
    "many layers": lambda: random_evaluation(MANY_LAYERS, examples=30),
    "regression": lambda: random_evaluation(FEW_METHODS, regression=True, pairs=True, examples=30),
    "unlabelled": lambda: random_evaluation(FEW_METHODS, labelled=False, examples=30),
    "one": lambda: random_evaluation(("normxlogit",), examples=30),
    "random alone": lambda: random_evaluation(("random",), examples=30),
    "hostile": lambda: random_evaluation(
        FEW_METHODS, text=f"{HOSTILE} | [a](b) `c` \u202e \ud7ff", examples=30
    ),
}


def with_hostile_names(results: Data, scores: pa.Table) -> tuple[Data, pa.Table]:
    """The same with hostile names of everything."""
    text = json.dumps(results).replace("some/model-for-sentiment", json.dumps(HOSTILE)[1:-1])
    results = json.loads(text)
    results["notes"] = [HOSTILE]
    results["failed"] = {HOSTILE: HOSTILE}
    results["settings"]["data"] = {"dataset": HOSTILE}
    results["examples"]["first_errors"] = [HOSTILE]
    results["examples"]["labels"] = {HOSTILE: 7}
    results["settings"]["operator"] = HOSTILE
    results["settings"]["candidates"][2]["name"] = HARD_NAME
    results = json.loads(
        json.dumps(results).replace('"integrated_gradients"', json.dumps(HARD_NAME))
    )
    results["methods"][HARD_NAME]["method"] = "integrated_gradients"
    results["metrics"]["sufficiency"]["about"] = HOSTILE
    columns = {name: scores[name].to_pylist() for name in ("label", "prediction", "method")}
    columns["method"] = [HARD_NAME if n == "integrated_gradients" else n for n in columns["method"]]
    columns["label"] = columns["prediction"] = [HOSTILE] * len(scores)
    for name, values in columns.items():
        scores = scores.set_column(scores.schema.get_field_index(name), name, pa.array(values))
    return results, scores


class PageReader(HTMLReader):
    VOID = HTMLReader.VOID | {"wbr"}


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written, and what it was made of."""

    folder: Path
    results: Data
    scores: pa.Table
    paths: list[Path]

    @property
    def html(self) -> str:
        return (self.folder / "report.html").read_text("utf-8")

    @property
    def markdown(self) -> str:
        return (self.folder / "report.md").read_text("utf-8")


def write_page(given: tuple[Data, pa.Table]) -> str:
    """The page of an evaluation, without figures."""
    return page(EvaluationView(given[0], None), [], {}, [], given[1])


FIGURES = {"comprehensiveness", "sufficiency"}
