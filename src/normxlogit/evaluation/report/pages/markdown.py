"""The Markdown report."""

import re
from collections.abc import Iterator, Sequence

from normxlogit.evaluation.report.advice import Paragraph
from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.verdicts import VsRandom
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.show import phrases


def markdown(
    view: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
) -> str:
    """Write the page's content without the disputed texts, with links to the figures' files."""
    return "\n".join(_lines(view, paragraphs, random, drawn)) + "\n"


def _lines(
    view: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
) -> Iterator[str]:
    name = phrases.without_folders(str(view.settings["model"]["name"]))
    yield f"# Attribution methods on {plain(name)}"
    yield f"\n{plain(tables.summary(view))}."
    for note in view.results["notes"]:
        yield f"\n**{plain(tables.sentence(note))}**"
    for paragraph in paragraphs:
        yield f"\n## {plain(paragraph.heading)}\n\n{plain(paragraph.message)}"
        if paragraph.details:
            yield f"\n{plain(paragraph.details)}"
    yield "\n## Ranking"
    for number, metrics in enumerate(tables.groups(view)):
        yield ""
        last = [] if number else [tables.cost_heading(view)]
        names = [tables.heading(view, metric) for metric in metrics]
        yield table_row(["Method", *names, *last])
        yield table_row(["---"] * (1 + len(names) + len(last)))
        for row in tables.rows(view, metrics, random):
            cells = [
                "<br>".join(filter(None, (f"{cell.value} {cell.interval}".strip(), *cell.beside)))
                for cell in row.cells
            ]
            yield table_row([plain(row.name), *cells, *[plain(row.cost)] * len(last)])
    yield f"\n{tables.HOW_TO_READ}\n"
    for metric in view.metrics:
        name, about = tables.heading(view, metric), tables.about(view, metric)
        yield f"- {plain(name)}: {plain(about)}"
    if view.results["failed"]:
        yield "\n## Not evaluated\n"
        for name, reason in view.results["failed"].items():
            yield f"- {plain(name)}: {plain(reason)}"
    checked = tables.sanity(view)
    if checked is not None:
        columns, lines = checked
        about = tables.SANITY.format(examples=view.results["sanity"]["examples"])
        yield f"\n## Sanity\n\n{about}\n"
        yield table_row(columns)
        yield table_row(["---"] * len(columns))
        for name, *values in lines:
            yield table_row([plain(name), *values])
    if drawn:
        yield "\n## Figures"
        for figure in drawn:
            yield f"\n![{plain(figure.caption)}](figures/{figure.name}.svg)"
    yield "\n## How this was measured\n"
    for name, value in tables.facts(view):
        yield f"- {name}: {plain(value)}"
    yield f"\n{phrases.CAVEAT}"


def table_row(cells: Sequence[str]) -> str:
    """Join cells into a line of a table."""
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Escape a text so that it is a single line without markup."""
    line = " ".join(phrases.visible(text).split())
    return re.sub(r"([\\`*\[\]<>|#&]|\b_|_\b|!(?=\[))", r"\\\1", line)
