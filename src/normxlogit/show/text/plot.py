"""Attributions of texts as matplotlib figures."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show import outputs, phrases
from normxlogit.show.colors import AGAINST, FOR, QUIET
from normxlogit.show.meaning import score_meaning
from normxlogit.show.plot import draw_heat, new_figure, signs
from normxlogit.show.scales import scale, strongest
from normxlogit.show.text.pieces import color_scale, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(attribution: Attribution, *, special: bool = False, top: int | None = None) -> "Figure":
    """Draw the signed bars of the paper's figure in text order, a panel for each target.

    With several layers a heat map of words by layers takes the place of the bars. With `top` the
    strongest so many tokens are drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = listed(attribution, special)
    if top is not None:
        rows = strongest(np.nan_to_num(attribution.scores), rows, top)
    by_layer = len(attribution.layers) > 1
    panels = len(attribution.targets)
    width = max(5.0, 2.0 + 0.6 * len(attribution.layers)) if by_layer else 5.0
    height = 1.2 + 0.28 * max(len(rows), 3)
    drawing = new_figure(width * panels, height)
    axes = drawing.subplots(1, panels, squeeze=False)[0]
    for number, panel in enumerate(axes):
        part = attribution.at(number)
        (_draw_layers if by_layer else _draw_bars)(panel, part, rows)
        panel.set_title(outputs.explained(part), parse_math=False)
        names = [phrases.one_line(attribution.tokens[i]) for i in rows]
        panel.set_yticks(range(len(rows)), names, parse_math=False)
    return drawing


def _draw_bars(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    part = attribution.only()
    scores = part.scores[rows]
    colors = [FOR if score > 0 else AGAINST for score in scores]
    bars = axes.barh(range(len(rows)), scores, color=colors)
    largest = scale(scores)
    axes.bar_label(bars, [phrases.number(score, largest) for score in scores.tolist()], padding=3)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.margins(x=0.18)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(signs(score_meaning(part)), parse_math=False)


def _draw_layers(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    draw_heat(axes, attribution.scores[:, rows].T, color_scale(attribution))
    axes.set_xticks(range(len(attribution.layers)), [str(layer) for layer in attribution.layers])
    axes.set_xlabel(f"layer\n{signs(score_meaning(attribution))}", parse_math=False)
