"""The summary of a corpus in a terminal."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normxlogit.corpus.summaries.findings import ClassWords, Difference, Findings, Label, Values
from normxlogit.show import phrases
from normxlogit.show.corpus import sentences
from normxlogit.show.corpus.passages import passages
from normxlogit.show.terminal import AGAINST, DIM, FOR, LABEL, field
from normxlogit.show.text.terminal import word_style

_BAR = 24


def render(findings: Findings) -> RenderableType:
    """Return what rich prints of a summary."""
    return SummaryReport(findings)


@dataclass(frozen=True)
class SummaryReport:
    """The summary of a corpus as rich prints it."""

    findings: Findings

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        findings = self.findings
        for sentence in sentences.warnings(findings):
            yield Text(sentence, LABEL)
        yield from (field(name, Text(value)) for name, value in sentences.facts(findings))
        yield Text()
        if findings.labels:
            yield from _labels(findings, findings.labels)
        for values in findings.values or ():
            yield from _values(findings, values)
        yield Text(sentences.agreement(findings))
        for part in findings.words[: sentences.CLASSES]:
            yield from _words(findings, part)
        if len(findings.words) > sentences.CLASSES:
            count = len(findings.words)
            yield Text(f"\nThe {sentences.CLASSES} labels of {count} with most records.", DIM)
        if columns := sentences.meaning(findings):
            yield Text()
            yield from (field(column, Text(says, DIM)) for column, says in columns)
            yield Text(sentences.CAVEAT, DIM)
        if findings.differences:
            yield Text(f"\n{sentences.differing(findings)}\n")
        for difference in findings.differences:
            yield from _difference(findings, difference)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=DIM)
    for name, side in columns:
        table.add_column(
            name,
            justify="right" if side == "right" else "left",
            overflow="fold" if side == "left" else "crop",
            no_wrap=side != "left",
        )
    return table


def _labels(findings: Findings, labels: tuple[Label, ...]) -> Iterator[RenderableType]:
    shown = labels[: sentences.CLASSES]
    whole = sum(label.predicted for label in labels)
    labelled = sum(label.given for label in labels)
    most = max(max(label.predicted, label.given) for label in labels) or 1
    has_labels = [("label", "right"), ("", "right")] if labelled else []
    table = _table(("", "left"), ("predicted", "right"), ("", "right"), *has_labels, ("", "bar"))
    for label in shown:
        cells = [Text(sentences.name(findings, label.label), LABEL)]
        cells += [Text(f"{label.predicted:,}"), Text(sentences.share(label.predicted, whole))]
        if labelled:
            cells += [Text(f"{label.given:,}"), Text(sentences.share(label.given, labelled))]
        table.add_row(*cells, _bar(label.predicted / most))
    yield table
    if len(labels) > len(shown):
        yield Text(f"The {len(shown)} most frequent of {len(labels)} labels.", DIM)
    yield Text()


def _values(findings: Findings, values: Values) -> Iterator[RenderableType]:
    yield Text.assemble(
        (sentences.name(findings, values.label), LABEL),
        f"  {sentences.spread(values)}",
    )
    table, most = _table(("from", "right"), ("rows", "right"), ("", "bar")), max(values.bins) or 1
    low, high = values.edges
    for number, count in enumerate(values.bins):
        start = low + (high - low) * number / len(values.bins)
        table.add_row(Text(phrases.decimal(start)), Text(f"{count:,}"), _bar(count / most))
    yield table
    yield Text()


def _words(findings: Findings, part: ClassWords) -> Iterator[RenderableType]:
    yield Text.assemble(
        "\nWords that push ",
        (sentences.name(findings, part.target), LABEL),
    )
    yield Text(sentences.chosen(part), DIM)
    largest = max((abs(word.mean) for word in part.words), default=1.0)
    columns = (("word", "left"), ("lead", "right"), ("mean", "right"), ("count", "right"))
    table = _table(*columns, ("", "bar"))
    for word in part.words:
        table.add_row(
            Text(phrases.shortened(phrases.one_line(word.word), 40)),
            Text(phrases.number(word.lead, largest, signed=findings.signed)),
            Text(phrases.number(word.mean, largest, signed=findings.signed)),
            Text(sentences.occurrences(word, part)),
            _bar(word.lead / part.words[0].lead),
        )
    if part.words:
        yield table


def _bar(share: float) -> Text:
    halves = round(2 * _BAR * abs(share))
    bar = "█" * (halves // 2) + "▌" * (halves % 2)
    return Text(bar, FOR if share > 0 else AGAINST)


def _difference(findings: Findings, difference: Difference) -> Iterator[RenderableType]:
    amount = sentences.amount(findings, difference.value)
    prediction = (f"{sentences.name(findings, difference.prediction)} ", LABEL)
    yield Text.assemble(
        *((amount, LABEL),) if findings.problem == "regression" else (prediction, amount),
        ", label ",
        (sentences.name(findings, difference.label), LABEL),
        (f"   {sentences.row_name(difference)}", DIM),
    )
    for pieces in passages(difference, 240):
        line = Text(overflow="fold")
        for piece in pieces:
            shown = re.sub(r"\s+", " ", phrases.visible(piece.text))
            line.append(shown, word_style(piece.share or 0.0))
        yield Padding(line, (0, 0, 0, 2))
    for digest in sentences.hashes(difference):
        yield Padding(Text(digest, overflow="fold"), (0, 0, 0, 2))
    largest = max((abs(score) for _, score in difference.words), default=1.0) or 1.0
    yield Padding(Text(sentences.scored(findings, difference), DIM), (0, 0, 0, 2))
    words = list[Text]()
    for word, score in difference.words:
        color = FOR if score > 0 else AGAINST
        shown = phrases.shortened(phrases.one_line(word), 40)
        number = phrases.number(score, largest, signed=findings.signed)
        words.append(Text.assemble(f"{shown} ", (number, color)))
    yield Padding(Columns(words, padding=(0, 2)), (0, 0, 1, 2))
