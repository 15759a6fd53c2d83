"""Attributions of images as matplotlib figures."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.show.plot import color_map, new_figure
from normxlogit.show.scales import scale
from normxlogit.show.sentence import as_text, head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MOST_COLUMNS = 6
_OPACITY = 0.75
"""The opacity of the largest score; weaker ones let more of the image show through."""


def figure(result: ImageAttribution) -> "Figure":
    """Draw a panel for each target and layer: the image in grey under its scores.

    Where the patches lie is not known, the scores are drawn without the image.

    Raises:
        InputError: the grid is not known.
        MissingExtraError: matplotlib is not installed.
    """
    parts = list(result.single())
    columns = len(result.layers) if len(result.layers) > 1 else len(parts)
    columns = min(columns, _MOST_COLUMNS)
    lines = -(-len(parts) // columns)
    height, width = result.original
    tall = min(2.0, max(0.4, height / width))
    drawing = new_figure(max(4.5, 3.2 * columns), lines * (2.8 * tall + 0.7) + 0.3)
    panels = drawing.subplots(lines, columns, squeeze=False).ravel()
    full = scale(result.patches())
    for panel in panels:
        panel.set_axis_off()
    for panel, part in zip(panels, parts, strict=False):
        heat = _draw(panel, part, full)
        title = as_text(head(part))
        if len(result.layers) > 1:
            title += f"\nlayer {part.layers[0]}"
        panel.set_title(title, parse_math=False, fontsize="medium")
    drawing.colorbar(heat, ax=list(panels), shrink=0.8)
    return drawing


def _draw(axes: "Axes", part: ImageAttribution, full: float) -> "AxesImage":
    height, width = part.original
    extent, alpha = None, None
    if part.box is not None:
        left, upper, right, lower = part.box
        extent = (left, right, lower, upper)
        picture = part.picture
        if picture is not None:
            whole = (0, width, height, 0)
            axes.imshow(picture.convert("L"), cmap="gray", vmin=0, vmax=255, extent=whole)
            alpha = _alpha(part.patches() / full)
    heat = axes.imshow(
        part.patches(),
        cmap=color_map(),
        vmin=-full,
        vmax=full,
        alpha=1.0 if alpha is None else alpha,
        extent=extent,
        interpolation="nearest",
    )
    if extent is not None:  # drawing an image sets the limits to its own extent
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
    return heat


def _alpha(shares: Floats) -> Floats:
    """Return how opaque patches are: not at all where a score is 0, so that it hides nothing.

    Colours alone would turn to white there and cover the image.
    """
    alpha: Floats = (_OPACITY * np.abs(shares)).clip(0, 1)
    return alpha
