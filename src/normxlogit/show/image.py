"""Attributions of pictures: as HTML, in a terminal, as a figure."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.show import markup, phrases, terminal
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSETS = ("picture.css",)

STRONGEST = 5
"""How many patches are listed."""

_FOR = ("  ", "░░", "▒▒", "▓▓", "██")
_AGAINST = ("  ", "╌╌", "──", "══", "━━")
_MOST_LINES = 24


def body(result: ImageAttribution) -> str:
    """HTML of a result: the prediction, the picture, the picture under its scores, numbers."""
    parts = [markup.prediction(result)]
    if result.name:
        parts.append(f'<p class="nx-quiet">{escape(phrases.visible(result.name))}</p>\n')
    if result.note:
        parts.append(f"<p>{escape(phrases.visible(result.note))}</p>\n")
    for number in range(len(result.targets)):
        part = result.at(number)
        if not phrases.is_plain(result):
            parts.append(f"<h3>Explained: {escape(phrases.explained(part))}</h3>\n")
        if result.grid is None:
            parts += [_picture_alone(result), _legend(part), _numbers(part)]
        elif len(part.layers) > 1:
            parts += [_pictures(part), _legend(part)]
        else:
            part = part.only()
            parts += [_pictures(part), _legend(part), _strongest(part), _grid(part)]
    return "".join(parts)


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


def _ratio(result: ImageAttribution) -> str:
    """The picture and its proportions as CSS variables."""
    height, width = result.original
    if result.box is None and result.grid is not None and result.thumbnail is None:
        height, width = result.grid
    style = f"--ratio:{width / height:.4f}"
    if result.thumbnail is not None:
        data = base64.b64encode(result.thumbnail).decode("ascii")
        style += f";--picture:url(data:image/png;base64,{data})"
    return style


def _picture_alone(result: ImageAttribution) -> str:
    return f'<div class="nx-pictures" style="{_ratio(result)}">\n{_plain_figure(result)}</div>\n'


def _plain_figure(result: ImageAttribution) -> str:
    if result.thumbnail is None:
        return ""
    height, width = result.original
    return (
        '<figure><div class="nx-picture" role="img" aria-label="The picture"><i></i></div>'
        f"<figcaption>The picture, {width} × {height}</figcaption></figure>\n"
    )


def _pictures(result: ImageAttribution) -> str:
    """The picture, and what its patches say, at each layer."""
    full = phrases.scale(result.patches())
    layers = list(result.single())
    several = len(layers) > 1
    drawn = "" if several else _plain_figure(result)
    for part in layers:
        caption = f"Layer {part.layers[0]}" if several else _caption(part)
        drawn += (
            f'<figure><div class="nx-picture" role="img" aria-label="{escape(caption)}">'
            f"{_overlay(part, full, titles=not several)}</div>"
            f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        )
    small = " nx-small" if several else ""
    return f'<div class="nx-pictures{small}" style="{_ratio(result)}">\n{drawn}</div>\n'


def _caption(result: ImageAttribution) -> str:
    rows, columns = result.grid or (0, 0)
    words = f"{rows} × {columns} patches"
    if result.box is None:
        return f"{words}, not laid over the picture"
    return f"{words}; what lies under none is pale" if _cropped(result) else words


def _cropped(result: ImageAttribution) -> bool:
    """Whether the grid leaves more than a trace of the picture uncovered."""
    if result.box is None:
        return False
    (left, upper, right, lower), (height, width) = result.box, result.original
    return bool(max(left / width, upper / height, 1 - right / width, 1 - lower / height) > 0.005)


def _overlay(result: ImageAttribution, full: float, titles: bool) -> str:
    patches = result.patches()
    rows, columns = patches.shape
    if result.box is None:
        left, upper, right, lower, height, width = 0.0, 0.0, columns, rows, rows, columns
    else:
        left, upper, right, lower = result.box
        height, width = result.original
    x, y = (right - left) / columns, (lower - upper) / rows
    drawn = ""
    if _cropped(result):
        a, b = max(0.0, left), max(0.0, upper)
        c, d = min(float(width), right), min(float(height), lower)
        drawn += (
            f'<path fill-rule="evenodd" d="M0 0H{width}V{height}H0Z'
            f'M{a:.2f} {b:.2f}V{d:.2f}H{c:.2f}V{b:.2f}Z"/>'
        )
    for row in range(rows):
        for column in range(columns):
            score = float(patches[row, column])
            title = f"row {row + 1}, column {column + 1}: {markup.signed(score, full)}"
            drawn += (
                f'<rect x="{left + column * x:.2f}" y="{upper + row * y:.2f}" width="{x:.2f}" '
                f'height="{y:.2f}"{markup.look(score / full)}>'
                + (f"<title>{title}</title></rect>" if titles else "</rect>")
            )
    under = '<i class="nx-under"></i>' if result.box is not None else ""
    return (
        f'{under}<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'shape-rendering="crispEdges">{drawn}</svg>'
    )


def _legend(result: ImageAttribution) -> str:
    meaning = phrases.meaning(result)
    note = "One score for each patch." if result.grid else "One score for each position."
    return markup.legend(meaning, f"{meaning.sentence} {note}")


def _strongest(result: ImageAttribution) -> str:
    found = _strong(result)
    scores = [score for _, score in found]
    low, high = max(0.0, -min(scores)), max(0.0, *scores)
    largest = phrases.scale(result.patches())
    lines = "".join(
        f'<tr><th scope="row">{row + 1}, {column + 1}</th>'
        f'<td class="nx-number">{markup.signed(score, largest)}</td>'
        f"{markup.track(score, low, high)}</tr>\n"
        for (row, column), score in found
    )
    return (
        '<table class="nx-bars"><caption>The strongest patches: row and column, counted from 1 at '
        f"the upper left.</caption>\n<tbody>\n{lines}</tbody></table>\n"
    )


def _grid(result: ImageAttribution) -> str:
    """All scores, as they lie in the picture."""
    patches = result.patches()
    largest = phrases.scale(patches)
    head = "".join(
        f'<th scope="col" class="nx-number">{n + 1}</th>' for n in range(patches.shape[1])
    )
    lines = ""
    for number, row in enumerate(patches.tolist(), 1):
        cells = "".join(
            f"<td{markup.look(score / largest, 'nx-number')}>{markup.signed(score, largest)}</td>"
            for score in row
        )
        lines += f'<tr><th scope="row" class="nx-number">{number}</th>{cells}</tr>\n'
    others = result.scores[result.special]
    note = ""
    if len(others):
        shown = ", ".join(markup.signed(float(score), largest) for score in others)
        note = f'<p class="nx-quiet">Before the patches (CLS and its like): {shown}</p>\n'
    return (
        "<details><summary>All scores, as the patches lie</summary>\n"
        '<div class="nx-scroll" tabindex="0" role="region" aria-label="All scores">'
        f'<table class="nx-grid"><thead><tr><th scope="col">Row</th>{head}</tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n{note}</details>\n"
    )


def _numbers(result: ImageAttribution) -> str:
    """Scores by position, where these have no grid."""
    part = result.select(layer=result.layers[-1]).only()
    largest = phrases.scale(part.scores)
    lines = "".join(
        f'<tr><th scope="row">{number}</th>'
        f'<td class="nx-number">{markup.signed(score, largest)}</td></tr>\n'
        for number, score in enumerate(part.scores.tolist(), 1)
    )
    return (
        "<details><summary>All scores, by position</summary>\n"
        '<div class="nx-scroll"><table><thead><tr><th scope="col">Position</th>'
        '<th scope="col" class="nx-number">Score</th></tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div></details>\n"
    )
