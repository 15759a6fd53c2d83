"""Attributions of texts in a terminal: the text in its colours, and bars or a heat map."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.text import Attribution
from normxlogit.show import meaning, outputs, phrases, verification
from normxlogit.show.colors import TERMINAL_AGAINST, TERMINAL_FOR
from normxlogit.show.scales import scale, strongest
from normxlogit.show.terminal import (
    DIM,
    LABEL,
    bar_lines,
    field,
    fitted,
    legend,
    prediction,
    provenance,
)
from normxlogit.show.text.pieces import color_scale, listed, pieces

ROWS = 20
"""How many rows a table has at most."""


def render(attribution: Attribution, *, special: bool = False) -> RenderableType:
    """Return what rich prints of an attribution of any unit."""
    return TextReport(attribution, special)


@dataclass(frozen=True)
class TextReport:
    """An attribution of a text as rich prints it; special tokens are listed if `special`."""

    attribution: Attribution
    special: bool

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        attribution = self.attribution
        yield prediction(attribution)
        for number in range(len(attribution.targets)):
            part = attribution.at(number)
            if not outputs.is_plain(attribution):
                yield field("Explained", Text(outputs.explained(part)))
            yield Text()
            yield from _texts(part.select(layer=part.layers[-1]))
            yield Text()
            if len(part.layers) > 1:
                yield from _heat_map(part, self.special, options.max_width)
            else:
                yield from _bars(part.only(), self.special, options.max_width)
            yield Text()
        if (caution := meaning.caution(attribution)) is not None:
            yield Text(caution, LABEL)
        yield from verification.lines(attribution)
        yield provenance(attribution)


def _texts(attribution: Attribution) -> Iterator[Text]:
    """Yield the text, or both of a pair, each word in its colour."""
    largest = color_scale(attribution)
    for segment in range(len(attribution.texts)):
        line = Text(overflow="fold")
        if len(attribution.texts) > 1:
            line.append(f"Text {segment + 1}  ", DIM)
        for piece in pieces(attribution, segment):
            style = None if piece.score is None else _style(piece.score / largest)
            line.append(phrases.visible(piece.text), DIM if piece.special else style)
        yield line


def _style(share: float) -> Style:
    """Return the look of a score that is `share` of the largest.

    Four steps that also differ without colours: nothing, colour, bold and underlined, and white on
    a coloured ground. A terminal cannot make a colour paler on a ground that is not known.
    """
    hue, size = TERMINAL_FOR if share > 0 else TERMINAL_AGAINST, abs(share)
    if size < 0.05:
        return Style.null()
    if size < 0.35:
        return Style(color=hue)
    if size < 0.7:
        return Style(color=hue, bold=True, underline=True)
    return Style(color="#ffffff", bgcolor=hue, bold=True)


def _bars(attribution: Attribution, special: bool, width: int) -> Iterator[Text]:
    """Yield a row for each word: its name, its score, and a bar to either side of a zero line."""
    rows, note = _chosen(attribution, special)
    names = [phrases.one_line(attribution.tokens[row]) for row in rows]
    dim = [bool(attribution.special[row]) for row in rows]
    for i, line in enumerate(bar_lines(names, attribution.scores[rows], width, dim)):
        if len(attribution.texts) > 1:
            yield from _heading(attribution, rows, i)
        yield line
    yield Text()
    yield from legend(meaning.score_meaning(attribution), note)
    if (sum_line := meaning.sum_line(attribution)) is not None:
        yield Text(sum_line, DIM)


def _heat_map(attribution: Attribution, special: bool, width: int) -> Iterator[Text]:
    """Yield words by layers, in as many blocks of layers as the width asks for."""
    rows, note = _chosen(attribution, special)
    scores, full = attribution.scores[:, rows], color_scale(attribution)
    largest = scale(scores)
    names = {row: phrases.one_line(attribution.tokens[row]) for row in rows}
    name_width = min(max(map(cell_len, names.values()), default=0), max(8, width // 4))
    cell = max(len(phrases.number(score, largest)) for score in scores.ravel().tolist()) + 1
    cell = max(cell, len(str(attribution.layers[-1])) + 2)
    per_block = max(1, (width - name_width - 3) // cell)
    for start in range(0, len(attribution.layers), per_block):
        block = range(start, min(start + per_block, len(attribution.layers)))
        head = "".join(f"{f'L{attribution.layers[n]}':>{cell}}" for n in block)
        yield Text(f"  {'':{name_width}} {head}", DIM, no_wrap=True, overflow="crop")
        for i, row in enumerate(rows):
            if len(attribution.texts) > 1:
                yield from _heading(attribution, rows, i)
            line = Text(f"  {fitted(names[row], name_width)} ", no_wrap=True, overflow="crop")
            for n in block:
                score = float(attribution.scores[n, row])
                number = phrases.number(score, largest)
                line.append(" " * (cell - len(number)))
                line.append(number, _style(max(-1.0, min(1.0, score / full))))
            yield line
        yield Text()
    yield from legend(meaning.score_meaning(attribution), note)
    yield Text(f"The text above shows layer {attribution.layers[-1]}.", DIM)


def _chosen(attribution: Attribution, special: bool) -> tuple[list[int], str]:
    """Return the tokens that the table lists, and a note if that is not all of them."""
    rows = listed(attribution, special)
    if len(rows) <= ROWS:
        return rows, ""
    chosen = strongest(attribution.scores, rows, ROWS)
    return chosen, f"The table lists the {ROWS} strongest of {len(rows)}, in text order."


def _heading(attribution: Attribution, rows: Sequence[int], at: int) -> Iterator[Text]:
    """Yield "Text 1" or "Text 2" before the first row of each."""
    segments = attribution.segments[rows[: at + 1]].tolist()
    if segments[-1] >= 0 and segments[-1] not in segments[:-1]:
        yield Text(f"  Text {segments[-1] + 1}", DIM)
