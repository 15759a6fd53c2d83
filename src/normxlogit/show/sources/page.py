"""Answers from documents as HTML: point at a sentence, and what it rests on lights up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import phrases
from normxlogit.show.html import Article, Body, facts
from normxlogit.show.markup import Bar, BarRow, bar
from normxlogit.show.sources.layout import STRONG, Block, Piece, SourcesLayout, View, meaning
from normxlogit.show.sources.message import message, plural
from normxlogit.show.templating import fill, script_data

ROWS = 5
"""How many sources are listed for a sentence, the leading ones."""

OPEN_READINGS, OPEN_SOURCES = 3, 5
"""Up to how many sentences of the answer, and sources, are all open from the start."""


SHORT = 400
"""Up to how many characters a part of a document is shown without a title of its own."""


@dataclass(frozen=True)
class AnswerPart:
    """A part of the answer.

    Attributes:
        text: what is shown of it.
        span: the number of its span; None between spans.
        cites: the sources that it cites, from 1; None if it cannot tell.
    """

    text: str
    span: int | None = None
    cites: list[int] | None = None


@dataclass(frozen=True)
class Quote:
    """A sentence of a source that a sentence of the answer rests on.

    Attributes:
        source: the number of the source, from 1.
        text: the sentence.
        number: its score.
    """

    source: int
    text: str
    number: str


@dataclass(frozen=True)
class SourceRow:
    """A source in the list of those that a sentence rests on.

    Attributes:
        number: the source's, from 1.
        row: its name, score and bar.
        share: its share, as text; "" if it has none.
    """

    number: int
    row: BarRow
    share: str


@dataclass(frozen=True)
class Reading:
    """What a sentence of the answer rests on, in a table and in words.

    Attributes:
        view: the number of the view.
        name: the sentence.
        cites: the sources that it cites, from 1.
        caption: what the rows are.
        rows: the leading sources.
        others: the sources that are not among them, in words; "" if there are none.
        quotes: the leading sentences of sources.
        unexplained: what no source explains, in words.
        open: whether it is open from the start.
    """

    view: int
    name: str
    cites: list[int] | None
    caption: str
    rows: list[SourceRow]
    others: str
    quotes: list[Quote]
    unexplained: str
    open: bool


@dataclass(frozen=True)
class MarkedPiece:
    """A part of a source's text.

    Attributes:
        text: what is shown.
        mark: the number of its sentence among all sentences with scores; None if it has none.
        tint: its score as a share of the largest.
        number: its score behind a space, if it stands out; else "".
        space: the white space behind it.
    """

    text: str
    mark: int | None = None
    tint: float = 0.0
    number: str = ""
    space: str = ""


@dataclass(frozen=True)
class Passage:
    """A part of a source that is shown, or folded.

    Attributes:
        label: what it is called while it is folded; None if it is shown.
        pieces: its text.
    """

    label: str | None
    pieces: list[MarkedPiece]


@dataclass(frozen=True)
class SourceCard:
    """A source.

    Attributes:
        number: its number, from 1.
        group: the document or message that it is a part of, if it is the first of these; else "".
        title: its name, or how it begins; None if it is so short that its text is enough.
        begins: whether the title is how it begins.
        tint: its score as a share of the largest.
        score: its score.
        share: its share, as text; "" if it has none.
        open: whether it is open from the start.
        passages: its text.
    """

    number: int
    group: str
    title: str | None
    begins: bool
    tint: float
    score: str
    share: str
    open: bool
    passages: list[Passage]


def article(result: SourceAttribution) -> Article:
    """Return the article of an answer and its sources."""
    return Article("sources", _title(result), _body(result), _facts(result), None)


def _body(result: SourceAttribution) -> Body:
    layout = SourcesLayout(result)
    whole = layout.views[-1]
    values = {
        "message": message(result),
        "question": result.question.strip(),
        "answer": _answer(layout),
        "readings": [_reading(layout, view) for view in (whole, *layout.views[:-1])],
        "heading": plural(result).capitalize(),
        "sources": [_card(layout, whole, number) for number in range(len(result.sources))],
        "meaning": meaning(result),
        "note": _note(layout),
        "data": script_data(_data(layout)),
    }
    html = fill("sources.html", values)
    return Body(html, styles=("sources.css",), scripts=("sources.js",))


def _title(result: SourceAttribution) -> str:
    text = " ".join(phrases.visible(result.question or result.answer).split())
    return f"{message(result):.80} {text:.60} - normxlogit"


def _facts(result: SourceAttribution) -> list[tuple[str, str]]:
    options = [f"{name}={value}" for name, value in result.provenance.options.items()]
    kept = ", what they share read once" if result.cached else ""
    passes = f"{result.passes:,} forward passes" if result.passes != 1 else "1 forward pass"
    details = {
        "Method": ", ".join([result.provenance.method, *options]),
        "Cost": f"{passes} over {result.tokens:,} tokens{kept}",
        "Placed by": result.template,
    }
    return facts(result.provenance, details)


def _answer(layout: SourcesLayout) -> list[AnswerPart]:
    return [AnswerPart(text, span, _cites(layout, span)) for text, span in layout.result.pieces]


def _cites(layout: SourcesLayout, span: int | None) -> list[int] | None:
    cites = None if span is None else layout.cites(span)
    return None if cites is None else [number + 1 for number in cites]


def _reading(layout: SourcesLayout, view: View) -> Reading:
    numbers = layout.leading(view, ROWS)
    scores = [float(view.scores[number]) for number in numbers]
    rows = [
        SourceRow(
            number + 1,
            BarRow(layout.title(number), _score(view, number), drawn),
            _share(layout, view, number),
        )
        for number, drawn in zip(numbers, _bars(layout, scores), strict=True)
    ]
    quotes = [
        Quote(
            source + 1,
            " ".join(phrases.visible(layout.result.sentence(source, number)).split()),
            view.number(float(view.sentence_scores[source][number])),
        )
        for source, number in layout.leading_sentences(view, 3)
        if len(layout.result.sources[source].sentences) > 1
    ]
    is_open = view is layout.views[-1] or len(layout.views) <= OPEN_READINGS + 1
    return Reading(
        view=layout.views.index(view),
        name=layout.name(view),
        cites=_cites(layout, view.span),
        caption=_caption(layout, view),
        rows=rows,
        others=_others(view, numbers),
        quotes=quotes,
        unexplained=_unexplained(view),
        open=is_open,
    )


def _bars(layout: SourcesLayout, scores: Sequence[float]) -> list[Bar]:
    """Return a bar for each score; all are short where none reaches the threshold."""
    high = max(*scores, layout.result.threshold or 0.0, 0.0)
    low = max(0.0, -min(scores))
    return [bar(score, low, high) for score in scores]


def _caption(layout: SourcesLayout, view: View) -> str:
    if view.scores.max() <= 0:
        return "rests on no source; none speaks for it"
    if not layout.has_source(view):
        return "rests on no source; the nearest are"
    added = view.span is None
    return "rests most on, its sentences added up" if added else "rests most on"


def _others(view: View, listed: Sequence[int]) -> str:
    """Say between which scores those lie that are not listed."""
    others = [score for n, score in enumerate(view.scores.tolist()) if n not in set(listed)]
    if not others:
        return ""
    low, high = map(view.number, (min(others), max(others)))
    count = f"{len(others)} others" if len(others) > 1 else "1 other"
    return f"{count}: {low}" if low == high else f"{count}: from {low} to {high}"


def _unexplained(view: View) -> str:
    """Say what no source explains."""
    it = "the answer" if view.span is None else "it"
    if view.gain <= 0:
        return f"Without any source {it} would be no less likely, so that none explains it."
    return (
        f"Without any source {it} would be {phrases.percent(view.unexplained)} as likely "
        f"({phrases.number(-view.gain, view.gain)} nats): the share that no source explains."
    )


def _score(view: View, number: int) -> str:
    return view.number(float(view.scores[number]))


def _share(layout: SourcesLayout, view: View, number: int) -> str:
    share = layout.share(view, number)
    if share is None:
        return ""
    return phrases.percent(share) if share <= 1 else ">100%"


def _note(layout: SourcesLayout) -> str:
    """Say what shares, colours and citations are."""
    result = layout.result
    is_nats = result.unit == "nats"
    notes = [
        "A share is of what all sources add together: in sum they may be less than 100%, where "
        "sources say the same, or more, where they need each other."
        if is_nats
        else "A share is of all scores, signs aside."
    ]
    if result.threshold is None:
        return " ".join([*notes, "There is no threshold, so nothing is cited."])
    unit = f" {result.unit}" if result.unit else ""
    threshold = phrases.number(result.threshold, abs(result.threshold), signed=False)
    notes.append(f"Cited is a source from {threshold}{unit} on; colours are paler where none is.")
    return " ".join(notes)


def _card(layout: SourcesLayout, view: View, number: int) -> SourceCard:
    sources = layout.result.sources
    is_open = len(sources) <= OPEN_SOURCES or layout.stands_out(number)
    is_part = sources[number].kind in ("sentence", "span")
    before = sources[number - 1].name if number else ""
    return SourceCard(
        number=number + 1,
        group=sources[number].name if is_part and sources[number].name != before else "",
        title=None if is_part and len(sources[number].text) <= SHORT else layout.title(number),
        begins=is_part or not sources[number].name,
        tint=float(view.tints[number]),
        score=_with_unit(layout, _score(view, number)),
        share=_share(layout, view, number),
        open=is_open,
        passages=[_passage(layout, view, number, block) for block in layout.blocks(number)],
    )


def _with_unit(layout: SourcesLayout, number: str) -> str:
    return f"{number} {layout.result.unit}".rstrip()


def _passage(layout: SourcesLayout, view: View, number: int, block: Block) -> Passage:
    label = None
    if block.folded:
        first, last = block.pieces[0].start, block.pieces[-1].end
        label = f"{last - first:,} more characters"
    pieces = [_piece(layout, view, number, piece) for piece in block.pieces]
    return Passage(label, pieces)


def _piece(layout: SourcesLayout, view: View, number: int, piece: Piece) -> MarkedPiece:
    text = layout.result.sources[number].text[piece.start : piece.end]
    kept = text.rstrip()
    tints = view.sentence_tints.get(number)
    if tints is None or piece.sentence is None:
        return MarkedPiece(kept, space=text[len(kept) :])
    tint = float(tints[piece.sentence])
    return MarkedPiece(
        kept,
        mark=layout.marks[number] + piece.sentence,
        tint=tint,
        number=_strong(view, number, piece.sentence),
        space=text[len(kept) :],
    )


def _strong(view: View, source: int, sentence: int) -> str:
    """Return the score of a sentence if it stands out."""
    if abs(view.sentence_tints[source][sentence]) < STRONG:
        return ""
    return f"\xa0{view.number(float(view.sentence_scores[source][sentence]))}"


def _data(layout: SourcesLayout) -> list[dict[str, Any]]:
    """Return for each view what the script shows when it is chosen.

    `sources` has a tint in hundredths, a score and a share for each source; `sentences` a tint for
    each sentence with a score, and its score if it stands out; `top` the leading source and, if
    there is one, its leading sentence; `spoken` what is read out.
    """
    count = len(layout.result.sources)
    return [
        {
            "sources": [
                [
                    _hundredths(view.tints[number]),
                    _with_unit(layout, _score(view, number)),
                    _share(layout, view, number),
                ]
                for number in range(count)
            ],
            "sentences": [
                [_hundredths(tint), _strong(view, source, number)]
                if abs(tint) >= STRONG
                else _hundredths(tint)
                for source in sorted(view.sentence_scores)
                for number, tint in enumerate(view.sentence_tints[source].tolist())
            ],
            "top": _top(layout, view),
            "spoken": _spoken(layout, view),
        }
        for view in layout.views
    ]


def _hundredths(tint: float) -> int:
    return round(100 * float(tint))


def _top(layout: SourcesLayout, view: View) -> list[int]:
    """Return the leading source and, if one of its sentences stands out, the number of that."""
    source = layout.leading(view, 1)[0]
    marks = [
        layout.marks[source] + number
        for owner, number in layout.leading_sentences(view, len(view.scores))
        if owner == source
    ]
    return [source, *marks[:1]]


def _spoken(layout: SourcesLayout, view: View) -> str:
    """Return what is read out when a sentence is chosen."""
    named = [
        f"{number + 1} {layout.title(number)} ({_with_unit(layout, _score(view, number))})"
        for number in layout.leading(view, 3)
    ]
    caption = _caption(layout, view)
    return f"{layout.name(view)} {caption}: {', '.join(named)}. {_unexplained(view)}"
