"""Parts that the figures of every kind of result share."""

from typing import TYPE_CHECKING

from normxlogit.extras import require
from normxlogit.results.base import Floats
from normxlogit.show.colors import AGAINST, FOR
from normxlogit.show.meaning import Meaning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of that size in inches, which belongs to no window.

    A notebook shows it where it is the value of a cell, `savefig` writes it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib.figure", "plot", need="plots need matplotlib")
    from normxlogit.show.figure import CellFigure

    return CellFigure(figsize=(width, height), layout="constrained")


def color_map() -> "Colormap":
    """Return the colours of scores from the most negative over white to the most positive."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("against-for", [AGAINST, "#ffffff", FOR])


def draw_heat(axes: "Axes", scores: Floats, full: float) -> None:
    """Draw scores [rows, columns] as colours, the full ones for `full`; nothing for nan."""
    image = axes.imshow(scores, cmap=color_map(), vmin=-full, vmax=full, aspect="auto")
    axes.figure.colorbar(image, ax=axes)


def signs(meaning: Meaning) -> str:
    """Return what the signs say, on one line."""
    return ", ".join(f"{sign} {words}" for sign, words, _ in meaning.signs)
