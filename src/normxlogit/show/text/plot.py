"""Attributions of texts as matplotlib figures."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show import phrases
from normxlogit.show.colors import AGAINST, FOR, QUIET
from normxlogit.show.meaning import is_signed, score_meaning
from normxlogit.show.plot import draw_heat, new_figure, signs
from normxlogit.show.scales import scale, strongest
from normxlogit.show.sentence import as_text
from normxlogit.show.text.message import message
from normxlogit.show.text.pieces import color_scale, listed
from normxlogit.show.text.ranking import Order, in_words, names, placed_names, ranked
from normxlogit.show.text.waterfall import Step, Waterfall, waterfall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 20
"""How many of the strongest words a panel has at most."""

WIDTH = 6.5
"""Of a panel of bars, in inches."""


def figure(
    attribution: Attribution,
    *,
    top: int | None = None,
    special: bool = False,
    order: Order = "strength",
    tokens: bool = False,
) -> "Figure":
    """Draw signed bars, a panel for each target; with a base value, the way from it.

    With several layers a heat map of words by layers takes the place of the bars. The `top`
    strongest words are drawn: `ROWS` of bars and all of a heat map if it is not given.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    shown = attribution if tokens else in_words(attribution)
    by_layer = len(shown.layers) > 1
    panels = [shown.at(number) for number in range(len(shown.targets))]
    rows = [_rows(part, top, special, order) for part in panels]
    width = max(WIDTH, 2.0 + 0.6 * len(shown.layers)) if by_layer else WIDTH
    height = 2.0 + 0.28 * max(3, *(len(chosen) for chosen in rows))
    drawing = new_figure(width * len(panels), height)
    axes = drawing.subplots(1, len(panels), squeeze=False)[0]
    for panel, part, chosen in zip(axes, panels, rows, strict=True):
        last = part.select(layer=part.layers[-1]).only()
        lines = textwrap.wrap(as_text(message(in_words(last))), width=62)
        panel.set_title("\n".join(lines), parse_math=False, loc="left", fontsize="medium")
        if by_layer:
            _draw_layers(panel, part, chosen)
        elif (fall := waterfall(last, placed_names(last), chosen)) is not None:
            _draw_fall(panel, last, fall)
        else:
            _draw_bars(panel, last, chosen)
    return drawing


def _rows(part: Attribution, top: int | None, special: bool, order: Order) -> list[int]:
    """Return the tokens to draw: the strongest, those of a heat map in text order."""
    if len(part.layers) > 1:
        rows = listed(part, special)
        return rows if top is None else strongest(np.nan_to_num(part.scores), rows, top)
    single = part.only()
    chosen = ranked(single, "strength", special=special).rows[: top or ROWS]
    return sorted(chosen) if order == "text" else chosen


def _label(axes: "Axes", labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, parse_math=False)


def _draw_bars(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    scores, tokens = attribution.scores[rows], placed_names(attribution)
    steps = [
        Step(tokens[row], 0.0, score) for row, score in zip(rows, scores.tolist(), strict=True)
    ]
    _draw_steps(axes, steps, 0.0, scale(scores), signed=is_signed(attribution))
    left_out = len(listed(attribution, special=False)) - len(rows)
    more = f"\n... and {left_out} more {attribution.unit}s" if left_out > 0 else ""
    axes.set_xlabel(signs(score_meaning(attribution).shown(scores)) + more, parse_math=False)


def _draw_fall(axes: "Axes", attribution: Attribution, fall: Waterfall) -> None:
    """Draw the way from the base value to what the scores sum up to."""
    total = Step(f"all {attribution.unit}s", fall.base, fall.total)
    _draw_steps(axes, [*fall.steps, total], fall.base, fall.largest)
    start, end = (phrases.number(value, fall.largest) for value in (fall.base, fall.total))
    axes.set_xlabel(
        f"from the base value {start} to {end}, {fall.total_name}\n"
        f"{signs(score_meaning(attribution).shown(attribution.scores))}",
        parse_math=False,
    )


def _draw_steps(
    axes: "Axes", steps: Sequence[Step], zero: float, largest: float, *, signed: bool = True
) -> None:
    """Draw a bar for each step, the first on top, and a line at `zero`."""
    changes = [step.end - step.start for step in steps]
    bars = axes.barh(
        range(len(steps)),
        changes,
        left=[step.start for step in steps],
        color=[FOR if change > 0 else AGAINST for change in changes],
    )
    numbers = [phrases.number(change, largest, signed=signed) for change in changes]
    axes.bar_label(bars, numbers, padding=3)
    axes.axvline(zero, color=QUIET, linewidth=0.8)
    axes.use_sticky_edges = False
    axes.margins(x=0.18, y=0.02)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    _label(axes, [phrases.shortened(step.name, 30) for step in steps])


def _draw_layers(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    draw_heat(axes, attribution.scores[:, rows].T, color_scale(attribution))
    axes.set_xticks(range(len(attribution.layers)), [str(layer) for layer in attribution.layers])
    meaning = score_meaning(attribution).shown(attribution.scores[:, rows])
    axes.set_xlabel(f"layer\n{signs(meaning)}", parse_math=False)
    tokens = names(attribution)
    _label(axes, [tokens[row] for row in rows])
