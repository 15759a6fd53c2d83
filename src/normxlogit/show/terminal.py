"""Attributions in a terminal, with colours and without."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.base import Floats, Result
from normxlogit.results.text import Attribution
from normxlogit.show import dispatch, phrases

ROWS = 20
"""How many rows a table has at most."""

PLAIN_WIDTH = 88

# Blue and orange, which the colour-blind tell apart; each has a contrast of about 4.5 against black
# and against white, and so on dark and light terminals.
FOR, AGAINST = "#1a73e8", "#c25100"
DIM = Style(dim=True)
LABEL = Style(bold=True)


def render(result: Result, *, special: bool = False) -> RenderableType:
    """What rich prints of a result.

    Args:
        result: of any kind and unit, with any number of targets and layers.
        special: of texts, list special tokens too.
    """
    return dispatch.render(result, special)


def plain(result: Result, *, special: bool = False) -> str:
    """The same as text without colours, 88 columns wide."""
    return uncoloured(render(result, special=special))


def uncoloured(shown: RenderableType) -> str:
    """What rich prints of something, as text 88 columns wide."""
    file = io.StringIO()
    console = Console(file=file, width=PLAIN_WIDTH, color_system=None, legacy_windows=False)
    console.print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


@dataclass(frozen=True)
class Report:
    """An attribution as rich prints it."""

    attribution: Attribution
    special: bool

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self.attribution
        yield prediction(whole)
        for number in range(len(whole.targets)):
            part = whole.at(number)
            if not phrases.is_plain(whole):
                yield field("Explained", Text(phrases.explained(part)))
            yield Text()
            yield from _texts(part.select(layer=part.layers[-1]))
            yield Text()
            if len(part.layers) > 1:
                yield from _heat_map(part, self.special, options.max_width)
            else:
                yield from _bars(part.only(), self.special, options.max_width)
            yield Text()
        yield Text(f"{phrases.how(whole)}; model {phrases.visible(whole.provenance.model)}", DIM)


def field(name: str, value: Text) -> Text:
    """A line with a name before it."""
    return Text.assemble((f"{name:<12}", DIM), value)


def prediction(result: Result) -> Text:
    """What the model said, and what it would have said next."""
    verdict = phrases.verdict(result)
    said = Text(", ").join(
        Text(label.amount, LABEL)
        if label.nameless
        else Text.assemble((label.name, LABEL), f" {label.amount}")
        for label in verdict.labels
    )
    if verdict.more:
        said.append(f" and {verdict.more} more", DIM)
    if not said:
        said = Text("no label", LABEL)
    if verdict.runners_up:
        names = ", ".join(f"{label.name} {label.amount}" for label in verdict.runners_up)
        said.append(f"   next {names}", DIM)
    return field("Prediction", said)


def _texts(attribution: Attribution) -> Iterator[Text]:
    """The text, or both of a pair, each word in its colour."""
    largest = phrases.color_scale(attribution)
    for segment in range(len(attribution.texts)):
        line = Text(overflow="fold")
        if len(attribution.texts) > 1:
            line.append(f"Text {segment + 1}  ", DIM)
        for piece in phrases.pieces(attribution, segment):
            style = None if piece.score is None else _style(piece.score / largest)
            style = DIM if piece.special else style
            line.append(phrases.visible(piece.text), style)
        yield line


def _style(share: float) -> Style:
    """How a score looks that is `share` of the largest: coloured, bold, on a coloured ground."""
    hue, size = FOR if share > 0 else AGAINST, abs(share)
    if size < 0.05:
        return Style.null()
    if size < 0.35:
        return Style(color=hue)
    if size < 0.7:
        return Style(color=hue, bold=True, underline=True)
    return Style(color="#ffffff", bgcolor=hue, bold=True)


def _bars(attribution: Attribution, special: bool, width: int) -> Iterator[Text]:
    """A row for each word: its name, its score, and a bar to either side of a zero line."""
    rows, note = _chosen(attribution, special)
    scores = attribution.scores
    names = [phrases.one_line(attribution.tokens[i]) for i in rows]
    lines = bar_lines(names, scores[rows], width, [bool(attribution.special[i]) for i in rows])
    for i, line in enumerate(lines):
        if len(attribution.texts) > 1:
            yield from _heading(attribution, rows, i)
        yield line
    yield Text()
    yield from legend(phrases.meaning(attribution), note)


def bar_lines(
    names: Sequence[str], scores: Floats, width: int, dim: Sequence[bool]
) -> Iterator[Text]:
    """A line for each name: its score, and a bar to either side of a zero line."""
    largest = phrases.scale(scores)
    numbers = [phrases.number(score, largest) for score in scores.tolist()]
    name_width = min(max(map(cell_len, names), default=0), max(8, width // 3))
    number_width = max(map(len, numbers), default=0)
    room = min(44, max(8, width - name_width - number_width - 6))
    low, high = (max(0.0, float((sign * scores).max(initial=0.0))) for sign in (-1, 1))
    left = 0 if low == 0 else max(1, round(room * low / (low + high)))
    right = 0 if high == 0 else max(1, room - left)
    per_cell = max(low / left if left else 0.0, high / right if right else 0.0) or 1.0
    for name, score, number, is_dim in zip(names, scores.tolist(), numbers, dim, strict=True):
        halves = round(2 * abs(score) / per_cell)
        bar = "█" * (halves // 2)
        before, after = (bar, "") if score < 0 else ("", bar)
        if halves % 2:
            before, after = ("▐" + before, "") if score < 0 else ("", after + "▌")
        color = Style(color=FOR if score > 0 else AGAINST)
        yield Text.assemble(
            "  ",
            (_fitted(name, name_width), DIM if is_dim else ""),
            f"  {number:>{number_width}}  ",
            (f"{before:>{left}}", color),
            ("│", DIM),
            (after, color),
            no_wrap=True,
            overflow="crop",
        )


def _heat_map(attribution: Attribution, special: bool, width: int) -> Iterator[Text]:
    """Words by layers, in as many blocks of layers as the width asks for."""
    rows, note = _chosen(attribution, special)
    largest, full = phrases.scale(attribution.scores[:, rows]), phrases.color_scale(attribution)
    names = {i: phrases.one_line(attribution.tokens[i]) for i in rows}
    name_width = min(max(map(cell_len, names.values()), default=0), max(8, width // 4))
    cell = max(len(phrases.number(float(s), largest)) for s in attribution.scores[:, rows].flat) + 1
    cell = max(cell, len(str(attribution.layers[-1])) + 2)
    per_block = max(1, (width - name_width - 3) // cell)
    for start in range(0, len(attribution.layers), per_block):
        block = range(start, min(start + per_block, len(attribution.layers)))
        head = "".join(f"{f'L{attribution.layers[n]}':>{cell}}" for n in block)
        yield Text(f"  {'':{name_width}} {head}", DIM, no_wrap=True, overflow="crop")
        for i, row in enumerate(rows):
            if len(attribution.texts) > 1:
                yield from _heading(attribution, rows, i)
            line = Text(f"  {_fitted(names[row], name_width)} ", no_wrap=True, overflow="crop")
            for n in block:
                score = float(attribution.scores[n, row])
                shown = phrases.number(score, largest)
                line.append(" " * (cell - len(shown)))
                line.append(shown, _style(max(-1.0, min(1.0, score / full))))
            yield line
        yield Text()
    yield from legend(phrases.meaning(attribution), note)
    yield Text(f"The text above shows layer {attribution.layers[-1]}.", DIM)


def _chosen(attribution: Attribution, special: bool) -> tuple[list[int], str]:
    """The tokens that the table lists, and a note if that is not all of them."""
    rows = phrases.shown(attribution, special)
    if len(rows) <= ROWS:
        return rows, ""
    chosen = phrases.strongest(attribution.scores, rows, ROWS)
    return chosen, f"The table lists the {ROWS} strongest of {len(rows)}, in text order."


def _heading(attribution: Attribution, rows: Sequence[int], at: int) -> Iterator[Text]:
    """ "Text 1" or "Text 2" before the first row of each."""
    segments = attribution.segments[rows[: at + 1]].tolist()
    if segments[-1] >= 0 and segments[-1] not in segments[:-1]:
        yield Text(f"  Text {segments[-1] + 1}", DIM)


def legend(meaning: phrases.Meaning, note: str) -> Iterator[Text]:
    """What the signs say, and a note."""
    signs = (("+", FOR, meaning.positive), ("-", AGAINST, meaning.negative))
    yield Text("   ").join(
        Text.assemble((sign, Style(color=color, bold=True)), f" {says}")
        for sign, color, says in signs
        if says is not None
    )
    if note:
        yield Text(note, DIM)


def _fitted(name: str, width: int) -> str:
    return (
        set_cell_size(name, width)
        if cell_len(name) <= width
        else set_cell_size(name, width - 1) + "…"
    )
