"""Answers and their sources in a terminal: the answer with citations, then sources with scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import phrases
from normxlogit.show.sources import message
from normxlogit.show.terminal import DIM, FOR, LABEL, bar_lines, field, fitted

SOURCES = 3
"""How many sources are listed for each of several sentences."""

MOST_SOURCES = 12
"""How many are listed of an answer of one sentence."""

SPANS = 12
"""For how many sentences sources are listed."""


def render(result: SourceAttribution) -> RenderableType:
    """Return what rich prints of an answer and its sources."""
    return SourceReport(result)


@dataclass(frozen=True)
class SourceReport:
    """An answer and its sources as rich prints them."""

    result: SourceAttribution

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        result, width = self.result, options.max_width
        yield Text(phrases.visible(message.message(result)), LABEL)
        yield Text()
        if result.question:
            question = " ".join(phrases.visible(result.question).split())
            yield field("Question", Text(phrases.shortened(question, 2 * width - 30)))
        yield field("Answer", _cited(result))
        for span in range(min(SPANS, len(result.spans))):
            yield Text()
            if len(result.spans) > 1:
                sentence = " ".join(phrases.visible(result.texts[span]).split())
                yield Text(f"“{phrases.shortened(sentence, max(20, width - 4))}”", LABEL)
            yield from _sources(result, span, width)
        if len(result.spans) > SPANS:
            yield Text()
            yield Text(f"The first {SPANS} of {len(result.spans)} sentences.", DIM)
        yield Text()
        yield Text(message.meaning(result), DIM)
        yield Text(message.summary(result), DIM)


def _cited(result: SourceAttribution) -> Text:
    """Return the answer with its citations."""
    line = Text(overflow="fold")
    citations = None if result.threshold is None else result.citations
    for piece, span in result.pieces:
        line.append(phrases.visible(piece), None if span is None else LABEL)
        if span is None or citations is None:
            continue
        if citations[span]:
            line.append("".join(f" [{n + 1}]" for n in sorted(citations[span])), FOR)
        else:
            line.append(" [no source]", DIM)
    return line


def _sources(result: SourceAttribution, span: int, width: int) -> Iterator[Text]:
    """Yield the leading sources of a span with their leading sentences, and what none explains."""
    count = SOURCES if len(result.spans) > 1 else MOST_SOURCES
    rows = result.leading(span)[:count]
    room = max(8, width // 3)
    names = [fitted(f"[{n + 1}] {_name(result, n)}", room).rstrip() for n in rows]
    scores = result.scores[span, rows]
    signed = message.is_signed(result)
    lines = bar_lines(names, scores, width, [False] * len(rows), signed=signed)
    cited = [] if result.threshold is None else result.citations[span]
    for number, line in zip(rows, lines, strict=True):
        yield line
        of_sentences = result.sentence_scores.get(number)
        is_shown = number in cited or (result.threshold is None and number == rows[0])
        if is_shown and of_sentences is not None and of_sentences.shape[1] > 1:
            best = int(np.argmax(of_sentences[span]))
            quoted = " ".join(phrases.visible(result.sentence(number, best)).split())
            yield Text(f"      “{phrases.shortened(quoted, max(20, width - 10))}”", DIM)
    more = len(result.sources) - len(rows)
    if more:
        yield Text(f"  ... and {more} more", DIM)
    share = phrases.percent(result.spans[span].unexplained)
    yield Text(f"  Without any source {share} as likely.", DIM)


def _name(result: SourceAttribution, number: int) -> str:
    """Return the name of a source in a table: its title, or how its text begins."""
    source = result.sources[number]
    shown = source.name if source.name and source.kind != "sentence" else source.text
    return phrases.one_line(" ".join(shown.split()))
