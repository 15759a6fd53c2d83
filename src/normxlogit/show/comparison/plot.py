"""Comparisons of methods as matplotlib figures."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.comparison import Comparison
from normxlogit.show import phrases
from normxlogit.show.comparison import table
from normxlogit.show.comparison.message import message
from normxlogit.show.plot import draw_heat, new_figure, signs
from normxlogit.show.sentence import as_text

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
        rows = table.table(part, len(names))
        tints = np.array([[cell.tint for cell in row.cells] for row in rows], np.float32)
        has_sides = np.array([kind is table.Kind.SIDES for kind in table.kinds(part)])
        draw_heat(axes, np.where(has_sides, tints, np.nan), 1.0)
        # Grey, for blue says "supports"; half of it at most, so that numbers stay readable.
        grey = np.where(has_sides, np.nan, tints)
        axes.imshow(grey, cmap="Greys", vmin=0, vmax=2, aspect="auto")
        for row, of_word in enumerate(rows):
            for column, cell in enumerate(of_word.cells):
                is_dark = cell.has_sides and abs(cell.tint or 0) > 0.6
                color = "#ffffff" if is_dark else "#1b1f24"
                axes.text(column, row, cell.number, ha="center", va="center", color=color, size=8)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        methods = [
            f"{phrases.one_line(name)}\n{kind.value}".rstrip()
            for name, kind in zip(part.methods, table.kinds(part), strict=True)
        ]
        axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right", parse_math=False)
        lines = textwrap.wrap(as_text(message(part)), width=max(40, int(9 * width)))
        axes.set_title("\n".join(lines), parse_math=False, loc="left", fontsize="medium")
        notes = [signs(table.meaning(part)), "shares of each method's own largest score by size"]
        axes.set_xlabel("\n".join(filter(None, notes)), parse_math=False)
    return drawing
