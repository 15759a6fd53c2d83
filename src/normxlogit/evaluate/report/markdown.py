"""A report as Markdown."""

import re
from collections.abc import Iterator, Sequence

from normxlogit.evaluate.report import tables
from normxlogit.evaluate.report.advice import Paragraph
from normxlogit.evaluate.report.chance import BesideRandom
from normxlogit.evaluate.report.findings import Findings
from normxlogit.evaluate.report.style import Figure
from normxlogit.show import view


def markdown(
    found: Findings,
    paragraphs: Sequence[Paragraph],
    random: BesideRandom,
    drawn: Sequence[Figure],
) -> str:
    """What the page says but for the texts, with links to the figures' files."""
    return "\n".join(_lines(found, paragraphs, random, drawn)) + "\n"


def _lines(
    found: Findings,
    paragraphs: Sequence[Paragraph],
    random: BesideRandom,
    drawn: Sequence[Figure],
) -> Iterator[str]:
    yield f"# Attribution methods on {_plain(str(found.settings['model']['name']))}"
    yield f"\n{_plain(tables.summary(found))}."
    for note in found.results["notes"]:
        yield f"\n**{_plain(tables.sentence(note))}**"
    for paragraph in paragraphs:
        yield f"\n## {_plain(paragraph.heading)}\n\n{_plain(paragraph.text)}"
    yield "\n## Ranking"
    for number, metrics in enumerate(tables.groups(found)):
        yield ""
        last = [] if number else [tables.cost_heading(found)]
        names = [tables.heading(found, metric) for metric in metrics]
        yield _row(["Method", *names, *last])
        yield _row(["---"] * (1 + len(names) + len(last)))
        for row in tables.rows(found, metrics, random):
            cells = [
                "<br>".join(filter(None, (f"{cell.value} {cell.interval}".strip(), *cell.beside)))
                for cell in row.cells
            ]
            yield _row([_plain(row.name), *cells, *[_plain(row.cost)] * len(last)])
    yield f"\n{tables.HOW_TO_READ}\n"
    for metric in found.metrics:
        name, says = tables.heading(found, metric), tables.about(found, metric)
        yield f"- {_plain(name)}: {_plain(says)}"
    if found.results["failed"]:
        yield "\n## Not evaluated\n"
        for name, reason in found.results["failed"].items():
            yield f"- {_plain(name)}: {_plain(reason)}"
    checked = tables.sanity(found)
    if checked is not None:
        columns, lines = checked
        said = tables.SANITY.format(examples=found.results["sanity"]["examples"])
        yield f"\n## Sanity\n\n{said}\n"
        yield _row(columns)
        yield _row(["---"] * len(columns))
        for name, *values in lines:
            yield _row([_plain(name), *values])
    if drawn:
        yield "\n## Figures"
        for figure in drawn:
            yield f"\n![{_plain(figure.caption)}](figures/{figure.name}.svg)"
    yield "\n## How this was measured\n"
    for name, value in tables.facts(found):
        yield f"- {name}: {_plain(value)}"
    yield f"\n{view.CAVEAT}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text on one line in which nothing is markup."""
    one = " ".join(view.visible(text).split())
    return re.sub(r"([\\`*\[\]<>|#&]|\b_|_\b|!(?=\[))", r"\\\1", one)
