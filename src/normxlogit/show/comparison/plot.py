"""Comparisons of methods as matplotlib figures."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.comparison import Comparison
from normxlogit.show import outputs, phrases
from normxlogit.show.comparison import table
from normxlogit.show.plot import draw_heat, new_figure, signs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(comparison: Comparison) -> "Figure":
    """Draw words by methods as a heat map of shares, with a panel for each target.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    parts = [comparison.at(number) for number in range(len(comparison.targets))]
    names = [phrases.one_line(word.text) for word in comparison.words]
    width = 2.5 + 1.2 * len(comparison.methods)
    drawing = new_figure(width * len(parts), 1.6 + 0.28 * max(len(names), 3))
    for axes, part in zip(drawing.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        shares = part.shares.T  # [words, methods]
        has_sign = np.array(table.signs(part))
        draw_heat(axes, np.where(has_sign, shares, np.nan), 1.0)
        # Grey, for blue says "supports"; half of it at most, so that numbers stay readable.
        unsigned = np.where(has_sign, np.nan, shares)
        axes.imshow(unsigned, cmap="Greys", vmin=0, vmax=2, aspect="auto")
        for row, of_word in enumerate(table.table(part, len(names))):
            for column, cell in enumerate(of_word.cells):
                is_dark = cell.has_sign and abs(cell.share or 0) > 0.6
                color = "#ffffff" if is_dark else "#1b1f24"
                axes.text(column, row, cell.number, ha="center", va="center", color=color, size=8)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        methods = [phrases.one_line(name) for name in part.methods]
        axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right", parse_math=False)
        axes.set_title(outputs.explained(part.first), parse_math=False)
        axes.set_xlabel(signs(table.meaning(part)), parse_math=False)
    return drawing
