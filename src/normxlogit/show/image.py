"""Attributions of pictures: as HTML, in a terminal, as a figure."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.show import phrases, terminal
from normxlogit.show.markup import BarRow, bar_rows, signed
from normxlogit.show.plot import new_figure
from normxlogit.show.templating import fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSETS = ("picture.css",)

STRONGEST = 5
"""How many patches are listed."""

_FOR = ("  ", "░░", "▒▒", "▓▓", "██")
_AGAINST = ("  ", "╌╌", "──", "══", "━━")
_MOST_LINES = 24


@dataclass(frozen=True)
class Rectangle:
    """A patch as a page draws it, in the units of its picture.

    Attributes:
        left, upper, width, height: where it lies.
        share: its score as a share of the largest.
        title: what it says when pointed at; None if nothing.
    """

    left: float
    upper: float
    width: float
    height: float
    share: float
    title: str | None


@dataclass(frozen=True)
class Overlay:
    """The patches of a layer over their picture.

    Attributes:
        caption: what it shows.
        over_picture: whether the picture lies under it.
        width, height: of the drawing, in its own units.
        window: left, upper, right and lower edge of the part of the picture that patches lie over;
            None if that is all of it, or not known.
        patches: the patches.
    """

    caption: str
    over_picture: bool
    width: int
    height: int
    window: tuple[float, float, float, float] | None
    patches: list[Rectangle]


@dataclass(frozen=True)
class ScoreGrid:
    """All scores, as the patches lie.

    Attributes:
        rows: of each row of patches their shares of the largest score, and the scores as text.
        others: the scores of the positions that lie nowhere, as text.
    """

    rows: list[list[tuple[float, str]]]
    others: list[str]


@dataclass(frozen=True)
class TargetSection:
    """What a page says of a target.

    Attributes:
        explained: the target by name; None if it is what was predicted.
        by_layer: whether it shows several layers, each in small.
        overlays: a drawing for each layer; none if the patches are not known.
        meaning, note: what the scores say, and of what they are.
        strongest: the strongest patches; none of several layers.
        grid: all scores as the patches lie; None of several layers, or if that is not known.
        numbers: all scores by position, if it is not known how the patches lie.
    """

    explained: str | None
    by_layer: bool
    overlays: list[Overlay]
    meaning: phrases.Meaning
    note: str
    strongest: list[BarRow]
    grid: ScoreGrid | None
    numbers: list[str]


def body(result: ImageAttribution) -> Markup:
    """Return the HTML of a result: prediction, picture, the picture under its scores, numbers."""
    height, width = result.original
    values = {
        "said": phrases.verdict(result),
        "name": result.name,
        "note": result.note,
        "width": width,
        "height": height,
        "ratio": _ratio(result),
        "picture": None
        if result.thumbnail is None
        else base64.b64encode(result.thumbnail).decode("ascii"),
        "sections": [_section(result, number) for number in range(len(result.targets))],
    }
    return fill("image.html", values)


def _section(result: ImageAttribution, number: int) -> TargetSection:
    part = result.at(number)
    by_layer = result.grid is not None and len(part.layers) > 1
    single = None if result.grid is None or by_layer else part.only()
    return TargetSection(
        explained=None if phrases.is_plain(result) else phrases.explained(part),
        by_layer=by_layer,
        overlays=[] if result.grid is None else _overlays(part),
        meaning=phrases.meaning(part),
        note="One score for each patch." if result.grid else "One score for each position.",
        strongest=[] if single is None else _strongest(single),
        grid=None if single is None else _grid(single),
        numbers=_numbers(part) if result.grid is None else [],
    )


def render(result: ImageAttribution) -> "Report":
    """What rich prints of a result."""
    return Report(result)


def figure(result: ImageAttribution) -> "Figure":
    """A panel for each target and layer: the picture in grey under its scores.

    Where the patches lie is not known, the scores are drawn without the picture.

    Raises:
        InputError: the grid is not known.
        MissingExtraError: matplotlib is not installed.
    """
    parts = list(result.single())
    columns = max(1, len(result.layers) if len(result.layers) > 1 else len(parts))
    columns = min(columns, 6)
    lines = -(-len(parts) // columns)
    height, width = result.original
    tall = min(2.0, max(0.4, height / width))
    drawn = new_figure(max(4.5, 3.2 * columns), lines * (2.8 * tall + 0.7) + 0.3)
    panels = drawn.subplots(lines, columns, squeeze=False).ravel()
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("against-for", ["#d9660a", "#ffffff", "#1a66cc"])
    full = phrases.scale(result.patches())
    picture = result.picture
    for panel in panels:
        panel.set_axis_off()
    for panel, part in zip(panels, parts, strict=False):
        extent = None
        if part.box is not None:
            left, upper, right, lower = part.box
            extent = (left, right, lower, upper)
            if picture is not None:
                whole = (0, width, height, 0)
                panel.imshow(picture.convert("L"), cmap="gray", vmin=0, vmax=255, extent=whole)
        shown = panel.imshow(
            part.patches(),
            cmap=colors,
            vmin=-full,
            vmax=full,
            alpha=1.0 if extent is None or picture is None else _alpha(part.patches() / full),
            extent=extent,
            interpolation="nearest",
        )
        if extent is not None:
            panel.set_xlim(0, width)
            panel.set_ylim(height, 0)
        title = phrases.explained(part)
        if len(result.layers) > 1:
            title += f"\nlayer {part.layers[0]}"
        panel.set_title(title, parse_math=False, fontsize="medium")
    drawn.colorbar(shown, ax=list(panels), shrink=0.8)
    return drawn


def _alpha(shares: Floats) -> Floats:
    alpha: Floats = (0.75 * np.abs(shares)).clip(0, 1)
    return alpha


@dataclass(frozen=True)
class Report:
    """A result as rich prints it."""

    result: ImageAttribution

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self.result
        yield terminal.prediction(whole)
        height, width = whole.original
        name = f"{phrases.one_line(whole.name)}, " if whole.name else ""
        yield terminal.field("Picture", Text(f"{name}{width} x {height}"))
        if whole.note:
            yield Text(phrases.visible(whole.note))
        for number in range(len(whole.targets)):
            part = whole.at(number)
            if not phrases.is_plain(whole):
                yield terminal.field("Explained", Text(phrases.explained(part)))
            part = part.select(layer=part.layers[-1]).only()
            yield Text()
            if part.grid is not None:
                yield from _map(part, options.max_width)
                yield Text()
                yield from _patches(part, options.max_width)
                yield Text()
            note = _coarse(part, options.max_width)[1]
            if len(whole.layers) > 1:
                note = f"{note} Shown is layer {part.layers[0]}.".strip()
            yield from terminal.legend(phrases.meaning(part), note)
            yield Text()
        yield Text(
            f"{phrases.how(whole)}; model {phrases.visible(whole.provenance.model)}", terminal.DIM
        )


def _coarse(result: ImageAttribution, width: int) -> tuple[Floats, str]:
    """The patches, or the means of neighbours where they are too many for the terminal."""
    if result.grid is None:
        return np.zeros((0, 0), np.float32), ""
    patches = result.patches()
    rows, columns = patches.shape
    side = max(-(-rows // _MOST_LINES), -(-columns // max(4, (width - 4) // 2)))
    if side == 1:
        return patches, ""
    padded = np.full((-(-rows // side) * side, -(-columns // side) * side), np.nan, np.float32)
    padded[:rows, :columns] = patches
    blocks = padded.reshape(padded.shape[0] // side, side, -1, side)
    means: Floats = np.nanmean(blocks, (1, 3))
    return means, f"Each square above is the mean of {side} x {side} patches."


def _map(result: ImageAttribution, width: int) -> Iterator[Text]:
    cells, _ = _coarse(result, width)
    full = phrases.scale(cells)
    edge = "─" * (2 * cells.shape[1])
    yield Text(f" ┌{edge}┐", terminal.DIM, no_wrap=True)
    for row in cells:
        line = Text(" │", terminal.DIM, no_wrap=True, overflow="crop")
        for score in row.tolist():
            share = score / full
            signs, color = (_FOR, terminal.FOR) if share > 0 else (_AGAINST, terminal.AGAINST)
            line.append(signs[min(4, round(4 * abs(share)))], Style(color=color, dim=False))
        line.append("│", terminal.DIM)
        yield line
    yield Text(f" └{edge}┘", terminal.DIM, no_wrap=True)


def _patches(result: ImageAttribution, width: int) -> Iterator[Text]:
    found = _strong(result)
    names = [f"row {row + 1}, column {column + 1}" for (row, column), _ in found]
    scores = np.array([score for _, score in found], np.float32)
    yield Text("  Strongest patches, counted from 1", terminal.DIM)
    yield from terminal.bar_lines(names, scores, width, [False] * len(names))


def _strong(result: ImageAttribution) -> list[tuple[tuple[int, int], float]]:
    """The patches with the largest scores by size, the highest score first."""
    patches = result.patches()
    order = np.argsort(-np.abs(patches).ravel(), kind="stable")[:STRONGEST]
    cells = [divmod(int(i), patches.shape[1]) for i in order]
    found = [(cell, float(patches[cell])) for cell in cells]
    return sorted(found, key=lambda item: -item[1])


def _ratio(result: ImageAttribution) -> float:
    """Return width by height of the picture; of the grid where this is all there is to draw."""
    height, width = result.original
    if result.box is None and result.grid is not None and result.thumbnail is None:
        height, width = result.grid
    return width / height


def _overlays(result: ImageAttribution) -> list[Overlay]:
    """Return the patches over the picture, at each layer, in one scale."""
    full = phrases.scale(result.patches())
    layers = list(result.single())
    if len(layers) == 1:
        return [_overlay(layers[0], full, _caption(layers[0]), titles=True)]
    return [_overlay(part, full, f"Layer {part.layers[0]}", titles=False) for part in layers]


def _caption(result: ImageAttribution) -> str:
    rows, columns = result.grid or (0, 0)
    count = f"{rows} × {columns} patches"
    if result.box is None:
        return f"{count}, not laid over the picture"
    return f"{count}; what lies under none is pale" if _cropped(result) else count


def _cropped(result: ImageAttribution) -> bool:
    """Whether the grid leaves more than a trace of the picture uncovered."""
    if result.box is None:
        return False
    (left, upper, right, lower), (height, width) = result.box, result.original
    return bool(max(left / width, upper / height, 1 - right / width, 1 - lower / height) > 0.005)


def _overlay(result: ImageAttribution, full: float, caption: str, *, titles: bool) -> Overlay:
    patches = result.patches()
    rows, columns = patches.shape
    if result.box is None:
        left, upper, right, lower, height, width = 0.0, 0.0, columns, rows, rows, columns
    else:
        left, upper, right, lower = result.box
        height, width = result.original
    x, y = (right - left) / columns, (lower - upper) / rows
    window = None
    if _cropped(result):
        # The box lies outside of the picture where this was padded.
        corner = min(float(width), right), min(float(height), lower)
        window = (max(0.0, left), max(0.0, upper), *corner)
    drawn = []
    for (row, column), score in np.ndenumerate(patches):
        title = f"row {row + 1}, column {column + 1}: {signed(float(score), full)}"
        drawn.append(
            Rectangle(
                left=left + column * x,
                upper=upper + row * y,
                width=x,
                height=y,
                share=float(score) / full,
                title=title if titles else None,
            )
        )
    return Overlay(caption, result.box is not None, width, height, window, drawn)


def _strongest(result: ImageAttribution) -> list[BarRow]:
    patches = _strong(result)
    names = [f"{row + 1}, {column + 1}" for (row, column), _ in patches]
    return bar_rows(names, [score for _, score in patches], phrases.scale(result.patches()))


def _grid(result: ImageAttribution) -> ScoreGrid:
    patches = result.patches()
    largest = phrases.scale(patches)
    return ScoreGrid(
        rows=[
            [(score / largest, signed(score, largest)) for score in row] for row in patches.tolist()
        ],
        others=[signed(score, largest) for score in result.scores[result.special].tolist()],
    )


def _numbers(result: ImageAttribution) -> list[str]:
    """Return the scores by position, at the last layer."""
    part = result.select(layer=result.layers[-1]).only()
    largest = phrases.scale(part.scores)
    return [signed(score, largest) for score in part.scores.tolist()]
