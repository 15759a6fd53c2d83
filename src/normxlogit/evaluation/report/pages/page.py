"""A report as a page that needs nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from normxlogit.evaluation.report.advice import Paragraph
from normxlogit.evaluation.report.disputed_texts import LEAST, disputed
from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.pages.disputed import disputed_text
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.verdicts import VsRandom
from normxlogit.evaluation.report.view import MAIN, EvaluationView, times
from normxlogit.show import phrases
from normxlogit.show.html import document
from normxlogit.show.templating import asset, fill

if TYPE_CHECKING:
    import pyarrow as pa

CURVES = (
    "Each line is a method. {units} are hidden, or all others are, in the order that it ranks "
    "them: the further a line is on the better side, the better that ranking tells what the output "
    "rests on. Colours are families of methods; each method has a marker of its own."
)
COSTS = "Each point is a method: the higher, the better its ranking, the further left, the cheaper."


_SVG_STYLE = re.compile("<style[^>]*>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column that rows can be sorted by.

    Attributes:
        name: its heading.
        first: the order that comes first, "ascending" or "descending": from the best on.
        is_order: whether the rows are in this order to begin with.
    """

    name: str
    first: str = "ascending"
    is_order: bool = False


@dataclass(frozen=True)
class RankingTable:
    """A table of methods.

    Attributes:
        columns: its columns: the methods' names, metrics, and costs if it has them.
        has_cost: whether it has these.
        rows: the methods.
    """

    columns: list[Column]
    has_cost: bool
    rows: list[tables.TableRow]


@dataclass(frozen=True)
class SanityTable:
    """The table of sanity checks: what it shows, its columns, and its rows."""

    about: str
    columns: list[Column]
    rows: list[list[str]]


@dataclass(frozen=True)
class CostRow:
    """A method with its cost and its estimate in the first metric, as numbers and as text."""

    name: str
    forwards: float
    cost: str
    value: float
    estimate: str


@dataclass(frozen=True)
class FigureGroup:
    """Figures under a heading.

    Attributes:
        heading: the heading.
        about: what they show; empty if their captions say all.
        figures: the caption of each, and its SVG.
        costs: the methods that they show with their costs, the cheapest first; else empty.
        otherwise: what is said if there are none; then without it the group is left out.
    """

    heading: str
    about: str
    figures: list[tuple[str, Markup]]
    costs: Sequence[CostRow] = ()
    otherwise: str = ""


@dataclass(frozen=True)
class Dispute:
    """The texts that methods disagree on most.

    Attributes:
        about: what the agreement is; None if there are no two methods to compare.
        signs: what the sign of a score says.
        texts: the texts.
    """

    about: str | None
    signs: str
    texts: list[Markup]


def page(
    findings: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
    scores: "pa.Table",
) -> str:
    """Return the report: what to use, the ranking, the figures, and the texts most disputed."""
    name = phrases.without_folders(str(findings.settings["model"]["name"]))
    groups = _figure_groups(findings, drawn)
    values = {
        "name": name,
        "units": findings.units,
        "summary": tables.summary(findings),
        "notes": [tables.sentence(note) for note in findings.results["notes"]],
        "paragraphs": paragraphs,
        "how_to_read": tables.HOW_TO_READ,
        "rankings": _rankings(findings, random),
        "metrics": [
            (tables.heading(findings, metric), tables.about(findings, metric))
            for metric in findings.metrics
        ],
        "failed": findings.results["failed"],
        "alike": tables.BESIDE.values(),
        "figure_groups": groups,
        "sanity": _sanity(findings),
        "dispute": _dispute(findings, scores),
        "facts": tables.facts(findings),
    }
    title = f"Attribution methods on {phrases.visible(name)}"
    style = asset("fragment.css") + asset("sortable.css") + asset("report.css", __package__)
    svgs = [svg for group in groups for _, svg in group.figures]
    return document(
        title,
        fill("report.html", values, __package__),
        style,
        asset("sortable.js"),
        has_images=any("<image" in svg for svg in svgs),
        figure_styles=[content for svg in svgs for content in _SVG_STYLE.findall(svg)],
    )


def _rankings(findings: EvaluationView, random: VsRandom) -> list[RankingTable]:
    return [
        RankingTable(
            columns=[
                Column("Method"),
                *(_column(findings, metric) for metric in metrics),
                *([] if number else [Column(tables.cost_heading(findings))]),
            ],
            has_cost=not number,
            rows=tables.rows(findings, metrics, random),
        )
        for number, metrics in enumerate(tables.groups(findings))
    ]


def _column(findings: EvaluationView, metric: str) -> Column:
    first = "descending" if findings.metrics[metric]["higher_is_better"] else "ascending"
    return Column(tables.heading(findings, metric), first, is_order=metric == MAIN[0])


def _figure_groups(findings: EvaluationView, drawn: Sequence[Figure]) -> list[FigureGroup]:
    costs = [figure for figure in drawn if figure.name == "cost"]
    layers = [figure for figure in drawn if figure.name.startswith("layers_")]
    curves = [figure for figure in drawn if figure not in (*costs, *layers)]
    about = CURVES.format(units=findings.units.capitalize())
    unmeasured = "Costs were not measured in this evaluation."
    return [
        FigureGroup("Faithfulness curves", about, _inline(curves)),
        FigureGroup(
            "What it costs",
            COSTS if costs else "",
            _inline(costs),
            _costs(findings) if costs else (),
            unmeasured,
        ),
        FigureGroup("By layer", "", _inline(layers)),
    ]


def _costs(findings: EvaluationView) -> list[CostRow]:
    rows = [
        CostRow(
            name,
            cost,
            f"{times(cost)} ×",
            estimate["value"],
            findings.amount(MAIN[0], estimate["value"]),
        )
        for name in findings.representatives()
        if (cost := findings.forwards(name)) is not None
        and (estimate := findings.estimate(name, MAIN[0])) is not None
    ]
    return sorted(rows, key=lambda row: row.forwards)


def _inline(figures: Sequence[Figure]) -> list[tuple[str, Markup]]:
    # matplotlib drew and escaped the SVG; it is the one markup here that no template made.
    return [(figure.caption, Markup(figure.inline())) for figure in figures]


def _sanity(findings: EvaluationView) -> SanityTable | None:
    checked = tables.sanity(findings)
    if checked is None:
        return None
    about = tables.SANITY.format(examples=findings.results["sanity"]["examples"])
    (method, *checks), rows = checked
    return SanityTable(about, [Column(method), *(Column(c, "descending") for c in checks)], rows)


def _dispute(findings: EvaluationView, scores: "pa.Table") -> Dispute:
    methods = [name for name in findings.representatives() if not findings.is_baseline(name)]
    if len(methods) < 2:
        return Dispute(None, "", [])
    about = tables.DISAGREEMENT.format(
        units=findings.units, least=LEAST, methods=", ".join(methods)
    )
    signs = (
        "What the sign says differs between methods."
        if findings.regression
        else f"Above zero a {findings.settings['unit']} supports the prediction, below zero it "
        "opposes it; some methods' scores have no sign: they tell how much, not in which direction."
    )
    texts = enumerate(disputed(scores, methods), 1)
    shown = [disputed_text(findings, methods, number, text) for number, text in texts]
    return Dispute(about, signs, shown)
