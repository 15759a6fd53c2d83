"""The summary of a corpus as a page that needs nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

from normxlogit.corpus.findings import ClassWords, Difference, Findings, Label, Values
from normxlogit.show import phrases
from normxlogit.show.corpus import sentences
from normxlogit.show.html import document
from normxlogit.show.markup import Bar, bar, bars, signed
from normxlogit.show.templating import asset, fill


@dataclass(frozen=True)
class CountRow:
    """A row of a table of counts.

    Attributes:
        heading: the label that begins with this row, if it has several; else None.
        name: what is counted.
        count: how much there is, as text.
        bar: its bar.
        is_label: whether it counts the labels that rows came with, rather than predictions.
    """

    heading: str | None
    name: str
    count: str
    bar: Bar
    is_label: bool = False


@dataclass(frozen=True)
class ValueSection:
    """The predictions of a regression: the output's name, a sentence, and a row for each bin."""

    name: str
    sentence: str
    rows: list[CountRow]


@dataclass(frozen=True)
class WordSection:
    """The words of a target.

    Attributes:
        target: the name of the target.
        chosen: which words are listed.
        rows: of each word its text, its mean and its count as text, and its bar.
    """

    target: str
    chosen: str
    rows: list[tuple[str, str, str, Bar]]


@dataclass(frozen=True)
class DifferenceSection:
    """A row whose prediction is not its label.

    Attributes:
        prediction: what was predicted, by name; None for a value.
        amount: its probability, or the value.
        label: the row's label.
        row: which row it is.
        texts: the text, or both of a pair.
        target: what the scores of its words speak for.
        words: the strongest words with their shares of the largest score, and the scores as text.
    """

    prediction: str | None
    amount: str
    label: str
    row: str
    texts: list[str]
    target: str
    words: list[tuple[str, float, str]]


def page(findings: Findings) -> str:
    """Return a self-contained page."""
    title = (
        f"{sentences.counted(findings.rows, 'row')} in {phrases.without_folders(findings.folder)}"
    )
    values = {
        "title": title,
        "warnings": sentences.warnings(findings),
        "facts": sentences.facts(findings),
        "labels": _labels(findings, findings.labels) if findings.labels else [],
        "label_count": len(findings.labels or ()),
        "counted": "words" if findings.task == "token-classification" else "rows",
        "values": [_values(findings, values) for values in findings.values or ()],
        "agreement": sentences.agreement(findings),
        "meaning": sentences.MEANING,
        "words": [_words(findings, part) for part in findings.words[: sentences.CLASSES]],
        "target_count": len(findings.words),
        "most": sentences.CLASSES,
        "differing": sentences.differing(findings),
        "differences": [_difference(findings, row) for row in findings.differences],
    }
    style = asset("fragment.css") + asset("corpus.css")
    return document(f"{phrases.one_line(title)} - normxlogit", fill("corpus.html", values), style)


def _labels(findings: Findings, labels: tuple[Label, ...]) -> list[CountRow]:
    predicted = sum(label.predicted for label in labels)
    labelled = sum(label.given for label in labels)
    most = max(max(label.predicted, label.given) for label in labels) or 1

    def count(number: int, whole: int) -> str:
        return f"{number:,} · {sentences.share(number, whole)}"

    def rows(label: Label) -> Iterator[CountRow]:
        name = sentences.name(findings, label.label)
        heading, first = (name, "predicted") if labelled else (None, name)
        number = count(label.predicted, predicted)
        yield CountRow(heading, first, number, bar(label.predicted, 0, most))
        if labelled:
            number = count(label.given, labelled)
            yield CountRow(None, "label", number, bar(label.given, 0, most), is_label=True)

    return [row for label in labels[: sentences.CLASSES] for row in rows(label)]


def _values(findings: Findings, values: Values) -> ValueSection:
    low, high = values.edges
    most, count = max(values.bins) or 1, len(values.bins)
    starts = [low + (high - low) * number / count for number in range(count)]
    return ValueSection(
        name=sentences.name(findings, values.label),
        sentence=f"Mean {values.mean:.3f}, from {values.low:.3f} to {values.high:.3f}.",
        rows=[
            CountRow(None, f"from {start:.3f}", f"{rows:,}", bar(rows, 0, most))
            for start, rows in zip(starts, values.bins, strict=True)
        ],
    )


def _words(findings: Findings, part: ClassWords) -> WordSection:
    means = [word.mean for word in part.words]
    largest = max(map(abs, means), default=0.0) or 1.0
    return WordSection(
        target=sentences.name(findings, part.target),
        chosen=sentences.chosen(part),
        rows=[
            (word.word, signed(word.mean, largest), f"{word.count:,}", drawn)
            for word, drawn in zip(part.words, bars(means), strict=True)
        ],
    )


def _difference(findings: Findings, difference: Difference) -> DifferenceSection:
    largest = max((abs(score) for _, score in difference.words), default=1.0) or 1.0
    regression = findings.problem == "regression"
    return DifferenceSection(
        prediction=None if regression else sentences.name(findings, difference.prediction),
        amount=sentences.amount(findings, difference.value),
        label=sentences.name(findings, difference.label),
        row=sentences.row_name(difference),
        texts=sentences.texts(difference, 400),
        target=sentences.name(findings, difference.target),
        words=[(word, score / largest, signed(score, largest)) for word, score in difference.words],
    )
