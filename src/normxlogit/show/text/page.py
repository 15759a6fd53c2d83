"""Attributions of texts: a sentence, words in their colours, bars, and all numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from normxlogit.results.text import Attribution
from normxlogit.show import outputs, phrases
from normxlogit.show.html import Body
from normxlogit.show.markup import Bar, MarkedPiece, bars
from normxlogit.show.meaning import Meaning, caution, is_signed, score_meaning, unit_note
from normxlogit.show.scales import scale, strongest
from normxlogit.show.sentence import Message
from normxlogit.show.templating import fill
from normxlogit.show.text import verification
from normxlogit.show.text.message import message
from normxlogit.show.text.pieces import Piece, color_scale, listed, pieces
from normxlogit.show.text.ranking import (
    MOST,
    Order,
    Ranking,
    begins_text,
    in_which_text,
    in_words,
    names,
    placed_names,
    ranked,
)
from normxlogit.show.text.sentences import Sentence, is_long, split
from normxlogit.show.text.waterfall import STEPS, Waterfall, as_sum, waterfall

HEAT_ROWS = 60
"""How many rows a heat map has at most."""

Cells = TypeVar("Cells")


@dataclass(frozen=True)
class TokenRow(Generic[Cells]):
    """A row of a table of tokens.

    Attributes:
        segment: the number of the text of a pair that begins with this row; None if none does.
        name: the token.
        note: what there is to say of it, such as the text of a pair that it is in; may be empty.
        special: whether it is special.
        cells: what the row says of it.
    """

    segment: int | None
    name: str
    note: str
    special: bool
    cells: Cells


@dataclass(frozen=True)
class ScoreCells:
    """What a row with a bar says: a score, its share of all scores, and its bar."""

    number: str
    share: str
    bar: Bar


@dataclass(frozen=True)
class SentenceBlock:
    """A sentence of a long text, with its words.

    Attributes:
        share: its score as a share of the largest.
        number: its score.
        part: its share of all scores, signs aside; may be empty.
        pieces: its text, without white space at its end.
        ends_paragraph: whether a line ends with it.
        words: a row for each of its words.
    """

    share: float
    number: str
    part: str
    pieces: list[MarkedPiece]
    ends_paragraph: bool
    words: list[TokenRow[ScoreCells]]


@dataclass(frozen=True)
class FallRow:
    """A row of a waterfall: a step or the total, its number, and its bar from the base value."""

    name: str
    number: str
    bar: Bar | None


@dataclass(frozen=True)
class ScoreTables:
    """The scores of one target and layer.

    Attributes:
        bars: a row for each token that is listed at once, with its number and bar.
        more: a row for each that is listed on request.
        shares: whether there are shares.
        total: how additive scores and base value add up, by name and number; empty if they do not.
        fall: and a row for each step of that.
        columns, numbers: the names of the columns of the table of all numbers, and its rows.
    """

    bars: list[TokenRow[ScoreCells]]
    more: list[TokenRow[ScoreCells]]
    shares: bool
    total: list[tuple[str, str]]
    fall: list[FallRow]
    columns: list[str]
    numbers: list[TokenRow[list[str]]]


@dataclass(frozen=True)
class TargetSection:
    """A target on a page.

    Attributes:
        message: the sentence that leads.
        texts: the pieces of the text, or of both of a pair.
        sentences: instead, of a long text or pair, the sentences of each; else empty.
        meaning, note: what the scores say, and of what they are.
        scores: the scores; None if they are of several layers.
        layers: then the layers.
        heat: and a row for each token, with the share and the number at each layer.
    """

    message: Message
    texts: list[list[MarkedPiece]]
    sentences: list[list[SentenceBlock]]
    meaning: Meaning
    note: str
    scores: ScoreTables | None
    layers: tuple[int, ...]
    heat: list[TokenRow[list[tuple[float, str]]]]


def body(
    attribution: Attribution,
    *,
    special: bool = False,
    order: Order = "strength",
    tokens: bool = False,
) -> Body:
    """Return the HTML of an attribution of any unit, with any number of targets and layers.

    See `dispatch.body`.
    """
    shown = attribution if tokens else in_words(attribution)
    single = len(attribution.targets) == 1
    values = {
        "said": outputs.verdict(attribution),
        "single": single,
        "plain": outputs.is_plain(attribution),
        "caution": caution(attribution),
        "sections": [
            _section(shown.at(number), attribution.at(number), special, order)
            for number in range(len(attribution.targets))
        ],
        "unit": shown.unit,
        "numbered": attribution.unit,
        "order": order,
    }
    return Body(fill("text.html", values) + verification.html(attribution))


def _section(
    part: Attribution, original: Attribution, special: bool, order: Order
) -> TargetSection:
    """Return the section of one target: as it is shown, and as it was before summing."""
    last = part.select(layer=part.layers[-1]).only()
    by_layer = len(part.layers) > 1
    long = is_long(last)
    return TargetSection(
        message=message(in_words(last)),
        texts=[] if long else [_marked(last, pieces(last, n)) for n in range(len(last.texts))],
        sentences=_sentences(last) if long else [],
        meaning=score_meaning(part).shown(part.scores[..., listed(part, special)]),
        note=unit_note(part),
        scores=None if by_layer else _tables(last, original.only(), special, order),
        layers=part.layers if by_layer else (),
        heat=_heat_map(part, special) if by_layer else [],
    )


def _tables(
    attribution: Attribution, original: Attribution, special: bool, order: Order
) -> ScoreTables:
    rows = _bars(attribution, ranked(attribution, order, special=special), order)
    count = MOST if order == "strength" else len(rows)
    columns, numbers = _numbers(original)
    leading = ranked(attribution, "strength").rows
    brief, whole = (
        waterfall(attribution, placed_names(attribution), leading[:steps])
        for steps in (STEPS, MOST)
    )
    return ScoreTables(
        bars=rows[:count],
        more=rows[count:],
        shares=any(row.cells.share for row in rows),
        total=[] if brief is None else as_sum(brief),
        fall=[] if whole is None else _fall_rows(whole),
        columns=columns,
        numbers=numbers,
    )


def _number(attribution: Attribution, score: float, largest: float) -> str:
    return phrases.number(score, largest, signed=is_signed(attribution))


def _marked(attribution: Attribution, cut: Iterable[Piece]) -> list[MarkedPiece]:
    largest = color_scale(attribution)
    target = outputs.output_name(attribution, attribution.target)

    def marked(piece: Piece) -> MarkedPiece:
        if piece.score is None:
            return MarkedPiece(piece.text, None, None)
        title = f"{_number(attribution, piece.score, largest)}, {target}"
        if piece.special:
            return MarkedPiece(piece.text, None, f"{title}, not coloured: a sink")
        return MarkedPiece(piece.text, piece.score / largest, title)

    return [marked(piece) for piece in cut]


def _sentences(attribution: Attribution) -> list[list[SentenceBlock]]:
    """Return the sentences of each text with the words of each, the strongest first."""
    sentences = attribution.sentences()
    in_text_order = ranked(sentences, "text")
    parts = dict(zip(in_text_order.rows, in_text_order.shares, strict=True))
    largest = color_scale(sentences)
    ranking = ranked(attribution, "strength")
    words = dict(zip(ranking.rows, _bars(attribution, ranking, None), strict=True))

    def block(sentence: Sentence) -> SentenceBlock:
        score = float(sentences.scores[sentence.number])
        cut = _marked(attribution, sentence.pieces)
        end = cut[-1].text if cut[-1].title is None else ""
        if end:
            cut[-1] = replace(cut[-1], text=end.rstrip())
        return SentenceBlock(
            share=score / largest,
            number=_number(attribution, score, largest),
            part=parts[sentence.number],
            pieces=cut,
            ends_paragraph="\n" in end,
            words=[row for number, row in words.items() if number in sentence.words],
        )

    return [[block(sentence) for sentence in text] for text in split(attribution, sentences)]


def _cells(attribution: Attribution, ranking: Ranking) -> list[ScoreCells]:
    """Return score, share and bar of each token that is listed, all with the same zero line."""
    scores = attribution.scores[ranking.rows]
    largest = scale(scores)
    return [
        ScoreCells(_number(attribution, score, largest), share, drawn)
        for score, share, drawn in zip(
            scores.tolist(), ranking.shares, bars(scores.tolist()), strict=True
        )
    ]


def _bars(
    attribution: Attribution, ranking: Ranking, order: Order | None
) -> list[TokenRow[ScoreCells]]:
    return _rows(attribution, ranking.rows, _cells(attribution, ranking), order)


def _fall_rows(fall: Waterfall) -> list[FallRow]:
    """Return a row for each step, and one for the way as a whole."""
    ends = [fall.base, *(step.end for step in fall.steps)]
    low, high = fall.base - min(ends), max(ends) - fall.base
    span = low + high or 1.0

    def row(name: str, start: float, end: float) -> FallRow:
        drawn = Bar(
            left=(min(start, end) - min(ends)) / span,
            width=abs(end - start) / span,
            zero=low / span,
            against=end < start,
        )
        return FallRow(name, phrases.number(end - start, fall.largest), drawn)

    return [
        FallRow("base value", phrases.number(fall.base, fall.largest), None),
        *(row(step.name, step.start, step.end) for step in fall.steps),
        row("all of these", fall.base, fall.total),
        FallRow(fall.total_name, phrases.number(fall.total, fall.largest), None),
    ]


def _numbers(attribution: Attribution) -> tuple[list[str], list[TokenRow[list[str]]]]:
    """Return the scores of all tokens, special ones too, with norms and logits where known."""
    readout = (attribution.provenance.readout or "readout").capitalize()
    columns = {"Score": attribution.scores}
    columns |= {"Norm": attribution.norms} if attribution.norms is not None else {}
    columns |= {readout: attribution.logits} if attribution.logits is not None else {}
    cells = []
    for name, values in columns.items():
        largest = scale(values)
        signed = name != "Norm" and (name != "Score" or is_signed(attribution))
        cells.append([phrases.number(value, largest, signed=signed) for value in values.tolist()])
    by_token = map(list, zip(*cells, strict=True))
    return list(columns), _rows(attribution, range(len(attribution)), by_token, "text")


def _heat_map(attribution: Attribution, special: bool) -> list[TokenRow[list[tuple[float, str]]]]:
    rows = listed(attribution, special)
    if len(rows) > HEAT_ROWS:
        rows = strongest(attribution.scores, rows, HEAT_ROWS)
    full = color_scale(attribution)
    largest = scale(attribution.scores[:, rows])
    cells = (
        [
            (score / full, _number(attribution, score, largest))
            for score in attribution.scores[:, row].tolist()
        ]
        for row in rows
    )
    return _rows(attribution, rows, cells, "text")


def _rows(
    attribution: Attribution, tokens: Sequence[int], cells: Iterable[Cells], order: Order | None
) -> list[TokenRow[Cells]]:
    """Return a row for each of these tokens.

    Of a pair it says in which text that is, unless the order is None: all are in the same.
    """
    called, count = names(attribution), len(tokens)
    begins = begins_text(attribution, tokens) if order == "text" else [None] * count
    notes = in_which_text(attribution, tokens) if order == "strength" else [""] * count
    return [
        TokenRow(
            segment=segment,
            name=called[token],
            note="special" if attribution.special[token] else note,
            special=bool(attribution.special[token]),
            cells=values,
        )
        for token, segment, note, values in zip(tokens, begins, notes, cells, strict=True)
    ]
