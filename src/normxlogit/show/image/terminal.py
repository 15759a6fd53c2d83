"""Attributions of images in a terminal: a map of the patches, and the strongest of them."""

from collections.abc import Iterator

import numpy as np
from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.show.image.patches import strongest_patches
from normxlogit.show.meaning import is_signed
from normxlogit.show.scales import scale
from normxlogit.show.terminal import AGAINST, DIM, FOR, MediaReport, bar_lines

_SHADES = ("  ", "░░", "▒▒", "▓▓", "██")
_LINES = ("  ", "╌╌", "──", "══", "━━")
"""Five steps of size each, and other signs for negative scores, which differ without colours."""
_MOST_LINES = 24
_NOT_DIM = Style(dim=False)


def render(result: ImageAttribution) -> RenderableType:
    """Return what rich prints of an image's attribution."""
    height, width = result.original
    return MediaReport(result, "Image", f"{width} x {height}", _draw, _note)


def _draw(result: ImageAttribution, width: int) -> Iterator[Text]:
    if result.grid is None:
        return
    yield from _map(result, width)
    yield Text()
    yield Text("  Strongest patches, counted from 1", DIM)
    patches = strongest_patches(result)
    names = [f"row {row + 1}, column {column + 1}" for (row, column), _ in patches]
    scores = np.array([score for _, score in patches], np.float32)
    yield from bar_lines(names, scores, width, [False] * len(names), signed=is_signed(result))
    yield Text()


def _note(result: ImageAttribution, width: int) -> str:
    side = _side(result, width)
    return "" if side == 1 else f"Each square above is the mean of {side} x {side} patches."


def _side(result: ImageAttribution, width: int) -> int:
    """Return how many patches share a square in each direction, so that all fit in."""
    rows, columns = result.grid or (0, 0)
    return max(1, -(-rows // _MOST_LINES), -(-columns // max(4, (width - 4) // 2)))


def _coarse(result: ImageAttribution, width: int) -> Floats:
    """Return the patches, or the means of neighbours where they are too many."""
    patches, side = result.patches(), _side(result, width)
    if side == 1:
        return patches
    rows, columns = patches.shape
    padded = np.full((-(-rows // side) * side, -(-columns // side) * side), np.nan, np.float32)
    padded[:rows, :columns] = patches
    blocks = padded.reshape(padded.shape[0] // side, side, -1, side)  # [rows, side, columns, side]
    means: Floats = np.nanmean(blocks, (1, 3))
    return means


def _map(result: ImageAttribution, width: int) -> Iterator[Text]:
    cells = _coarse(result, width)
    full = scale(cells)
    edge = "─" * (2 * cells.shape[1])
    yield Text(f" ┌{edge}┐", DIM, no_wrap=True)
    for row in cells:
        line = Text(" │", DIM, no_wrap=True, overflow="crop")
        for score in row.tolist():
            share = score / full
            signs, color = (_SHADES, FOR) if share > 0 else (_LINES, AGAINST)
            line.append(signs[min(4, round(4 * abs(share)))], color + _NOT_DIM)
        line.append("│", DIM)
        yield line
    yield Text(f" └{edge}┘", DIM, no_wrap=True)
