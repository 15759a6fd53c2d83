"""The summary of a corpus as a page that needs nothing else."""

from dataclasses import dataclass

from markupsafe import Markup

from normxlogit.corpus.summaries.findings import (
    ClassWords,
    Difference,
    Findings,
    Label,
    Values,
    Word,
)
from normxlogit.show import phrases
from normxlogit.show.corpus import sentences
from normxlogit.show.corpus.passages import Piece, passages
from normxlogit.show.html import document
from normxlogit.show.inline import inlined
from normxlogit.show.markup import Bar, MarkedPiece, bar, bars
from normxlogit.show.templating import asset, fill

LONGEST = 2000
"""How many characters of a text are shown at most."""


@dataclass(frozen=True)
class Count:
    """How often a label occurs: the number, its share of all as text, and its bar."""

    number: int
    share: str
    bar: Bar


@dataclass(frozen=True)
class LabelRow:
    """A label: how often it was predicted, and how often rows came with it if some have labels."""

    name: str
    predicted: Count
    given: Count | None


@dataclass(frozen=True)
class ValueSection:
    """The predictions of a regression.

    Attributes:
        name: the output's name.
        sentence: their mean and range.
        rows: of each bin where it begins, as text, how many values are in it, and the bar of that.
    """

    name: str
    sentence: str
    rows: list[tuple[str, int, Bar]]


@dataclass(frozen=True)
class WordRow:
    """A word that pushes a target: numbers, these as text, and the bar of its lead."""

    word: Word
    lead: str
    mean: str
    count: str
    bar: Bar


@dataclass(frozen=True)
class WordSection:
    """The words of a target: its name, which words are listed, and these."""

    target: str
    chosen: str
    rows: list[WordRow]


@dataclass(frozen=True)
class DifferenceSection:
    """A row whose prediction is not its label.

    Attributes:
        prediction: what was predicted, by name; None for a value.
        amount: its probability, or the value.
        label: the row's label.
        row: which row it is.
        target: what the scores of its words speak for, if that was not predicted; else None.
        texts: the text, or both of a pair, in pieces.
        hashes: what is known of the texts if they were not kept.
        words: then the strongest words with their shares of the largest score, and the scores as
            text; else empty.
    """

    prediction: str | None
    amount: str
    label: str
    row: str
    target: str | None
    texts: list[list[MarkedPiece]]
    hashes: list[str]
    words: list[tuple[str, float, str]]


def page(findings: Findings) -> str:
    """Return a self-contained page."""
    style = asset("fragment.css") + asset("sortable.css") + asset("corpus.css")
    title = f"{phrases.one_line(_title(findings))} - normxlogit"
    return document(title, _article(findings), style, asset("sortable.js"))


def fragment(findings: Findings) -> str:
    """Return the HTML for a notebook, which needs no style sheet and no script."""
    return str(inlined(_article(findings)))


def _title(findings: Findings) -> str:
    rows = sentences.counted(findings.rows, "row")
    return f"{rows} in {phrases.without_folders(findings.folder)}"


def _article(findings: Findings) -> Markup:
    values = {
        "title": _title(findings),
        "warnings": sentences.warnings(findings),
        "facts": sentences.facts(findings),
        "labels": _labels(findings, findings.labels) if findings.labels else [],
        "label_count": len(findings.labels or ()),
        "counted": "words" if findings.task == "token-classification" else "rows",
        "values": [_values(findings, values) for values in findings.values or ()],
        "agreement": sentences.agreement(findings),
        "meaning": sentences.meaning(findings),
        "caveat": sentences.CAVEAT,
        "words": [_words(findings, part) for part in findings.words[: sentences.CLASSES]],
        "target_count": len(findings.words),
        "most": sentences.CLASSES,
        "differing": sentences.differing(findings),
        "differences": [_difference(findings, row) for row in findings.differences],
    }
    return fill("corpus.html", values)


def _labels(findings: Findings, labels: tuple[Label, ...]) -> list[LabelRow]:
    predicted = sum(label.predicted for label in labels)
    labelled = sum(label.given for label in labels)
    most = max(max(label.predicted, label.given) for label in labels) or 1

    def count(number: int, whole: int) -> Count:
        return Count(number, sentences.share(number, whole), bar(number, 0, most))

    return [
        LabelRow(
            sentences.name(findings, label.label),
            count(label.predicted, predicted),
            count(label.given, labelled) if labelled else None,
        )
        for label in labels[: sentences.CLASSES]
    ]


def _values(findings: Findings, values: Values) -> ValueSection:
    low, high = values.edges
    most, count = max(values.bins) or 1, len(values.bins)
    starts = [low + (high - low) * number / count for number in range(count)]
    return ValueSection(
        name=sentences.name(findings, values.label),
        sentence=sentences.spread(values),
        rows=[
            (f"from {phrases.decimal(start)}", rows, bar(rows, 0, most))
            for start, rows in zip(starts, values.bins, strict=True)
        ],
    )


def _words(findings: Findings, part: ClassWords) -> WordSection:
    largest = max((abs(word.mean) for word in part.words), default=1.0)
    return WordSection(
        target=sentences.name(findings, part.target),
        chosen=sentences.chosen(part),
        rows=[
            WordRow(
                word,
                phrases.number(word.lead, largest, signed=findings.signed),
                phrases.number(word.mean, largest, signed=findings.signed),
                sentences.occurrences(word, part),
                drawn,
            )
            for word, drawn in zip(part.words, bars([w.lead for w in part.words]), strict=True)
        ],
    )


def _difference(findings: Findings, difference: Difference) -> DifferenceSection:
    largest = max((abs(score) for _, score in difference.words), default=1.0) or 1.0
    regression = findings.problem == "regression"
    texts = passages(difference, LONGEST)
    is_other = difference.target != difference.prediction
    return DifferenceSection(
        prediction=None if regression else sentences.name(findings, difference.prediction),
        amount=sentences.amount(findings, difference.value),
        label=sentences.name(findings, difference.label),
        row=sentences.row_name(difference),
        target=sentences.name(findings, difference.target) if is_other else None,
        texts=[[_marked(piece, largest, findings.signed) for piece in pieces] for pieces in texts],
        hashes=sentences.hashes(difference),
        words=[]
        if texts
        else [
            (word, score / largest, phrases.number(score, largest, signed=findings.signed))
            for word, score in difference.words
        ],
    )


def _marked(piece: Piece, largest: float, signed: bool) -> MarkedPiece:
    title = None
    if piece.score is not None:
        title = phrases.number(piece.score, largest, signed=signed)
    return MarkedPiece(piece.text, piece.share or 0.0, title)
