"""Of how many texts each figure of an evaluation is."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest

from normxlogit import Explainer
from normxlogit.evaluation.estimates import Metric, estimate_metrics
from normxlogit.evaluation.records import records_table
from normxlogit.evaluation.run import Evaluation
from tests.helpers.paths import ROOT

Data = dict[str, Any]
ROWS: list[Data] = [
    {"text": "A great movie with poor performers.", "label": 0},
    {"text": "movie", "label": 1},
    {"text": "The plot is not bad at all", "label": None},
    {"text": "Don't watch it twice", "label": 2},
    {"text": "good", "label": None},
]
METHODS = ["norm", "logat", "random"]
ONE_WORD = {1, 4}
"""Rows whose order cannot be better or worse than another."""
NAN = math.nan


def test_figures_of_texts_that_not_every_method_has_one_of(
    explainer: Explainer, tmp_path: Path
) -> None:
    found = explainer.evaluate(
        ROWS,
        tmp_path / "out",
        label="label",
        methods=METHODS,
        metrics=["naopc", "loo_tau", "soft", "sanity"],
        draws=2,
        operator="unk",
        ratios=[0.5],
    )
    records = found.scores.to_pylist()
    expected: dict[str, set[int]] = {}
    for metric in ("naopc_comprehensiveness", "naopc_sufficiency", "loo_tau", "pi_soft_nc"):
        lacking = {r["row"] for r in records if r[metric] is None or math.isnan(r[metric])}
        expected[metric] = set(range(len(ROWS))) - lacking
        if metric != "pi_soft_nc":
            assert lacking == ONE_WORD
    expected["pi_soft_ns"] = expected["pi_soft_nc"]
    for metric in ("comprehensiveness", "sufficiency"):
        expected[metric] = set(range(len(ROWS)))
        expected[f"{metric}_accuracy"] = {n for n, r in enumerate(ROWS) if r["label"] is not None}
    assert set(found.results["metrics"]) == set(expected)
    for metric, name in itertools.product(expected, METHODS):
        figure = found.results["methods"][name]["figures"][metric]
        assert figure["examples"] == len(expected[metric]), metric
    assert found.results["examples"]["evaluated"] == len(ROWS)
    for page in ("report.md", "report.html"):
        text = (tmp_path / "out" / page).read_text("utf-8")
        fewer = [len(rows) for rows in expected.values() if len(rows) < len(ROWS)]
        assert text.count("Over 3 of the 5 examples") == fewer.count(3) >= 5
        assert text.count("of the 5 examples:") == len(fewer)
    assert_described(found)


def test_a_metric_of_no_text_is_noted(explainer: Explainer) -> None:
    found = explainer.evaluate(
        ["movie", "good"], methods=["norm"], metrics=["loo_tau", "curves"], operator="unk"
    )
    assert set(found.results["metrics"]) == {
        "comprehensiveness",
        "sufficiency",
        "deletion",
        "insertion",
    }
    notes = [note for note in found.results["notes"] if "for every method" in note]
    assert notes == ["no text has a value of loo_tau for every method."]


def assert_described(found: Evaluation) -> None:
    """The documentation names whatever the results and costs hold."""
    results, costs = found.results, found.costs
    method = results["methods"]["norm"]
    parts = [results, results["examples"], results["forwards"], method, results["sanity"], costs]
    parts += [results["metrics"]["loo_tau"], results["sanity"]["methods"]["norm"]]
    parts += [costs["methods"]["norm"]]
    for one in ("norm", "logat"):
        figure = results["methods"][one]["figures"]["sufficiency"]
        parts += [figure, figure["beside_best"] or {}]
    page = ROOT / "docs" / "evaluate.md"
    shown = page.read_text("utf-8").split("## The files")[1]
    assert {f"`{name}`" for part in parts for name in part} <= set(re.findall("`[^`]*`", shown))


@pytest.mark.parametrize(
    ("column", "agreement", "gold", "expected"),
    [
        ("loo_tau", None, {}, {1, 4}),
        ("comprehensiveness_said", "accuracy", {0: 1.0, 2: 0.0, 3: 1.0}, {0, 2, 3}),
        ("comprehensiveness_said", "pearson", {0: 1.0, 2: 0.5, 3: 0.1}, {0, 2, 3}),
    ],
)
def test_a_text_counts_if_every_draw_of_every_method_has_a_figure(
    column: str, agreement: str | None, gold: dict[int, float], expected: set[int]
) -> None:
    tau = {
        ("norm", 0): [NAN, 0.5, 0.1, 0.2, -0.3],
        ("random", 0): [0.1, 0.2, 0.3, NAN, 0.4],
        ("random", 1): [0.1, 0.6, NAN, 0.5, 0.8],
    }
    said = {key: [[0.0], [1.0], [1.0], [0.0], [1.0]] for key in tau}
    values: dict[Any, Any] = tau if column == "loo_tau" else said
    records = [
        {"row": row, "method": name, "draw": draw, column: value}
        for (name, draw), own in values.items()
        for row, value in enumerate(own)
    ]
    metric = Metric("", True, column, agreement)
    found = estimate_metrics(records_table(records), {"it": metric}, gold, 0)
    for name in ("norm", "random"):
        figure = found[name]["it"]
        assert figure["examples"] == len(expected)
        if agreement is None:
            own = [values[key][row] for key in values if key[0] == name for row in expected]
            assert figure["value"] == pytest.approx(sum(own) / len(own))
