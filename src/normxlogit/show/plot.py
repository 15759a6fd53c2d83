"""Attributions as matplotlib figures."""

from typing import TYPE_CHECKING

from normxlogit.errors import MissingExtraError
from normxlogit.results.base import Floats, Result
from normxlogit.results.text import Attribution
from normxlogit.show import dispatch, phrases

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FOR, _AGAINST = "#1a66cc", "#d9660a"


def figure(result: Result, *, special: bool = False) -> "Figure":
    """A result of any kind as a figure that belongs to no window.

    Notebooks show it, `savefig` writes it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return dispatch.figure(result, special)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            'plots need matplotlib. Install it with: pip install "normxlogit[plot]"'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def bars(attribution: Attribution, *, special: bool = False) -> "Figure":
    """The signed bars of the paper's figure in text order, a panel for each target.

    With several layers a heat map of words by layers takes the place of the bars.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = phrases.shown(attribution, special)
    by_layer = len(attribution.layers) > 1
    panels = len(attribution.targets)
    width = max(5.0, 2.0 + 0.6 * len(attribution.layers)) if by_layer else 5.0
    height = 1.2 + 0.28 * max(len(rows), 3)
    drawn = new_figure(width * panels, height)
    axes = drawn.subplots(1, panels, squeeze=False)[0]
    for number, panel in enumerate(axes):
        part = attribution.at(number)
        (_draw_layers if by_layer else _draw_bars)(panel, part, rows)
        panel.set_title(phrases.explained(part), parse_math=False)
        names = [phrases.one_line(attribution.tokens[i]) for i in rows]
        panel.set_yticks(range(len(rows)), names, parse_math=False)
    return drawn


def _draw_bars(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    part = attribution.only()
    scores = part.scores[rows]
    colors = [_FOR if score > 0 else _AGAINST for score in scores]
    drawn = axes.barh(range(len(rows)), scores, color=colors)
    largest = phrases.scale(scores)
    axes.bar_label(drawn, [phrases.number(score, largest) for score in scores.tolist()], padding=3)
    axes.axvline(0, color="#57606a", linewidth=0.8)
    axes.margins(x=0.18)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(_axis(part), parse_math=False)


def _draw_layers(axes: "Axes", attribution: Attribution, rows: list[int]) -> None:
    draw_heat(axes, attribution.scores[:, rows].T, phrases.color_scale(attribution))
    axes.set_xticks(range(len(attribution.layers)), [str(layer) for layer in attribution.layers])
    axes.set_xlabel(f"layer\n{_axis(attribution)}", parse_math=False)


def draw_heat(axes: "Axes", scores: Floats, full: float) -> None:
    """Scores [rows, columns] as colours, the full ones for `full`; nothing for nan."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("against-for", [_AGAINST, "#ffffff", _FOR])
    image = axes.imshow(scores, cmap=colors, vmin=-full, vmax=full, aspect="auto")
    axes.figure.colorbar(image, ax=axes)


def _axis(attribution: Attribution) -> str:
    return signs(phrases.meaning(attribution))


def signs(meaning: phrases.Meaning) -> str:
    """What the signs say, on one line."""
    sides = (("+", meaning.positive), ("−", meaning.negative))
    return ", ".join(f"{sign} {says}" for sign, says in sides if says is not None)
