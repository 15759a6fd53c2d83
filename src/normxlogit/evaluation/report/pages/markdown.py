"""A report as Markdown."""

import re
from collections.abc import Iterator, Sequence

from normxlogit.evaluation.report.advice import Paragraph
from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.evaluation.report.vs_random import VsRandom
from normxlogit.show import phrases


def markdown(
    found: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
) -> str:
    """What the page says but for the texts, with links to the figures' files."""
    return "\n".join(_lines(found, paragraphs, random, drawn)) + "\n"


def _lines(
    found: EvaluationView,
    paragraphs: Sequence[Paragraph],
    random: VsRandom,
    drawn: Sequence[Figure],
) -> Iterator[str]:
    yield f"# Attribution methods on {plain(str(found.settings['model']['name']))}"
    yield f"\n{plain(tables.summary(found))}."
    for note in found.results["notes"]:
        yield f"\n**{plain(tables.sentence(note))}**"
    for paragraph in paragraphs:
        yield f"\n## {plain(paragraph.heading)}\n\n{plain(paragraph.text)}"
    yield "\n## Ranking"
    for number, metrics in enumerate(tables.groups(found)):
        yield ""
        last = [] if number else [tables.cost_heading(found)]
        names = [tables.heading(found, metric) for metric in metrics]
        yield table_row(["Method", *names, *last])
        yield table_row(["---"] * (1 + len(names) + len(last)))
        for row in tables.rows(found, metrics, random):
            cells = [
                "<br>".join(filter(None, (f"{cell.value} {cell.interval}".strip(), *cell.beside)))
                for cell in row.cells
            ]
            yield table_row([plain(row.name), *cells, *[plain(row.cost)] * len(last)])
    yield f"\n{tables.HOW_TO_READ}\n"
    for metric in found.metrics:
        name, says = tables.heading(found, metric), tables.about(found, metric)
        yield f"- {plain(name)}: {plain(says)}"
    if found.results["failed"]:
        yield "\n## Not evaluated\n"
        for name, reason in found.results["failed"].items():
            yield f"- {plain(name)}: {plain(reason)}"
    checked = tables.sanity(found)
    if checked is not None:
        columns, lines = checked
        said = tables.SANITY.format(examples=found.results["sanity"]["examples"])
        yield f"\n## Sanity\n\n{said}\n"
        yield table_row(columns)
        yield table_row(["---"] * len(columns))
        for name, *values in lines:
            yield table_row([plain(name), *values])
    if drawn:
        yield "\n## Figures"
        for figure in drawn:
            yield f"\n![{plain(figure.caption)}](figures/{figure.name}.svg)"
    yield "\n## How this was measured\n"
    for name, value in tables.facts(found):
        yield f"- {name}: {plain(value)}"
    yield f"\n{phrases.CAVEAT}"


def table_row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text on one line in which nothing is markup."""
    one = " ".join(phrases.visible(text).split())
    return re.sub(r"([\\`*\[\]<>|#&]|\b_|_\b|!(?=\[))", r"\\\1", one)
