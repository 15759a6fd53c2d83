"""Attributions of texts: words in their colours, bars, and all numbers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from normxlogit.results.text import Attribution
from normxlogit.show import outputs, phrases, verification
from normxlogit.show.html import Body
from normxlogit.show.markup import Bar, bars, signed
from normxlogit.show.meaning import Meaning, caution, score_meaning, sum_line, unit_note
from normxlogit.show.scales import scale, strongest
from normxlogit.show.templating import fill
from normxlogit.show.text.pieces import Piece, color_scale, listed, pieces

ROWS = 60
"""How many bars a section has at most; the table of numbers has all."""

Cells = TypeVar("Cells")


@dataclass(frozen=True)
class MarkedPiece:
    """A piece of a text as a page marks it.

    Attributes:
        text: its characters.
        share: its score as a share of the largest; None if it is not coloured.
        title: what it says when pointed at; None between tokens.
    """

    text: str
    share: float | None
    title: str | None


@dataclass(frozen=True)
class TokenRow(Generic[Cells]):
    """A row of a table of tokens.

    Attributes:
        segment: the number of the text of a pair that begins with this row; None if none does.
        name: the token.
        special: whether it is special.
        cells: what the row says of it.
    """

    segment: int | None
    name: str
    special: bool
    cells: Cells


@dataclass(frozen=True)
class TargetSection:
    """A target on a page.

    Attributes:
        explained: the target by name; None if it is what was predicted.
        texts: the pieces of the text, or of both of a pair.
        meaning, note: what the scores say, and of what they are.
        sum_line: how the scores add up; None if they do not.
        layers: the layers, if these are several.
        heat: then a row for each token, with the share and the number at each layer; else empty.
        bars: else a row for each token listed, with its number and bar.
        left_out: how many tokens there are, if `bars` has not all of them; else 0.
        columns, numbers: else the names of the columns of the table of all numbers, and its rows.
    """

    explained: str | None
    texts: list[list[MarkedPiece]]
    meaning: Meaning
    note: str
    sum_line: str | None
    layers: tuple[int, ...]
    heat: list[TokenRow[list[tuple[float, str]]]]
    bars: list[TokenRow[tuple[str, Bar]]]
    left_out: int
    columns: list[str]
    numbers: list[TokenRow[list[str]]]


def body(attribution: Attribution, *, special: bool = False) -> Body:
    """Return the HTML of an attribution of any unit, with any number of targets and layers."""
    values = {
        "said": outputs.verdict(attribution),
        "caution": caution(attribution),
        "sections": list(_sections(attribution, special)),
        "most": ROWS,
        "unit": attribution.unit.capitalize(),
    }
    return Body(fill("text.html", values) + verification.html(attribution))


def _sections(attribution: Attribution, special: bool) -> Iterator[TargetSection]:
    for number in range(len(attribution.targets)):
        part = attribution.at(number)
        by_layer = len(part.layers) > 1
        single = None if by_layer else part.only()
        rows, count = ([], 0) if single is None else _chosen(single, special)
        columns, numbers = ([], []) if single is None else _numbers(single)
        yield TargetSection(
            explained=None if outputs.is_plain(attribution) else outputs.explained(part),
            texts=_texts(part.select(layer=part.layers[-1])),
            meaning=score_meaning(part),
            note=unit_note(part),
            sum_line=None if single is None else sum_line(single),
            layers=part.layers if by_layer else (),
            heat=_heat_map(part, special) if by_layer else [],
            bars=[] if single is None else _bars(single, rows),
            left_out=count,
            columns=columns,
            numbers=numbers,
        )


def _texts(attribution: Attribution) -> list[list[MarkedPiece]]:
    largest = color_scale(attribution)
    target = outputs.output_name(attribution, attribution.target)

    def marked(piece: Piece) -> MarkedPiece:
        if piece.score is None:
            return MarkedPiece(piece.text, None, None)
        title = f"{phrases.number(piece.score, largest)}, {target}"
        if piece.special:
            return MarkedPiece(piece.text, None, f"{title}, not coloured: a sink")
        return MarkedPiece(piece.text, piece.score / largest, title)

    return [
        [marked(piece) for piece in pieces(attribution, segment)]
        for segment in range(len(attribution.texts))
    ]


def _chosen(attribution: Attribution, special: bool) -> tuple[list[int], int]:
    """Return the tokens that have a bar, and how many there are if these are not all; else 0."""
    rows = listed(attribution, special)
    if len(rows) <= ROWS:
        return rows, 0
    return strongest(attribution.scores, rows, ROWS), len(rows)


def _bars(attribution: Attribution, rows: Sequence[int]) -> list[TokenRow[tuple[str, Bar]]]:
    scores = attribution.scores[rows]
    largest = scale(scores)
    numbers = [signed(score, largest) for score in scores.tolist()]
    return _rows(attribution, rows, zip(numbers, bars(scores.tolist()), strict=True))


def _numbers(attribution: Attribution) -> tuple[list[str], list[TokenRow[list[str]]]]:
    """Return the scores of all tokens, special ones too, with norms and logits where known."""
    readout = (attribution.provenance.readout or "readout").capitalize()
    columns = {"Score": attribution.scores}
    columns |= {"Norm": attribution.norms} if attribution.norms is not None else {}
    columns |= {readout: attribution.logits} if attribution.logits is not None else {}
    cells = []
    for name, values in columns.items():
        largest = scale(values)
        numbers = [signed(value, largest) for value in values.tolist()]
        cells.append([n.removeprefix("+") for n in numbers] if name == "Norm" else numbers)
    by_token = map(list, zip(*cells, strict=True))
    return list(columns), _rows(attribution, range(len(attribution)), by_token)


def _heat_map(attribution: Attribution, special: bool) -> list[TokenRow[list[tuple[float, str]]]]:
    rows = listed(attribution, special)
    full = color_scale(attribution)
    largest = scale(attribution.scores[:, rows])
    cells = (
        [(score / full, signed(score, largest)) for score in attribution.scores[:, row].tolist()]
        for row in rows
    )
    return _rows(attribution, rows, cells)


def _rows(
    attribution: Attribution, tokens: Sequence[int], cells: Iterable[Cells]
) -> list[TokenRow[Cells]]:
    """Return a row for each of these tokens; the first row of each text of a pair says so."""
    rows, begun = list[TokenRow[Cells]](), set[int]()
    for token, values in zip(tokens, cells, strict=True):
        segment = int(attribution.segments[token])
        begins = len(attribution.texts) > 1 and segment >= 0 and segment not in begun
        begun.add(segment)
        rows.append(
            TokenRow(
                segment=segment + 1 if begins else None,
                name=attribution.tokens[token],
                special=bool(attribution.special[token]),
                cells=values,
            )
        )
    return rows
