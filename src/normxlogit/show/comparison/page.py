"""Comparisons of methods on a page: words by methods, and how their ranks correlate."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from normxlogit.results.comparison import Comparison
from normxlogit.show import html, outputs
from normxlogit.show.comparison import table
from normxlogit.show.comparison.message import message
from normxlogit.show.meaning import Meaning
from normxlogit.show.sentence import Message
from normxlogit.show.templating import fill

ROWS = 60
"""How many words a table has at most; that of the raw scores has all."""


@dataclass(frozen=True)
class TargetSection:
    """A target on a page.

    Attributes:
        message: the sentence that leads.
        kinds: what the scores of each method tell.
        rows: the words with their shares.
        numbers: all words with their raw scores.
        meaning, note: what the scores say, and what they are.
        correlations: for each method its rank correlation with each.
    """

    message: Message
    kinds: list[table.Kind]
    rows: list[table.Row]
    numbers: list[table.Row]
    meaning: Meaning
    note: str
    correlations: list[list[str]]


def article(comparison: Comparison) -> html.Article:
    """Return the article of a comparison."""
    first = comparison.first
    values = {
        "said": outputs.verdict(first),
        "single": len(comparison.targets) == 1,
        "plain": outputs.is_plain(first),
        "methods": comparison.methods,
        "sections": list(_sections(comparison)),
        "heading": table.CORRELATIONS,
        "not_served": list(comparison.not_served.items()),
    }
    body = html.Body(fill("comparison.html", values), styles=("comparison.css",))
    shown = html.result_article(first, body)
    # The facts of the first method but for how it made its scores, which others did otherwise.
    facts = [(name, fact) for name, fact in shown.facts if name != "Method"]
    methods = [("Method", summary) for summary in table.methods(comparison.at(0))]
    return replace(shown, kind="comparison", facts=[*methods, *facts])


def _sections(comparison: Comparison) -> Iterator[TargetSection]:
    for number in range(len(comparison.targets)):
        part = comparison.at(number)
        yield TargetSection(
            message=message(part),
            kinds=table.kinds(part),
            rows=table.table(part, ROWS),
            numbers=table.table(part, len(part.words)),
            meaning=table.meaning(part),
            note=table.note(part, ROWS),
            correlations=table.correlations(part),
        )
