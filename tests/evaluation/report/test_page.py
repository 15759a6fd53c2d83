"""The page of a report and its Markdown: what they say, and what they are made of."""

import itertools
import math
import re
from html import escape, unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from normxlogit import InputError
from normxlogit.evaluation.estimates import select_metrics
from normxlogit.evaluation.report import write_report
from normxlogit.evaluation.report.advice import advice
from normxlogit.evaluation.report.disputed_texts import Disputed, disputed
from normxlogit.evaluation.report.pages.disputed import disputed_text
from normxlogit.evaluation.report.pages.markdown import markdown
from normxlogit.evaluation.report.pages.page import page
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.verdicts import compare_with_random
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.evaluation.run import Evaluation
from normxlogit.show.templating import asset
from tests.helpers.random_evaluation import METRICS, method_costs, random_evaluation
from tests.helpers.reports import CASES, FEW_METHODS, FIGURES, PageReader, WrittenReport, write_page

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
def test_what_is_written(reports: dict[str, WrittenReport], case: str, names: set[str]) -> None:
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


def test_limits_are_said(reports: dict[str, WrittenReport]) -> None:
    report = reports["all"]
    for name, value in (("Limit of tokens", 128), ("Limit of rows", 500)):
        assert f"- {name}: {value}\n" in report.markdown
        assert f"<dt>{name}</dt><dd>{value}</dd>" in report.html


def test_the_same_comes_out_the_same(reports: dict[str, WrittenReport], tmp_path: Path) -> None:
    report = reports["layers"]
    again = write_report(tmp_path, report.results, report.scores, method_costs(report.results))
    for path in again:
        assert path.read_bytes() == (report.folder / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("case", ["small", "layers"])
def test_a_notebook_shows_the_report_without_its_figures(
    reports: dict[str, WrittenReport], case: str
) -> None:
    report = reports[case]
    evaluation = Evaluation(report.results, report.scores, method_costs(report.results))
    before, _, after = report.markdown.partition("\n## Figures")
    expected = before + after[after.index("\n## How this was measured") :]
    assert evaluation._repr_markdown_() == expected
    assert len(repr(evaluation)) < 1000


@pytest.mark.parametrize("case", list(CASES))
def test_the_page_needs_nothing_else(reports: dict[str, WrittenReport], case: str) -> None:
    html = reports[case].html
    elements = PageReader(html).elements
    assert {"link", "iframe"}.isdisjoint(tag for tag, _ in elements)
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
def test_nothing_of_a_text_is_markup(reports: dict[str, WrittenReport], case: str) -> None:
    report = reports[case]
    (script,) = re.findall("<script.*?</script>", report.html, re.DOTALL)
    assert script == f"<script>\n{asset('sortable.js')}</script>"
    assert not re.search(r"(?<!\\)<(?!br>)", report.markdown)
    for line in report.markdown.splitlines():
        if line.startswith("|"):
            columns = len(re.findall(r"(?<!\\)\|", line))
        assert not line.startswith("|") or columns in (5, 6, 7)


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
def test_the_ranking(reports: dict[str, WrittenReport], case: str) -> None:
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
                assert ("indistinguishable from the best" in cell) == (
                    gap is not None and not differs
                )
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
def test_figures_of_fewer_examples_say_so(reports: dict[str, WrittenReport], case: str) -> None:
    report = reports[case]
    said = "A figure called loo_tau. Over 28 of the 30 examples: for the others not every method"
    for text in (re.sub("<[^>]*>", " ", report.html), report.markdown.replace("\\", "")):
        assert text.count("of the 30 examples") == text.count(said) == (case == "all")


def test_the_advice_is_a_message_with_its_details_folded(
    reports: dict[str, WrittenReport],
) -> None:
    head = reports["all"].html.partition('class="nx-advice"')[2].partition("</article>")[0]
    unfolded = re.sub(r"<details>.*?</details>", "", head, flags=re.DOTALL)
    assert head.count("<details>") == unfolded.count("<h3>") == 3
    for message in re.findall(r"<p>(.*?)</p>", unfolded, re.DOTALL):
        assert len(message) < 300
    assert "interval" not in unfolded.replace("intervals are wide", "")
    assert "95% interval" in head


@pytest.mark.parametrize("unit", ["word", "token", "sentence"])
def test_what_is_ranked_is_called_what_it_is(unit: str) -> None:
    results, scores = random_evaluation(FEW_METHODS, examples=30, further=True)
    results["settings"]["unit"] = unit
    further = ("curves", "naopc", "loo_tau")
    metrics = select_metrics(further, unit, is_regression=False, labelled=True)
    for name, about in results["metrics"].items():
        about["about"] = metrics[name].about
    found = EvaluationView(results, method_costs(results))
    paragraphs = advice(found, PairedBootstrap(scores, 0).difference)
    drawn = [Figure("sufficiency", "It.", '<svg width="9pt"></svg>', b"")]
    html = page(found, paragraphs, {}, drawn, scores).split("</style>")[1]
    shown = unescape(re.sub("<[^>]*>", " ", html))
    for text in (shown, markdown(found, paragraphs, {}, drawn)):
        assert bool(re.search(r"(?i)\bwords?\b", text)) == (unit == "word")
        assert f"as one {unit} after the other is hidden" in text
        assert f"the loss when each {unit} alone is hidden" in text
    for said in (f"Which {unit}s does", f"{unit}s are hidden, or", f"Above zero a {unit} supports"):
        assert said.casefold() in shown.casefold()
    soft = select_metrics(("soft",), unit, is_regression=True, labelled=False)["pi_soft_nc"].about
    assert f"more important a {unit} is, as a share of the loss with all {unit}s" in soft


def test_markdown_has_the_tables_of_the_page(reports: dict[str, WrittenReport]) -> None:
    report = reports["all"]
    lines = [line for line in report.markdown.splitlines() if line.startswith("|")]
    lines = [line for line in lines if "---" not in line]
    rows = [row for table in cells(report.html) for row in table]
    assert len(lines) == len(rows) == 36
    for line, row in zip(lines, rows, strict=True):
        shown = re.sub(r"\\(.)", r"\1", line.replace("<br>", " ")).strip("| ").split(" | ")
        assert [" ".join(cell.split()) for cell in shown] == [" ".join(c.split()) for c in row]


def test_what_is_not_better_than_random_is_said(reports: dict[str, WrittenReport]) -> None:
    names = ("alti", "norm", "attention", "random")
    strength = {"alti": 0.4, "norm": 0.2, "attention": 0.1, "random": 0.2}
    results, scores = random_evaluation(names, strength=strength)
    found = EvaluationView(results, None)
    placed = compare_with_random(found, PairedBootstrap(scores, 0))
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
    html = disputed_text(
        EvaluationView(random_evaluation(("alti",), examples=5)[0], None), ["alti"], 1, text
    )
    (shown,) = re.findall(r'<p class="nx-text" dir="auto">(.*?)</p>', html, re.DOTALL)
    marks = re.findall(r"<mark([^>]*)>(.*?)</mark>", shown)
    assert [word for _, word in marks] == ["[CLS]", "A", "&lt;b&gt;", "a"]
    shares = [float(re.findall(r"--share:([\d.]+)", look)[0]) for look, _ in marks]
    assert shares == [0.25, 0.5, 1.0, 0.75]
    assert ["nx-against" in look for look, _ in marks] == [False, False, True, False]
    assert unescape(re.sub("<[^>]*>", "", shown)) == "[CLS]A <b> b,  a\na b"
    assert "Agreement −0.25" in html


def test_the_ten_texts_on_the_page(reports: dict[str, WrittenReport]) -> None:
    report = reports["small"]
    methods = [name for name in FEW_METHODS if name != "random"]
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
    assert "No text is left to compare" in write_page(
        random_evaluation(FEW_METHODS, text="a b c d")
    )


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results, scores = random_evaluation(FEW_METHODS, examples=5)
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "file", results, scores, None)
