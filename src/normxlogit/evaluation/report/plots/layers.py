"""The figure of evidence alignment over the layers of a model, as in the paper."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from normxlogit.evaluation.report.plots.style import SETTINGS, Figure, saved
from normxlogit.evaluation.report.view import SELF
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

LineStyle = tuple[str, str, str]
"""Label, colour and marker."""

STYLES: Mapping[str, LineStyle] = {
    "normxlogit": ("NormXLogit", "#d3222a", "o"),
    "logat": ("LogAt of the good word", "#e69f00", "*"),
    "logat_foil": ("LogAt of the bad word", "#8a5a2b", "P"),
    "norm": ("norm", "#5b6770", "X"),
    "value_zeroing": ("value zeroing", "#b8609a", "v"),
    "alti": ("ALTI", "#2a78d6", "D"),
    "globenc": ("GlobEnc", "#6a51a3", "^"),
    "random": ("random order", "#009e73", "s"),
}


def draw_by_layer(name: str, title: str, results: Mapping[str, Any]) -> Figure:
    """Draw dot product and average precision over layers, for the readings in `STYLES`.

    Args:
        name: the name of the figure's files.
        title: the title of the figure.
        results: the results for a set of tokens, see `benchmark.scores.build_results`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    new_figure(1, 1)
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    with rc_context(SETTINGS):
        drawing = new_figure(8.4, 3.6)
        panels = drawing.subplots(1, 2)
        names = [name for name in STYLES if name in results["dot_product"]]
        for axes, metric in zip(panels, ("dot_product", "average_precision"), strict=True):
            lines = {name: results[metric][name]["mean"] for name in names}
            draw_lines(axes, range(1, 1 + len(lines[SELF])), lines, STYLES)
            axes.set_title(metric.replace("_", " "), loc="left")
            axes.set_xlabel("layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(drawing, panels[0], title)
        return saved(drawing, name, f"{title}: dot product and average precision over layers.")


def draw_lines(
    axes: "Axes",
    over: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    styles: Mapping[str, LineStyle],
) -> None:
    """Draw a line with markers for each name, and emphasise NormXLogit's."""
    for name, values in lines.items():
        label, color, marker = styles[name]
        is_ours = name == SELF
        axes.plot(
            over,
            values,
            label=label,
            color=color,
            marker=marker,
            markersize=6 if marker == "*" else 4.5,
            linewidth=2 if is_ours else 1.2,
            zorder=3 if is_ours else 2,
        )
    axes.grid(visible=True)


def finish(drawing: "Drawing", axes: "Axes", title: str) -> None:
    """Add the title above a figure, and the legend of its panels below."""
    drawing.suptitle(title, x=0.01, ha="left", fontweight="bold")
    drawing.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=round(drawing.get_figwidth() / 2.1),
        frameon=False,
    )
