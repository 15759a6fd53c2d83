"""Parts that the terminal reports of every kind of result share."""

import io
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats, Result
from normxlogit.results.image import ImageAttribution
from normxlogit.show import meaning, outputs, phrases
from normxlogit.show.colors import TERMINAL_AGAINST, TERMINAL_FOR
from normxlogit.show.scales import scale
from normxlogit.show.sentence import Message, Role, head

PLAIN_WIDTH = 88

DIM = Style(dim=True)
LABEL = Style(bold=True)
FOR, AGAINST = Style(color=TERMINAL_FOR), Style(color=TERMINAL_AGAINST)

_STYLES = {
    Role.PLAIN: Style.null(),
    Role.LABEL: LABEL,
    Role.FOR: FOR + LABEL,
    Role.AGAINST: AGAINST + LABEL,
    Role.WORD: LABEL,
}


Media = TypeVar("Media", ImageAttribution, AudioAttribution)


@dataclass(frozen=True)
class MediaReport(Generic[Media]):
    """An image or audio attribution as rich prints it.

    Attributes:
        result: the attribution.
        kind: what was explained, such as "Image".
        size: how large that is, as text.
        draw: draws the scores of one target and layer in so many columns.
        note: says what there is to say of such a drawing; may be empty.
    """

    result: Media
    kind: str
    size: str
    draw: Callable[[Media, int], Iterator[Text]]
    note: Callable[[Media, int], str]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        result, width = self.result, options.max_width
        several = len(result.targets) > 1
        if several:
            yield prediction(result)
        else:
            yield sentence(head(result))
            yield from beside(result)
        name = f"{phrases.one_line(result.name)}, " if result.name else ""
        yield field(self.kind, Text(f"{name}{self.size}"))
        if result.note:
            yield Text(phrases.visible(result.note))
        for number in range(len(result.targets)):
            part = result.at(number)
            part = part.select(layer=part.layers[-1]).only()
            yield Text()
            if several:
                yield sentence(head(part))
                yield Text()
            yield from self.draw(part, width)
            layer = f"This is layer {part.layers[0]}." if len(result.layers) > 1 else ""
            note = f"{self.note(part, width)} {layer}".strip()
            yield from legend(meaning.score_meaning(part).shown(part.scores), note)
            yield Text()
        yield provenance(result)


def plain(report: RenderableType) -> str:
    """Return what rich prints, as text without colours, 88 columns wide."""
    file = io.StringIO()
    # In a notebook rich would show the text at once, and leave none to return.
    console = Console(
        file=file,
        width=PLAIN_WIDTH,
        color_system=None,
        legacy_windows=False,
        force_jupyter=False,
    )
    console.print(report)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def field(name: str, value: Text) -> Text:
    """Return a line with a name before it."""
    return Text.assemble((f"{name:<12}", DIM), value)


def sentence(parts: Message) -> Text:
    """Return the sentence that leads, each word in the colour of its side."""
    return Text.assemble(*((part.quoted, _STYLES[part.role]) for part in parts))


def beside(result: Result) -> Iterator[Text]:
    """Yield what the sentence about the only target does not say of the prediction."""
    if not outputs.is_plain(result):
        yield prediction(result)
    elif labels := outputs.runners_up(result):
        runners_up = ", ".join(f"{label.name} {label.amount}" for label in labels)
        yield field("Next", Text(runners_up, DIM))


def prediction(result: Result) -> Text:
    """Return what the model said, and what it would have said next."""
    verdict = outputs.verdict(result)
    line = Text(", ").join(
        Text(label.amount, LABEL)
        if label.nameless
        else Text.assemble((label.name, LABEL), f" {label.amount}")
        for label in verdict.labels
    )
    if verdict.more:
        line.append(f" and {verdict.more} more", DIM)
    if not line:
        line = Text("no label", LABEL)
    if verdict.runners_up:
        names = ", ".join(f"{label.name} {label.amount}" for label in verdict.runners_up)
        line.append(f"   next {names}", DIM)
    return field("Prediction", line)


def provenance(result: Result) -> Text:
    """Return the last line: how the scores were made, and by which model."""
    model = phrases.without_folders(result.provenance.model)
    return Text(phrases.visible(f"{meaning.method_summary(result)}; model {model}"), DIM)


def legend(says: meaning.Meaning, note: str) -> Iterator[Text]:
    """Yield what the signs say, if anything, and a note."""
    shown = [
        Text.assemble((sign, (FOR if is_for else AGAINST) + LABEL), f" {words}")
        for sign, words, is_for in says.signs
    ]
    if shown:
        yield Text("   ").join(shown)
    if note:
        yield Text(note, DIM)


def bar_lines(
    names: Sequence[str],
    scores: Floats,
    width: int,
    dim: Sequence[bool],
    shares: Sequence[str] | None = None,
    *,
    signed: bool = True,
) -> Iterator[Text]:
    """Yield a line for each name: its score, and a bar to either side of a zero line.

    Args:
        names: of what has a score.
        scores: theirs.
        width: how many columns there are.
        dim: which names are dim.
        shares: what stands behind the scores.
        signed: whether signs tell support from opposition.
    """
    largest = scale(scores)
    shares = [""] * len(names) if shares is None else shares
    share_width = max(map(len, shares), default=0)
    share_width += 2 if share_width else 0
    numbers = [phrases.number(score, largest, signed=signed) for score in scores.tolist()]
    name_width = min(max(map(cell_len, names), default=0), max(8, width // 3))
    number_width = max(map(len, numbers), default=0)
    room = min(44, max(8, width - name_width - number_width - share_width - 6))
    low, high = (max(0.0, float((sign * scores).max(initial=0.0))) for sign in (-1, 1))
    # The room is divided between both sides as the largest scores are, with a column at least for
    # a side that has any; then one scale for both, the coarser, so that bars can be compared.
    left = 0 if low == 0 else max(1, round(room * low / (low + high)))
    right = 0 if high == 0 else max(1, room - left)
    per_cell = max(low / left if left else 0.0, high / right if right else 0.0) or 1.0
    rows = zip(names, scores.tolist(), numbers, shares, dim, strict=True)
    for name, score, number, share, is_dim in rows:
        halves = round(2 * abs(score) / per_cell)
        bar = "█" * (halves // 2)
        before, after = (bar, "") if score < 0 else ("", bar)
        if halves % 2:
            before, after = ("▐" + before, "") if score < 0 else ("", after + "▌")
        color = FOR if score > 0 else AGAINST
        yield Text.assemble(
            "  ",
            (fitted(name, name_width), DIM if is_dim else ""),
            f"  {number:>{number_width}}",
            (f"{share:>{share_width}}  ", DIM),
            (f"{before:>{left}}", color),
            ("│", DIM),
            (after, color),
            no_wrap=True,
            overflow="crop",
        )


def column_blocks(widths: Sequence[int], room: int, gap: int) -> list[range]:
    """Divide columns into as few blocks as fit, one column at least, of about the same width.

    Args:
        widths: of the columns.
        room: how many columns of a terminal there are for a block.
        gap: how many of these stand between two.

    Returns:
        for each block the numbers of its columns.
    """

    def surplus(narrower: int) -> int:
        """Return how many blocks fewer than this room has there are in all of the room."""
        return fewest - len(list(_filled(widths, narrower, gap)))

    fewest = len(list(_filled(widths, room, gap)))
    # The least room that does not ask for more blocks balances them.
    least = bisect_left(range(room), 0, key=surplus)
    return list(_filled(widths, least, gap))


def _filled(widths: Sequence[int], room: int, gap: int) -> Iterator[range]:
    """Yield blocks of as many columns as fit: one at least, then those that are left."""
    start = 0
    while start < len(widths):
        end, taken = start + 1, widths[start]
        while end < len(widths) and taken + gap + widths[end] <= room:
            taken += gap + widths[end]
            end += 1
        yield range(start, end)
        start = end


def fitted(name: str, width: int) -> str:
    """Return a name filled up or cut to a width in columns."""
    return (
        set_cell_size(name, width)
        if cell_len(name) <= width
        else set_cell_size(name, width - 1) + "…"
    )
