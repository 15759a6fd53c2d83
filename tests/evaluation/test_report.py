import builtins
import itertools
import json
import math
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Drawing
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from normxlogit import InputError, MissingExtraError
from normxlogit.evaluation.estimates import metrics_of
from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.records import table_of
from normxlogit.evaluation.report import write_report
from normxlogit.evaluation.report.advice import advice
from normxlogit.evaluation.report.disagreement import Disputed, agreement, disputed
from normxlogit.evaluation.report.findings import Findings
from normxlogit.evaluation.report.pages.disputed import disputed_text
from normxlogit.evaluation.report.pages.markdown import markdown
from normxlogit.evaluation.report.pages.page import page
from normxlogit.evaluation.report.paired_bootstrap import Paired
from normxlogit.evaluation.report.plots import curves, layer_heatmap, scatter
from normxlogit.evaluation.report.plots.figures import figures
from normxlogit.evaluation.report.plots.label_placement import Box, beside, spread
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.vs_random import beside_random
from normxlogit.methods import METHODS
from tests.conftest import find_browser
from tests.helpers.policy import assert_policy, with_script
from tests.show.test_show import HOSTILE, Reader

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
SAID: dict[str, Data] = {
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
FURTHER: dict[str, Data] = {
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


def evaluation(
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
        metrics |= {n.replace("accuracy", kind): about for n, about in SAID.items()}
    metrics |= FURTHER if further else {}
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
                **interval(mean),
                "examples": examples - 2 if metric == "loo_tau" else examples,
                "by_ratio": by_ratio.mean((0, 1)).tolist() if about["by_ratio"] else None,
                "beside_best": None
                if name == top
                else {
                    "best": top,
                    **interval(gap),
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
    return results, table_of([records[n] for n in order])


def interval(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval
    return {"value": estimate.value, "low": low, "high": high}


def measured(results: Data) -> Data:
    """What methods cost."""
    methods = {
        name: {"seconds": 0.004 * cost, "forwards": cost}
        for name, one in results["methods"].items()
        for cost in [STRENGTH[one["method"]][1]]
    }
    return {"examples": 16, "forward_seconds": 0.004, "methods": methods}


def figures_of(**values: tuple[float, float, float | None]) -> Findings:
    """Findings of methods with a comprehensiveness, a sufficiency and a cost.

    A method is behind the best if it differs by more than 0.05.
    """
    metrics = {"comprehensiveness": 0, "sufficiency": 1}
    methods: dict[str, Data] = {}
    for name in values:
        known = METHODS[name.partition(":")[0]]
        methods[name] = {"method": known.name, "family": known.family, "cost": "", "figures": {}}
    for metric, place in metrics.items():
        sizes = {name: (one, other)[place] for name, (one, other, _) in values.items()}
        named = [name for name in values if name != "random"]
        best = (max if place == 0 else min)(named, key=sizes.__getitem__)
        for name, value in sizes.items():
            gap = value - sizes[best]
            methods[name]["figures"][metric] = {
                "value": value,
                "low": value - 0.02,
                "high": value + 0.02,
                "examples": 400,
                "by_ratio": None,
                "beside_best": None
                if name == best
                else {
                    "best": best,
                    "value": gap,
                    "low": gap - 0.05,
                    "high": gap + 0.05,
                    "differs": abs(gap) > 0.05,
                },
            }
    results, _ = evaluation(("normxlogit",), examples=5)
    results["examples"]["evaluated"] = 400
    costs = {n: {"forwards": cost} for n, (_, _, cost) in values.items() if cost is not None}
    return Findings(
        {**results, "methods": methods, "metrics": METRICS},
        {"examples": 16, "forward_seconds": 0.01, "methods": costs} if costs else None,
    )


def says(found: Findings) -> list[tuple[str, str]]:
    """The advice, where methods differ if they do so by more than 0.05."""

    def difference(metric: str, one: str, other: str) -> Estimate:
        values = [found.methods[name]["figures"][metric]["value"] for name in (one, other)]
        gap = values[0] - values[1]
        return Estimate(gap, np.repeat([gap - 0.05, gap + 0.05], 100))

    return [(paragraph.heading, paragraph.text) for paragraph in advice(found, difference)]


class TestAdvice:
    def test_the_best_is_to_be_used_if_it_is_told_apart(self) -> None:
        (use, why), (_, own), _ = says(
            figures_of(occlusion=(0.5, 0.1, 50), normxlogit=(0.3, 0.3, 1.2), random=(0.1, 0.5, 1.0))
        )
        assert use == "Use occlusion here"
        assert "most with occlusion: comprehensiveness 0.500 (95 % interval 0.480 to 0.520)" in why
        assert why.count("All others are behind it.") == 2
        assert "Occlusion hides words one at a time" in why
        assert "number 2 of 3, 0.200 behind occlusion (0.150 to 0.250)" in own
        assert "better than random order in comprehensiveness and sufficiency" in own
        assert "takes 1.2 times as long as classifying it" in own
        assert "not the method to use where 50 times" in own

    def test_of_those_not_told_apart_the_cheapest_is_to_be_used(self) -> None:
        (use, why), (about, own), _ = says(
            figures_of(
                integrated_gradients=(0.5, 0.1, 50),
                gradient_x_input=(0.47, 0.12, 4),
                normxlogit=(0.46, 0.14, 1.2),
                random=(0.1, 0.5, 1.0),
            )
        )
        assert use == "Use normxlogit here"
        assert why.count("Not told apart from it: gradient_x_input and normxlogit.") == 2
        assert (
            "normxlogit is the cheapest of them: explaining a text by normxlogit takes 1.2" in why
        )
        assert about == "Why NormXLogit, and when not"
        assert "not told apart from the best, integrated_gradients" in own
        assert "No other method is shown to be ahead of it" in own

    def test_costs_a_quarter_apart_are_alike(self) -> None:
        pair = {"gradient_norm": (0.5, 0.1, 4.9), "gradient_x_input": (0.47, 0.12, 4.0)}
        assert says(figures_of(**pair))[0][0] == "Use gradient_norm here"
        pair["gradient_norm"] = (0.5, 0.1, 5.1)
        assert says(figures_of(**pair))[0][0] == "Use gradient_x_input here"

    def test_a_method_has_to_be_at_the_top_in_both(self) -> None:
        (use, why), *_ = says(
            figures_of(gradient_norm=(0.5, 0.1, 4), attention=(0.48, 0.4, 2), alti=(0.2, 0.09, 2))
        )
        assert use == "Use gradient_norm here"
        assert "decides here" not in why
        (use, why), *_ = says(figures_of(gradient_norm=(0.5, 0.3, 4), attention=(0.4, 0.1, 2)))
        assert use == "Use gradient_norm here"
        assert "No method is at the top in both figures; comprehensiveness decides here." in why

    def test_nothing_is_recommended_if_a_baseline_is_at_the_top(self) -> None:
        for value in (0.47, 0.6):
            (use, why), (_, own), _ = says(
                figures_of(normxlogit=(0.5, 0.1, 1.2), random=(value, 0.5, 1.0))
            )
            assert use == "No method can be recommended on these figures"
            assert "random is no explanation" in why
            assert "So it is not the method to use here." in own
            assert ("Ahead of it: random." in why) == (value == 0.6)

    def test_a_method_no_better_than_random_is_not_recommended(self) -> None:
        found = figures_of(
            occlusion=(0.5, 0.1, 50), normxlogit=(0.46, 0.12, 1), random=(0.42, 0.5, 1)
        )
        assert says(found)[0][0] == "Use occlusion here"
        assert (
            "It is not told apart from random order in comprehensiveness, and" in says(found)[1][1]
        )

    def test_what_costs_no_more_and_is_ahead_takes_its_place(self) -> None:
        _, (_, own), _ = says(
            figures_of(logat=(0.5, 0.1, 1.3), normxlogit=(0.3, 0.3, 1.2), random=(0.1, 0.5, 1.0))
        )
        assert "logat costs no more and is ahead of it in comprehensiveness, so it is not" in own

    def test_sufficiency_no_better_than_random(self) -> None:
        for value, word in ((0.48, "not told apart from"), (0.7, "worse than")):
            _, (_, own), _ = says(
                figures_of(alti=(0.5, 0.1, 5), normxlogit=(0.4, value, 1.2), random=(0.1, 0.5, 1.0))
            )
            assert f"better than random order in comprehensiveness, and is {word} random" in own
            assert "random words did no worse" in own

    def test_without_normxlogit_it_is_not_spoken_of(self) -> None:
        found = figures_of(alti=(0.5, 0.1, 5), random=(0.1, 0.5, 1.0))
        assert "normxlogit" not in " ".join(f"{a} {b}" for a, b in says(found)).lower()
        assert says(found)[0][0] == "alti was compared with no other method that looks at the model"

    def test_a_method_alone_is_compared_with_nothing(self) -> None:
        (use, _), (_, own), _ = says(figures_of(normxlogit=(0.5, 0.1, 1.2)))
        assert use == "normxlogit was compared with no other method that looks at the model"
        assert own == "It was compared with nothing, so no figure here says when it is not."

    def test_a_variant_is_said_to_be_chosen(self) -> None:
        names = ("normxlogit", "normxlogit:layer=2", "normxlogit:layer=4")
        results, scores = evaluation(names)
        found = Findings(results, measured(results))
        _, own, _ = advice(found, Paired(scores, 0).difference)
        assert "Of the 3 variants" in own.text
        assert "normxlogit:layer=4, chosen by its figures on these very texts" in own.text

    def test_costs_that_are_not_known(self) -> None:
        found = figures_of(alti=(0.5, 0.1, None), normxlogit=(0.3, 0.3, None))
        (use, why), (_, own), _ = says(found)
        assert use == "Use alti here"
        assert "What the methods cost was not measured." in why
        assert "where these can be afforded" in own
        (use, why), *_ = says(figures_of(alti=(0.5, 0.1, None), normxlogit=(0.48, 0.1, 2)))
        assert use == "Use normxlogit here"
        assert "The cost of alti is not known." in why

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"evaluated": 99}, "99 are few"),
            ({"evaluated": 1}, "from 1 example and"),
            (
                {"accuracy": 0.6, "labels": {"a": 3, "b": 2}, "labelled": 5},
                "always would be on 60.0%",
            ),
            ({"accuracy": 0.9, "labels": {"a": 3, "b": 2}, "labelled": 5}, "right on 90.0%"),
            ({"accuracy": None}, "Without labels it is not known"),
            ({"accuracy": None, "pearson": 0.81}, "correlate with the given ones by 0.81"),
        ],
    )
    def test_what_limits_it(self, changes: Data, said: str) -> None:
        found = figures_of(alti=(0.5, 0.1, 5), normxlogit=(0.3, 0.3, 1))
        assert said not in says(found)[-1][1]
        found.results["examples"].update(changes)
        text = says(found)[-1][1]
        assert said in text
        assert ("always would be" in text) == (changes.get("accuracy") == 0.6)
        assert "hidden by “mask”" in text

    def test_ways_to_hide_and_presets_are_named(self) -> None:
        found = figures_of(alti=(0.5, 0.1, 5))
        found.results["settings"].update(operator="…", preset="paper", unit="token")
        assert "tokens were hidden by “…”: the token '…' in place" in says(found)[-1][1]
        assert "decide by the preset “corrected”" in says(found)[-1][1]

    def test_a_regression_has_no_confidence(self) -> None:
        results, scores = evaluation(("normxlogit", "alti"), regression=True)
        texts = advice(Findings(results, None), Paired(scores, 0).difference)
        assert "confidence" not in " ".join(paragraph.text for paragraph in texts)
        assert "moves the value most with" in texts[0].text


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """By its definition: Pearson's correlation of mean ranks."""

    def ranks(values: Sequence[float]) -> list[float]:
        return [sum(w < v for w in values) + sum(w == v for w in values) / 2 for v in values]

    x, y = (np.array(ranks(values)) for values in (one, other))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


class TestDisagreement:
    def test_agreement_is_the_mean_of_spearman_over_pairs(self) -> None:
        rng = np.random.default_rng(3)
        scores = rng.integers(0, 5, (4, 9)).astype(float)
        scores[1, 2] = math.nan
        known = np.where(np.isnan(scores), -9, scores).tolist()
        pairs = {
            (i, j): spearman(known[i], known[j]) for i, j in itertools.combinations(range(4), 2)
        }
        found = agreement(scores)
        assert found is not None
        assert found[0] == pytest.approx(sum(pairs.values()) / 6)
        assert found[1] == min(pairs, key=lambda pair: pairs[pair])
        assert found[2] == pytest.approx(min(pairs.values()))

    def test_scores_that_are_all_alike_do_not_count(self) -> None:
        rising = np.arange(6.0)
        found = agreement(np.array([np.ones(6), rising, rising**3]))
        assert found is not None
        assert found[1] == (1, 2)
        assert (found[0], found[2]) == pytest.approx((1.0, 1.0))
        assert agreement(np.array([np.ones(6), np.full(6, math.nan), rising])) is None

    def test_the_texts_with_the_lowest_come_first(self) -> None:
        _, scores = evaluation(("normxlogit", "alti", "random"), examples=40)
        methods = ["normxlogit", "alti"]
        by_row: dict[int, dict[str, Data]] = {}
        for record in scores.to_pylist():
            by_row.setdefault(record["row"], {})[record["method"]] = record
        expected = {
            row: spearman(*([-99.0, *own[name]["scores"][1:]] for name in methods))
            for row, own in by_row.items()
            if len(own["alti"]["units"]) >= 5
        }
        found = disputed(scores, methods, 7)
        assert len(expected) < 40
        assert [one.row for one in found] == sorted(expected, key=lambda row: expected[row])[:7]
        for one in found:
            record = by_row[one.row]["alti"]
            assert one.agreement == one.lowest == pytest.approx(expected[one.row])
            assert one.units == record["units"]
            assert one.texts == (record["text"],)
            np.testing.assert_array_equal(one.scores["alti"], record["scores"])


def test_differences_are_of_examples_that_both_have() -> None:
    _, scores = evaluation(("normxlogit", "random"), examples=30)
    records = [
        record
        for record in scores.to_pylist()
        if not (record["method"] == "random" and record["row"] in (3, 17))
    ]
    means: dict[str, list[float]] = {"normxlogit": [], "random": []}
    for name, own in means.items():
        for row in sorted(set(range(30)) - {3, 17}):
            drops = [r["sufficiency"] for r in records if (r["method"], r["row"]) == (name, row)]
            assert len(drops) == (DRAWS if name == "random" else 1)
            own.append(sum(map(sum, drops)) / len(drops) / len(RATIOS))
    gaps = np.array(means["normxlogit"]) - np.array(means["random"])
    found = Paired(table_of(records), 0).difference("sufficiency", "normxlogit", "random")
    assert found is not None
    assert found.value == pytest.approx(gaps.mean())
    error = gaps.std(ddof=1) / math.sqrt(28)
    low, high = found.interval
    assert low == pytest.approx(gaps.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(gaps.mean() + 1.96 * error, abs=0.3 * error)
    apart = [r for r in records if (r["method"] == "random") == (r["row"] < 15)]
    assert Paired(table_of(apart), 0).difference("sufficiency", "normxlogit", "random") is None


PLACES = st.lists(st.floats(-2, 2), min_size=1, max_size=20)


@given(PLACES)
def test_labels_in_a_column_keep_their_order_and_distance(places: list[float]) -> None:
    found = spread(places, 0.1, 0.0, 2.5)
    order = np.argsort(places, kind="stable")
    ordered = np.array(found)[order]
    assert (np.diff(ordered) >= 0.1 - 1e-9).all()
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 2.5 + 1e-9
    near = [min(max(place, 0.0), 2.5) for place in places]
    if (np.diff(np.array(near)[order]) >= 0.1).all():
        assert found == pytest.approx(near)


def test_labels_in_a_column_move_as_little_as_they_can() -> None:
    assert spread([0.5, 0.5], 0.2, 0, 1) == pytest.approx([0.4, 0.6])
    assert spread([0.9, 0.1, 0.95], 0.1, 0, 2) == pytest.approx([0.875, 0.1, 0.975])


@pytest.mark.parametrize("seed", range(5))
def test_labels_beside_points_cover_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.uniform(20, 280, (17, 2)) * (0.5, 1)]
    signs = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    inside = Box(0, 0, 300, 300)
    sizes = [(float(w), 10.0) for w in rng.uniform(20, 90, 17)]
    boxes = beside(points, sizes, signs, inside, 6)
    for box, (width, height) in zip(boxes, sizes, strict=True):
        assert (box.right - box.left, box.top - box.bottom) == pytest.approx((width, height))
        assert box.within(inside)
    for one, other in itertools.combinations([*boxes, *signs], 2):
        across = min(one.right, other.right) - max(one.left, other.left)
        up = min(one.top, other.top) - max(one.bottom, other.bottom)
        assert across <= 1e-9 or up <= 1e-9 or (one in signs and other in signs)


SMALL = ("normxlogit", "gradient_x_input", "integrated_gradients", "occlusion", "random")
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
HARD = "integrated_gradients:baseline=<$x$>|" + "你" * 20
CASES: dict[str, Callable[[], tuple[Data, pa.Table]]] = {
    "small": lambda: evaluation(SMALL),
    "all": lambda: evaluation(further=True, failed={"lrp": "it <failed>."}, examples=30),
    "layers": lambda: evaluation((*SMALL, *LAYERS), examples=30),
    "many layers": lambda: evaluation(MANY_LAYERS, examples=30),
    "regression": lambda: evaluation(SMALL, regression=True, pairs=True, examples=30),
    "unlabelled": lambda: evaluation(SMALL, labelled=False, examples=30),
    "one": lambda: evaluation(("normxlogit",), examples=30),
    "random alone": lambda: evaluation(("random",), examples=30),
    "hostile": lambda: evaluation(SMALL, text=f"{HOSTILE} | [a](b) `c` \u202e \ud7ff", examples=30),
}


def hostile(results: Data, scores: pa.Table) -> tuple[Data, pa.Table]:
    """The same with hostile names of everything."""
    text = json.dumps(results).replace("some/model-for-sentiment", json.dumps(HOSTILE)[1:-1])
    results = json.loads(text)
    results["notes"] = [HOSTILE]
    results["failed"] = {HOSTILE: HOSTILE}
    results["settings"]["data"] = {"dataset": HOSTILE}
    results["examples"]["first_errors"] = [HOSTILE]
    results["examples"]["labels"] = {HOSTILE: 7}
    results["settings"]["operator"] = HOSTILE
    results["settings"]["candidates"][2]["name"] = HARD
    results = json.loads(json.dumps(results).replace('"integrated_gradients"', json.dumps(HARD)))
    results["methods"][HARD]["method"] = "integrated_gradients"
    results["metrics"]["sufficiency"]["about"] = HOSTILE
    columns = {name: scores[name].to_pylist() for name in ("label", "prediction", "method")}
    columns["method"] = [HARD if n == "integrated_gradients" else n for n in columns["method"]]
    columns["label"] = columns["prediction"] = [HOSTILE] * len(scores)
    for name, values in columns.items():
        scores = scores.set_column(scores.schema.get_field_index(name), name, pa.array(values))
    return results, scores


class PageReader(Reader):
    VOID = Reader.VOID | {"wbr"}


@dataclass(frozen=True)
class Written:
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


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    found = {}
    for name, make in CASES.items():
        folder = tmp_path_factory.mktemp("reports") / name
        results, scores = make()
        costs = None if name == "unlabelled" else measured(results)
        if name == "hostile":
            results, scores = hostile(results, scores)
        found[name] = Written(folder, results, scores, write_report(folder, results, scores, costs))
    return found


FIGURES = {"comprehensiveness", "sufficiency"}
ACCURACY = {"comprehensiveness_accuracy", "sufficiency_accuracy"}
PEARSON = {"comprehensiveness_pearson", "sufficiency_pearson"}
LAYER = {"layers_comprehensiveness", "layers_sufficiency"}


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("small", FIGURES | ACCURACY | {"cost"}),
        ("all", FIGURES | ACCURACY | {"cost"}),
        ("layers", FIGURES | ACCURACY | LAYER | {"cost"}),
        ("regression", FIGURES | PEARSON | {"cost"}),
        ("unlabelled", FIGURES),
        ("hostile", FIGURES | ACCURACY | {"cost"}),
    ],
)
def test_what_is_written(reports: dict[str, Written], case: str, names: set[str]) -> None:
    report = reports[case]
    files = {path for path in report.folder.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")}
    expected = {"report.html", "report.md"} | figures
    assert files == {report.folder / name for name in expected}
    assert sorted(report.paths) == sorted(files)
    for name in names:
        drawn = ElementTree.parse(report.folder / f"figures/{name}.svg").getroot()
        assert drawn.tag.endswith("}svg")
        assert imread(report.folder / f"figures/{name}.png").shape[1] > 300
        assert f"](figures/{name}.svg)" in report.markdown


def test_limits_are_said(reports: dict[str, Written]) -> None:
    report = reports["all"]
    for name, value in (("Limit of tokens", 128), ("Limit of rows", 500)):
        assert f"- {name}: {value}\n" in report.markdown
        assert f"<dt>{name}</dt><dd>{value}</dd>" in report.html


def test_the_same_comes_out_the_same(reports: dict[str, Written], tmp_path: Path) -> None:
    report = reports["layers"]
    again = write_report(tmp_path, report.results, report.scores, measured(report.results))
    for path in again:
        assert path.read_bytes() == (report.folder / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("case", list(CASES))
def test_the_page_needs_nothing_else(reports: dict[str, Written], case: str) -> None:
    html = reports[case].html
    elements = PageReader(html).elements
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in elements)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("src", "href", "xlink:href"):
            at = attributes.get(name) or "data:"
            assert at.startswith("data:") or at[1:] in ids
        assert not any(name.startswith("on") for name in attributes)
    for at in re.findall(r"url\(([^)]*)\)", html):
        assert at[1:] in ids
    assert "@import" not in html


@pytest.mark.parametrize("case", list(CASES))
def test_nothing_of_a_text_is_markup(reports: dict[str, Written], case: str) -> None:
    report = reports[case]
    assert "<script" not in report.html
    assert not re.search(r"(?<!\\)<(?!br>)", report.markdown)
    for line in report.markdown.splitlines():
        if line.startswith("|"):
            columns = len(re.findall(r"(?<!\\)\|", line))
        assert not line.startswith("|") or columns in (5, 6, 7)


@pytest.mark.parametrize("case", CASES)
def test_nothing_runs_but_what_the_page_was_made_with(
    case: str, reports: dict[str, Written]
) -> None:
    assert_policy(reports[case].html, images="<image" in reports[case].html)
    assert ("<image" in reports[case].html) == (case in ("layers", "many layers"))


def cells(html: str) -> list[list[list[str]]]:
    """The tables of the ranking: rows of cells, as their text."""
    found = []
    for table in re.findall(r'<table role="table".*?</table>', html, re.DOTALL):
        rows = re.findall(r'<tr role="row">(.*?)</tr>', table, re.DOTALL)
        found.append(
            [
                [
                    unescape(re.sub("<[^>]*>", "", re.sub("<span class=.nx-b", " <", cell)))
                    for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
                ]
                for row in rows
            ]
        )
    return found


@pytest.mark.parametrize("case", ["small", "all", "layers", "regression", "unlabelled", "one"])
def test_the_ranking(reports: dict[str, Written], case: str) -> None:
    report = reports[case]
    methods = report.results["methods"]
    order = sorted(methods, key=lambda n: -methods[n]["figures"]["comprehensiveness"]["value"])
    tables = cells(report.html)
    metrics = list(report.results["metrics"])
    assert len(tables) == (2 if case == "all" else 1)
    shown = list(itertools.chain(metrics))
    for table in tables:
        head, *rows = table
        own, shown = shown[: len(METRICS) + 2], shown[len(METRICS) + 2 :]
        assert [row[0] for row in rows] == order
        for title, metric in zip(head[1:], own, strict=False):
            higher = report.results["metrics"][metric]["higher_is_better"]
            assert title.endswith("↑" if higher else "↓")
        for row in rows:
            for cell, metric in zip(row[1:], own, strict=False):
                figure = methods[row[0]]["figures"][metric]
                numbers = [figure[key] for key in ("value", "low", "high")]
                assert cell.startswith("{:.3f} [{:.3f}, {:.3f}]".format(*numbers).replace("-", "−"))
                gap = figure["beside_best"]
                differs = gap is not None and gap["differs"]
                assert ("no difference to the best" in cell) == (gap is not None and not differs)
                if gap is None:
                    assert "the best" in cell
                elif differs and row[0] != "random":
                    gaps = [gap[key] for key in ("value", "low", "high")]
                    said = "{:+.3f} [{:.3f}, {:.3f}] to the best".format(*gaps).replace("-", "−")
                    assert said in cell
        lines = [line for line in report.markdown.splitlines() if line.startswith("|")]
        for row in rows:
            assert any(line.startswith(f"| {row[0]} |") for line in lines)
    for name, why in report.results["failed"].items():
        assert f"{name}</dt><dd>{escape(why)}" in report.html
        assert f"- {name}: " in report.markdown
    if case != "unlabelled":
        cost = dict(zip(order, (row[-1] for row in tables[0][1:]), strict=True))
        assert cost["normxlogit"].startswith("1.3 ×")


@pytest.mark.parametrize("case", ["all", "layers"])
def test_figures_of_fewer_examples_say_so(reports: dict[str, Written], case: str) -> None:
    report = reports[case]
    said = "A figure called loo_tau. Of 28 of the 30 examples: for the others not every method"
    for text in (re.sub("<[^>]*>", " ", report.html), report.markdown.replace("\\", "")):
        assert text.count("of the 30 examples") == text.count(said) == (case == "all")


@pytest.mark.parametrize("unit", ["word", "token", "sentence"])
def test_what_is_ranked_is_called_what_it_is(unit: str) -> None:
    results, scores = evaluation(SMALL, examples=30, further=True)
    results["settings"]["unit"] = unit
    further = ("curves", "naopc", "loo_tau")
    metrics = metrics_of(further, unit, is_regression=False, labelled=True)
    for name, about in results["metrics"].items():
        about["about"] = metrics[name].about
    found = Findings(results, measured(results))
    paragraphs = advice(found, Paired(scores, 0).difference)
    drawn = [Figure("sufficiency", "It.", '<svg width="9pt"></svg>', b"")]
    html = page(found, paragraphs, {}, drawn, scores).split("</style>")[1]
    shown = unescape(re.sub("<[^>]*>", " ", html))
    for text in (shown, markdown(found, paragraphs, {}, drawn)):
        assert bool(re.search(r"(?i)\bwords?\b", text)) == (unit == "word")
        assert f"as one {unit} after the other is hidden" in text
        assert f"what leaving out each {unit} alone loses" in text
    for said in (f"Which {unit}s does", f"{unit}s are hidden, or", f"Above zero a {unit} supports"):
        assert said.casefold() in shown.casefold()
    soft = metrics_of(("soft",), unit, is_regression=True, labelled=False)["pi_soft_nc"].about
    assert f"more important a {unit} is, as a share of what all {unit}s lose" in soft


def test_markdown_has_the_tables_of_the_page(reports: dict[str, Written]) -> None:
    report = reports["all"]
    lines = [line for line in report.markdown.splitlines() if line.startswith("|")]
    lines = [line for line in lines if "---" not in line]
    rows = [row for table in cells(report.html) for row in table]
    assert len(lines) == len(rows) == 36
    for line, row in zip(lines, rows, strict=True):
        shown = re.sub(r"\\(.)", r"\1", line.replace("<br>", " ")).strip("| ").split(" | ")
        assert [" ".join(cell.split()) for cell in shown] == [" ".join(c.split()) for c in row]


def test_what_is_not_better_than_random_is_said(reports: dict[str, Written]) -> None:
    names = ("alti", "norm", "attention", "random")
    strength = {"alti": 0.4, "norm": 0.2, "attention": 0.1, "random": 0.2}
    results, scores = evaluation(names, strength=strength)
    found = Findings(results, None)
    placed = beside_random(found, Paired(scores, 0))
    both = FIGURES
    assert {key: placed[key] for key in placed if key[0] == "attention"} == {
        ("attention", metric): "worse" for metric in both
    }
    assert not any(key[0] in ("alti", "random") for key in placed)
    assert all(placed.get(("norm", metric), "better") != "worse" for metric in both)
    assert "worse than random" not in reports["one"].html


def test_words_are_marked_where_they_stand() -> None:
    text = Disputed(
        row=4,
        texts=("A <b> b,  a", "a b"),
        label=None,
        prediction="NEGATIVE",
        confidence=0.7,
        units=["[CLS]", "A", "<b>", "b", "a", "a", "b"],
        scores={"alti": np.array([1.0, 2.0, -4.0, math.nan, 0.0, 3.0, 0.1])},
        agreement=-0.25,
        farthest=("alti", "alti"),
        lowest=-0.5,
    )
    html = disputed_text(Findings(evaluation(("alti",), examples=5)[0], None), ["alti"], 1, text)
    (shown,) = re.findall(r'<p class="nx-text" dir="auto">(.*?)</p>', html, re.DOTALL)
    marks = re.findall(r"<mark([^>]*)>(.*?)</mark>", shown)
    assert [word for _, word in marks] == ["[CLS]", "A", "&lt;b&gt;", "a"]
    shares = [float(re.findall(r"--share:([\d.]+)", look)[0]) for look, _ in marks]
    assert shares == [0.25, 0.5, 1.0, 0.75]
    assert ["nx-against" in look for look, _ in marks] == [False, False, True, False]
    assert unescape(re.sub("<[^>]*>", "", shown)) == "[CLS]A <b> b,  a\na b"
    assert "Agreement −0.25" in html


def test_the_ten_texts_on_the_page(reports: dict[str, Written]) -> None:
    report = reports["small"]
    methods = [name for name in SMALL if name != "random"]
    found = disputed(report.scores, methods)
    assert len(found) == 10
    rows = re.findall(r"<h3>(\d+)\. Row (\d+):", report.html)
    assert rows == [(str(n), str(one.row)) for n, one in enumerate(found, 1)]
    for one in found:
        shown = report.html.split(f"Row {one.row}:")[1].split("</section>")[0]
        texts = re.findall(r'<p class="nx-text" dir="auto">(.*?)</p>', shown, re.DOTALL)
        assert [re.sub("<[^>]*>", "", text) for text in texts] == list(one.texts) * 4
        names = [name.replace("<wbr>", "") for name in re.findall("<h4>(.*?)</h4>", shown)]
        assert set(names) == set(methods)
        assert set(names[:2]) == set(one.farthest)
    assert "takes two methods" in reports["one"].html
    assert "No text is left to compare" in write_page(evaluation(SMALL, text="a b c d"))


def write_page(given: tuple[Data, pa.Table]) -> str:
    """The page of an evaluation, without figures."""
    return page(Findings(given[0], None), [], {}, [], given[1])


def drawings(
    monkeypatch: pytest.MonkeyPatch, results: Data
) -> dict[str, tuple[Drawing, list[tuple[str, Bbox]]]]:
    """Figures by their names, with the texts that can be seen in them and where they are."""
    kept: dict[str, tuple[Drawing, list[tuple[str, Bbox]]]] = {}

    texts: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def seen(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            texts.append((text.get_text(), Text.get_window_extent(text, renderer)))

    def keep(drawing: Drawing, name: str, caption: str) -> Figure:
        texts.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", seen)
            canvas: Any = FigureCanvasAgg(drawing)
            canvas.draw()
        kept[name] = drawing, list(texts)
        return Figure(name, caption, "", b"")

    for module in (curves, scatter, layer_heatmap):
        monkeypatch.setattr(module, "saved", keep)
    figures(Findings(results, measured(results)))
    return kept


@pytest.mark.parametrize("case", ["small", "all", "layers", "many layers", "hostile"])
def test_texts_in_figures_are_whole_and_cover_no_other(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, Written], case: str
) -> None:
    for name, (drawing, texts) in drawings(monkeypatch, reports[case].results).items():
        width, height = drawing.get_size_inches() * drawing.dpi
        assert len(texts) > 10
        for text, box in texts:
            assert box.x0 >= 0, (name, text)
            assert box.y0 >= 0, (name, text)
            assert box.x1 <= width, (name, text)
            assert box.y1 <= height, (name, text)
        for (text, one), (other_text, other) in itertools.combinations(texts, 2):
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            up = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across <= 0 or up <= 0, (name, text, other_text)


def rounded(values: Any) -> tuple[float, ...]:
    return tuple(np.round(np.array(values, float), 9).tolist())


def test_every_method_is_drawn_and_named(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, Written]
) -> None:
    results = reports["all"].results
    drawn = drawings(monkeypatch, results)
    for name in ("comprehensiveness", "cost"):
        assert set(STRENGTH) <= {text for text, _ in drawn[name][1]}
    (axes,) = drawn["comprehensiveness"][0].axes
    values = {rounded(line.get_ydata()) for line in axes.lines}
    for one in results["methods"].values():
        assert rounded(one["figures"]["comprehensiveness"]["by_ratio"]) in values
    (axes,) = drawn["cost"][0].axes
    points = {rounded(point) for line in axes.lines for point in np.array(line.get_xydata())}
    for name, one in results["methods"].items():
        value = one["figures"]["comprehensiveness"]["value"]
        assert rounded([STRENGTH[name][1], value]) in points


def test_maps_by_layer(monkeypatch: pytest.MonkeyPatch, reports: dict[str, Written]) -> None:
    results = reports["layers"].results
    drawn = drawings(monkeypatch, results)
    for metric in FIGURES:
        (axes,) = drawn[f"layers_{metric}"][0].axes
        (image,) = axes.images
        expected = [
            [results["methods"][f"{m}:layer={n}"]["figures"][metric]["value"] for n in (1, 2, 3)]
            for m in ("normxlogit", "norm")
        ]
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3"]
        shown = np.array(image.get_array()).T.tolist()
        found = dict(zip(names, shown, strict=True))
        assert sorted(found) == ["norm", "normxlogit"]
        assert found["normxlogit"] == pytest.approx(expected[0])
        assert found["norm"] == pytest.approx(expected[1])
        best = image.to_rgba(np.array([min(map(min, expected)), max(map(max, expected))]))
        bright = best[:, :3].sum(1)
        assert (bright[1] > bright[0]) == (metric == "comprehensiveness")
    drawn_lines = {text for text, _ in drawn["comprehensiveness"][1]}
    assert {"normxlogit", "norm:layer=3"} < drawn_lines
    assert {"normxlogit:layer=3", "norm:layer=2"}.isdisjoint(drawn_lines)


def luminance(color: Sequence[float]) -> float:
    """Of a colour, from 0 to 1 for each of red, green and blue, as WCAG 2 has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_in_maps_are_not_too_faint(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, Written]
) -> None:
    drawn = drawings(monkeypatch, reports["many layers"].results)
    for metric in FIGURES:
        (axes,) = drawn[f"layers_{metric}"][0].axes
        (image,) = axes.images
        colors = image.to_rgba(np.array(image.get_array()))[..., :3]
        assert len(axes.texts) == colors[..., 0].size > 100
        for text in axes.texts:
            column, row = (int(at) for at in text.get_position())
            both = [luminance(to_rgb(text.get_color())), luminance(colors[row, column].tolist())]
            assert (max(both) + 0.05) / (min(both) + 0.05) > 4.5


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    results, scores = evaluation(SMALL, examples=5)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[plot\]"'):
        write_report(tmp_path / "new", results, scores, None)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results, scores = evaluation(SMALL, examples=5)
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "file", results, scores, None)


BROWSER = find_browser()
FRAME = """<iframe src="{page}" style="border:0;width:{width}px;height:900px"></iframe><pre></pre>
<script>
addEventListener("message", said => document.querySelector("pre").textContent = said.data)
</script>
"""
MEASURE = """
function parts(color) {
  var found = color.match(/[0-9.]+/g).map(Number);
  return found.length > 3 ? found : [...found, 1];
}
function over(front, back) {
  return [0, 1, 2].map(i => front[3] * front[i] + (1 - front[3]) * back[i]);
}
function ground(one) {
  var behind = one.parentElement ? ground(one.parentElement) : [255, 255, 255];
  return over(parts(getComputedStyle(one).backgroundColor), behind);
}
function luminance(color) {
  var [r, g, b] = color.map(c => c > 10 ? ((c / 255 + .055) / 1.055) ** 2.4 : c / 3294.6);
  return .2126 * r + .7152 * g + .0722 * b;
}
function contrast(one) {
  var behind = ground(one), ink = over(parts(getComputedStyle(one).color), behind);
  var both = [luminance(ink), luminance(behind)];
  return (Math.max(...both) + .05) / (Math.min(...both) + .05);
}
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  var out = [], faint = [], texts = 0, width = document.documentElement.clientWidth;
  document.querySelectorAll("article *").forEach(one => {
    if (one.closest("svg, thead")) return;
    var box = one.getBoundingClientRect();
    if (box.right > width + 1 || box.left < 0) out.push(one.outerHTML.slice(0, 80));
    if (one.clientWidth && one.scrollWidth > one.clientWidth + 1)
      out.push("over " + one.outerHTML.slice(0, 80));
    if (![...one.childNodes].some(node => node.nodeType == 3 && node.data.trim())) return;
    texts++;
    if (contrast(one) < 4.5) faint.push(contrast(one) + " " + one.outerHTML.slice(0, 80));
  });
  parent.postMessage(JSON.stringify({width: width, out: out, faint: faint, texts: texts,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: luminance(ground(document.querySelector("article"))),
    scroll: document.documentElement.scrollWidth}), "*");
});
"""


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "dark"), [(360, True), (400, False), (760, False), (1060, True), (1280, False)]
)
@pytest.mark.parametrize("case", ["all", "many layers", "hostile"])
def test_nothing_sticks_out_or_is_too_faint(
    reports: dict[str, Written], case: str, width: int, dark: bool, tmp_path: Path
) -> None:
    if BROWSER is None:
        pytest.fail("these tests need Chromium or Chrome: install it, or use -m 'not browser'.")
    (tmp_path / "page.html").write_text(with_script(reports[case].html, MEASURE), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page="page.html", width=width), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += ["--no-first-run", "--disable-background-networking"]
    command += ["--window-size=1400,1000", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += ["--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found
    measured = json.loads(unescape(found[1]))
    assert width - 20 <= measured["width"] <= width
    assert measured["dark"] == dark
    assert (measured["ground"] < 0.1) == dark
    assert measured["texts"] > 100
    assert measured["out"] == []
    assert measured["faint"] == []
    assert measured["scroll"] == measured["width"]
