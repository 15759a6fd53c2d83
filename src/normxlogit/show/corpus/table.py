"""The findings in a corpus in a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from normxlogit.corpus.findings import ClassWords, Difference, Findings, Label, Values
from normxlogit.show import phrases
from normxlogit.show.corpus import view
from normxlogit.show.terminal import AGAINST, DIM, FOR, LABEL, field

_BAR = 24


def render(findings: Findings) -> RenderableType:
    """What rich prints of them."""
    return Report(findings)


@dataclass(frozen=True)
class Report:
    """Findings as rich prints them."""

    findings: Findings

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        found = self.findings
        for sentence in view.warnings(found):
            yield Text(sentence, LABEL)
        yield from (field(name, Text(value)) for name, value in view.facts(found))
        yield Text()
        if found.labels:
            yield from _labels(found, found.labels)
        for values in found.values or ():
            yield from _values(found, values)
        yield Text(view.agreement(found))
        for part in found.words[: view.CLASSES]:
            yield from _words(found, part)
        if len(found.words) > view.CLASSES:
            count = len(found.words)
            yield Text(f"\nThe {view.CLASSES} labels of {count} with most records.", DIM)
        if found.words:
            yield Text(f"\n{view.MEANING}", DIM)
        if found.differences:
            yield Text(f"\n{view.differing(found)}\n")
        for difference in found.differences:
            yield from _difference(found, difference)


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
    shown = labels[: view.CLASSES]
    whole = sum(label.predicted for label in labels)
    given = sum(label.given for label in labels)
    most = max(max(label.predicted, label.given) for label in labels) or 1
    has_labels = [("label", "right"), ("", "right")] if given else []
    table = _table(("", "left"), ("predicted", "right"), ("", "right"), *has_labels, ("", "bar"))
    for label in shown:
        cells = [Text(view.name(findings, label.label), LABEL)]
        cells += [Text(f"{label.predicted:,}"), Text(view.share(label.predicted, whole))]
        if given:
            cells += [Text(f"{label.given:,}"), Text(view.share(label.given, given))]
        table.add_row(*cells, _bar(label.predicted / most))
    yield table
    if len(labels) > len(shown):
        yield Text(f"The {len(shown)} most frequent of {len(labels)} labels.", DIM)
    yield Text()


def _values(findings: Findings, values: Values) -> Iterator[RenderableType]:
    yield Text.assemble(
        (view.name(findings, values.label), LABEL),
        f"  mean {values.mean:.3f}, from {values.low:.3f} to {values.high:.3f}",
    )
    table, most = _table(("from", "right"), ("rows", "right"), ("", "bar")), max(values.bins) or 1
    low, high = values.edges
    for number, count in enumerate(values.bins):
        start = low + (high - low) * number / len(values.bins)
        table.add_row(Text(f"{start:.3f}"), Text(f"{count:,}"), _bar(count / most))
    yield table
    yield Text()


def _words(findings: Findings, part: ClassWords) -> Iterator[RenderableType]:
    yield Text.assemble(
        "\nWords with the highest mean attribution, ",
        (view.name(findings, part.target), LABEL),
    )
    yield Text(view.chosen(part), DIM)
    largest = max((abs(word.mean) for word in part.words), default=1.0) or 1.0
    table = _table(("word", "left"), ("mean", "right"), ("count", "right"), ("", "bar"))
    for word in part.words:
        table.add_row(
            Text(phrases.shortened(phrases.one_line(word.word), 40)),
            Text(phrases.number(word.mean, largest)),
            Text(f"{word.count:,}"),
            _bar(word.mean / largest),
        )
    if part.words:
        yield table


def _bar(share: float) -> Text:
    halves = round(2 * _BAR * abs(share))
    bar = "█" * (halves // 2) + "▌" * (halves % 2)
    return Text(bar, Style(color=FOR if share > 0 else AGAINST))


def _difference(findings: Findings, difference: Difference) -> Iterator[RenderableType]:
    amount = view.amount(findings, difference.value)
    said = (f"{view.name(findings, difference.prediction)} ", LABEL)
    yield Text.assemble(
        *((amount, LABEL),) if findings.problem == "regression" else (said, amount),
        ", label ",
        (view.name(findings, difference.label), LABEL),
        (f"   {view.row_name(difference)}", DIM),
    )
    for text in view.texts(difference, 240):
        yield Padding(Text(text, overflow="fold"), (0, 0, 0, 2))
    largest = max((abs(score) for _, score in difference.words), default=1.0) or 1.0
    words = [Text(f"for {view.name(findings, difference.target)}:", DIM)]
    for word, score in difference.words:
        color = Style(color=FOR if score > 0 else AGAINST)
        shown = phrases.shortened(phrases.one_line(word), 40)
        words.append(Text.assemble(f"{shown} ", (phrases.number(score, largest), color)))
    yield Padding(Columns(words, padding=(0, 2)), (0, 0, 1, 2))
