"""Attributions of texts in a terminal: what they say, the text in its colours, and bars or a heat
map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.text import Attribution
from normxlogit.show import meaning, phrases
from normxlogit.show.colors import TERMINAL_AGAINST, TERMINAL_FOR
from normxlogit.show.scales import scale, strongest
from normxlogit.show.terminal import (
    DIM,
    LABEL,
    bar_lines,
    beside,
    fitted,
    legend,
    prediction,
    provenance,
    sentence,
)
from normxlogit.show.text import verification
from normxlogit.show.text.message import message
from normxlogit.show.text.pieces import color_scale, listed, pieces
from normxlogit.show.text.ranking import (
    MOST,
    Order,
    begins_text,
    in_words,
    names,
    placed_names,
    ranked,
)
from normxlogit.show.text.sentences import is_long
from normxlogit.show.text.waterfall import STEPS, as_sum, waterfall

HEAT_ROWS = 20
"""How many rows a heat map has at most."""

SENTENCES = 5
"""How many sentences of a long text are listed."""


def render(
    attribution: Attribution,
    *,
    special: bool = False,
    order: Order = "strength",
    tokens: bool = False,
) -> RenderableType:
    """Return what rich prints of an attribution of any unit; see `dispatch.render`."""
    return TextReport(attribution if tokens else in_words(attribution), special, order)


@dataclass(frozen=True)
class TextReport:
    """An attribution of a text as rich prints it; special tokens are listed if `special`."""

    attribution: Attribution
    special: bool
    order: Order

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        attribution, width = self.attribution, options.max_width
        several = len(attribution.targets) > 1
        if several:
            yield prediction(attribution)
        for number in range(len(attribution.targets)):
            part = attribution.at(number)
            last = part.select(layer=part.layers[-1]).only()
            if several:
                yield Text()
            yield sentence(message(in_words(last)))
            if not several:
                yield from beside(attribution)
            yield Text()
            yield from _texts(last)
            yield Text()
            if len(part.layers) > 1:
                yield from _heat_map(part, self.special, width)
            else:
                if is_long(last):
                    yield from _sentences(last, width)
                yield from _bars(last, self.special, self.order, width)
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
            style = None if piece.score is None else word_style(piece.score / largest)
            line.append(phrases.visible(piece.text), DIM if piece.special else style)
        yield line


def word_style(share: float) -> Style:
    """Return the look of a score that is `share` of the largest.

    Four steps that also differ without colours: nothing, colour, bold, and white on a coloured
    ground. A terminal cannot make a colour paler on a ground that is not known. From the third on,
    what opposes is underlined, so that it can be told without colours too.
    """
    hue, size = TERMINAL_FOR if share > 0 else TERMINAL_AGAINST, abs(share)
    if size < 0.05:
        return Style.null()
    if size < 0.35:
        return Style(color=hue)
    if size < 0.7:
        return Style(color=hue, bold=True, underline=share < 0)
    return Style(color="#ffffff", bgcolor=hue, bold=True, underline=share < 0)


def _sentences(attribution: Attribution, width: int) -> Iterator[Text]:
    """Yield a row for each of the strongest sentences."""
    sentences = attribution.sentences()
    ranking = ranked(sentences, "strength")
    rows = ranking.rows[:SENTENCES]
    texts = names(sentences)
    yield Text("Strongest sentences", DIM)
    yield from bar_lines(
        [texts[row] for row in rows],
        sentences.scores[rows],
        width,
        [False] * len(rows),
        ranking.shares[:SENTENCES],
        signed=meaning.is_signed(attribution),
    )
    yield from _more(len(ranking.rows) - len(rows), "sentence")
    yield Text()
    yield Text("Strongest words", DIM)


def _bars(attribution: Attribution, special: bool, order: Order, width: int) -> Iterator[Text]:
    """Yield a row for each word: its name, score, share, and a bar to either side of zero."""
    ranking, tokens = ranked(attribution, order, special=special), placed_names(attribution)
    rows = ranking.rows[:MOST] if order == "strength" else ranking.rows
    called = tokens if order == "strength" else names(attribution)
    lines = bar_lines(
        [called[row] for row in rows],
        attribution.scores[rows],
        width,
        [bool(attribution.special[row]) for row in rows],
        ranking.shares[: len(rows)],
        signed=meaning.is_signed(attribution),
    )
    begins = begins_text(attribution, rows) if order == "text" else [None] * len(rows)
    for line, text in zip(lines, begins, strict=True):
        if text is not None:
            yield Text(f"  Text {text}", DIM)
        yield line
    yield from _more(len(ranking.rows) - len(rows), attribution.unit)
    yield Text()
    note = "% is the share of all scores, signs aside." if any(ranking.shares) else ""
    yield from legend(
        meaning.score_meaning(attribution).shown(attribution.scores[ranking.rows]), note
    )
    steps = ranked(attribution, "strength").rows[:STEPS]
    if (fall := waterfall(attribution, tokens, steps)) is not None:
        yield Text(phrases.visible("".join(name + rest for name, rest in as_sum(fall))), DIM)


def _more(count: int, unit: str) -> Iterator[Text]:
    if count:
        yield Text(f"  ... and {count} more {unit}{'s' * (count > 1)}", DIM)


def _heat_map(attribution: Attribution, special: bool, width: int) -> Iterator[Text]:
    """Yield words by layers, in as many blocks of layers as the width asks for."""
    rows, note = _heat_rows(attribution, special)
    scores, full = attribution.scores[:, rows], color_scale(attribution)
    signed = meaning.is_signed(attribution)
    largest, tokens = scale(scores), names(attribution)
    begins = begins_text(attribution, rows)
    name_width = min(max((cell_len(tokens[row]) for row in rows), default=0), max(8, width // 4))
    numbers = (phrases.number(score, largest, signed=signed) for score in scores.ravel().tolist())
    cell = max(map(len, numbers)) + 1
    cell = max(cell, len(str(attribution.layers[-1])) + 2)
    per_block = max(1, (width - name_width - 3) // cell)
    for start in range(0, len(attribution.layers), per_block):
        block = range(start, min(start + per_block, len(attribution.layers)))
        head = "".join(f"{f'L{attribution.layers[n]}':>{cell}}" for n in block)
        yield Text(f"  {'':{name_width}} {head}", DIM, no_wrap=True, overflow="crop")
        for row, text in zip(rows, begins, strict=True):
            if text is not None:
                yield Text(f"  Text {text}", DIM)
            line = Text(f"  {fitted(tokens[row], name_width)} ", no_wrap=True, overflow="crop")
            for n in block:
                score = float(attribution.scores[n, row])
                number = phrases.number(score, largest, signed=signed)
                line.append(" " * (cell - len(number)))
                line.append(number, word_style(max(-1.0, min(1.0, score / full))))
            yield line
        yield Text()
    yield from legend(meaning.score_meaning(attribution).shown(scores), note)
    yield Text(f"The sentence and the text above show layer {attribution.layers[-1]}.", DIM)


def _heat_rows(attribution: Attribution, special: bool) -> tuple[list[int], str]:
    """Return the tokens that a heat map lists, and a note if that is not all of them."""
    rows = listed(attribution, special)
    if len(rows) <= HEAT_ROWS:
        return rows, ""
    chosen: Sequence[int] = strongest(attribution.scores, rows, HEAT_ROWS)
    return list(chosen), f"The table lists the {HEAT_ROWS} strongest of {len(rows)}, in text order."
