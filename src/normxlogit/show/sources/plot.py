"""Answers from documents as matplotlib figures."""

from typing import TYPE_CHECKING

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import phrases
from normxlogit.show.plot import draw_heat, new_figure, signs
from normxlogit.show.scales import scale, strongest
from normxlogit.show.sources.layout import SourcesLayout, meaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SPANS, MOST_SOURCES = 40, 60
"""How many sentences of the answer and sources a figure has at most."""


def figure(result: SourceAttribution) -> "Figure":
    """Draw a heat map of the answer's sentences by its sources, the strongest if many.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    layout = SourcesLayout(result)
    rows, columns = list(range(len(result.spans))), list(range(len(result.sources)))
    notes = []
    if len(rows) > MOST_SPANS:
        notes.append(f"the {MOST_SPANS} strongest of the answer's {len(rows)} sentences")
        rows = strongest(result.scores.T, rows, MOST_SPANS)
    if len(columns) > MOST_SOURCES:
        notes.append(f"the {MOST_SOURCES} strongest of {len(columns)} sources")
        columns = strongest(result.scores[rows], columns, MOST_SOURCES)
    part = result.scores[rows][:, columns]
    drawing = new_figure(5.0 + 0.22 * max(len(columns), 6), 2.4 + 0.22 * max(len(rows), 4))
    axes = drawing.subplots()
    draw_heat(axes, part, scale(part))
    names = [f"[{n + 1}] {phrases.shortened(layout.title(n), 24)}" for n in columns]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=8, parse_math=False)
    labels = [phrases.shortened(layout.name(layout.views[n]), 40) for n in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8, parse_math=False)
    unit = f", in {result.unit}" if result.unit else ""
    axes.set_xlabel("\n".join([f"{signs(meaning(result))}{unit}", *notes]), parse_math=False)
    return drawing
