"""A report as a page that needs nothing else."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from normxlogit.evaluation.report.advice import Paragraph
from normxlogit.evaluation.report.disagreement import LEAST, disputed
from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.pages.disputed import breakable, text_of
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.evaluation.report.vs_random import VsRandom
from normxlogit.show import phrases
from normxlogit.show.html import asset, document

if TYPE_CHECKING:
    import pyarrow as pa

CURVES = (
    "Each line is a method. {units} are hidden, or all others are, in the order that it ranks "
    "them: the further a line is on the better side, the better that ranking tells what the output "
    "rests on. Colours are families of methods."
)


def page(
    found: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
    scores: "pa.Table",
) -> str:
    """The whole report: what to use, the ranking, the figures, and the texts most disputed."""
    name = str(found.settings["model"]["name"])
    style = asset("fragment.css") + (files(__package__) / "report.css").read_text("utf-8")
    sections = [
        _opening(found, name, paragraphs),
        _ranking(found, random),
        _figures(
            "Faithfulness curves",
            _by_share(drawn),
            CURVES.format(units=found.units.capitalize()),
        ),
        _figures("What it costs", [figure for figure in drawn if figure.name == "cost"])
        or _section("What it costs", "<p>Costs were not measured in this evaluation.</p>\n"),
        _figures("By layer", [one for one in drawn if one.name.startswith("layers_")]),
        _sanity(found),
        _disputed(found, scores),
        _measured(found),
    ]
    return document(f"Attribution methods on {phrases.visible(name)}", "".join(sections), style)


def _by_share(drawn: Sequence[Figure]) -> list[Figure]:
    return [one for one in drawn if one.name != "cost" and not one.name.startswith("layers_")]


def _section(heading: str, content: str) -> str:
    return (
        f'<article class="normxlogit nx-report">\n<h2><strong>{heading}</strong></h2>\n'
        f"{content}</article>\n"
    )


def _opening(found: EvaluationView, name: str, paragraphs: Sequence[Paragraph]) -> str:
    notes = "".join(f"<li>{_text(tables.sentence(note))}</li>\n" for note in found.results["notes"])
    words = "".join(
        f"<h3>{_text(one.heading)}</h3>\n<p>{_text(one.text)}</p>\n" for one in paragraphs
    )
    return (
        '<article class="normxlogit nx-report">\n'
        f"<h1>Attribution methods on {_text(name)}</h1>\n"
        f'<p class="nx-quiet">Which {found.units} does the model\'s output rest on? Methods rank '
        f"them; this is a test of whose ranking holds when {found.units} are hidden from the "
        f"model. {_text(tables.summary(found))}.</p>\n"
        + (f'<ul class="nx-notes">\n{notes}</ul>\n' if notes else "")
        + f'<div class="nx-advice">\n{words}</div>\n</article>\n'
    )


def _ranking(found: EvaluationView, random: VsRandom) -> str:
    parts = [f"<p>{_text(tables.HOW_TO_READ)}</p>\n"]
    for number, metrics in enumerate(tables.groups(found)):
        parts.append(_table(found, metrics, random, with_cost=number == 0))
    about = "".join(
        f"<dt>{_text(tables.heading(found, metric))}</dt><dd>{_text(tables.about(found, metric))}"
        "</dd>\n"
        for metric in found.metrics
    )
    parts.append(f"<dl>\n{about}</dl>\n")
    failed = found.results["failed"]
    if failed:
        rows = "".join(
            f"<dt>{breakable(name)}</dt><dd>{_text(reason)}</dd>\n"
            for name, reason in failed.items()
        )
        parts.append(f"<h3>Not evaluated</h3>\n<dl>\n{rows}</dl>\n")
    return _section("Ranking", "".join(parts))


def _sanity(found: EvaluationView) -> str:
    checked = tables.sanity(found)
    if checked is None:
        return ""
    names, rows = checked
    head = "".join(f'<th scope="col" role="columnheader">{_text(name)}</th>' for name in names)
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{breakable(method)}</th>'
        + "".join(
            f'<td role="cell" data-of="{_text(name)}">{_text(value)}</td>'
            for name, value in zip(names[1:], values, strict=True)
        )
        + "</tr>\n"
        for method, *values in rows
    )
    about = tables.SANITY.format(examples=found.results["sanity"]["examples"])
    return _section(
        "Sanity",
        f'<p>{_text(about)}</p>\n<div class="nx-scroll"><table role="table" class="nx-ranking">\n'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}</tbody>\n</table></div>\n',
    )


def _table(found: EvaluationView, metrics: list[str], random: VsRandom, with_cost: bool) -> str:
    names = [_text(tables.heading(found, metric)) for metric in metrics]
    last = [_text(tables.cost_heading(found))] * with_cost
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in [*names, *last])
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{breakable(row.name)}</th>'
        + "".join(
            f'<td role="cell" data-of="{name}">{_cell(cell)}</td>'
            for name, cell in zip(names, row.cells, strict=True)
        )
        + "".join(
            f'<td role="cell" class="nx-cost" data-of="{name}">{_text(row.cost)}</td>'
            for name in last
        )
        + "</tr>\n"
        for row in tables.rows(found, metrics, random)
    )
    return (
        '<div class="nx-scroll"><table role="table" class="nx-ranking">\n<thead role="rowgroup">'
        f'<tr role="row"><th scope="col" role="columnheader">Method</th>{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}</tbody>\n</table></div>\n'
    )


def _cell(cell: tables.Cell) -> str:
    beside = "".join(
        f'<span class="nx-beside{_kind(one)}">{_text(one)}</span>' for one in cell.beside
    )
    interval = f' <span class="nx-interval">{_text(cell.interval)}</span>' if cell.interval else ""
    return f"<span><strong>{_text(cell.value)}</strong>{interval}{beside}</span>"


def _kind(beside: str) -> str:
    """A further class for what is to be found at a glance."""
    return " nx-alike" if beside in tables.BESIDE.values() else ""


def _figures(heading: str, drawn: Sequence[Figure], about: str = "") -> str:
    shown = "".join(
        f'<figure>\n<div class="nx-scroll" role="img" aria-label="{_text(one.caption)}">'
        f"{one.inline()}</div>\n<figcaption>{_text(one.caption)}</figcaption>\n</figure>\n"
        for one in drawn
    )
    said = f"<p>{about}</p>\n" if about else ""
    return _section(heading, f'{said}<div class="nx-figures">\n{shown}</div>\n') if shown else ""


def _disputed(found: EvaluationView, scores: "pa.Table") -> str:
    methods = [name for name in found.representatives() if not found.is_baseline(name)]
    heading = "Where methods disagree most"
    if len(methods) < 2:
        return _section(heading, "<p>That takes two methods that look at the model.</p>\n")
    texts = disputed(scores, methods)
    about = tables.DISAGREEMENT.format(units=found.units, least=LEAST, methods=", ".join(methods))
    signs = (
        "What the sign says differs between methods."
        if found.regression
        else f"Above zero a {found.settings['unit']} speaks for the prediction, below zero against "
        "it; some methods' scores have no sign, and tell how much and not for what."
    )
    key = (
        '<p class="nx-legend"><span><mark>+</mark> above zero</span>'
        '<span><mark class="nx-against">−</mark> below zero</span></p>\n'
        '<p class="nx-quiet">The stronger the colour, the larger the score beside the largest of '
        f"that method in the text. {signs}</p>\n"
    )
    if not texts:
        return _section(heading, f"<p>{_text(about)}</p>\n<p>No text is left to compare.</p>\n")
    shown = "".join(text_of(found, methods, number, one) for number, one in enumerate(texts, 1))
    return _section(heading, f"<p>{_text(about)}</p>\n{key}{shown}")


def _measured(found: EvaluationView) -> str:
    rows = "".join(
        f"<dt>{name}</dt><dd>{_text(value)}</dd>\n" for name, value in tables.facts(found)
    )
    beside = "The numbers are in results.json and scores.parquet beside this page."
    return _section("How this was measured", f"<p>{beside}</p>\n<dl>\n{rows}</dl>\n")


def _text(text: str) -> str:
    return escape(phrases.visible(text))
