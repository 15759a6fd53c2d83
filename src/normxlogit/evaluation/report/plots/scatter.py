"""The figure of faithfulness against cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from normxlogit.evaluation.report.plots.label_placement import Box, place_labels
from normxlogit.evaluation.report.plots.style import (
    SIZE,
    Figure,
    Look,
    families,
    family_key,
    method_looks,
    panel,
    rows_of,
    saved,
    text_width,
)
from normxlogit.evaluation.report.view import MAIN, EvaluationView, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 3.75, 3.9, 0.72, 0.1, 0.3
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def draw_scatter(view: EvaluationView, names: list[str]) -> Figure | None:
    """Draw comprehensiveness with its interval against cost; None if no cost was measured."""
    metric = MAIN[0]
    costs = {name: cost for name in names if (cost := view.forwards(name)) is not None}
    points = {
        name: (cost, estimate)
        for name, cost in costs.items()
        if (estimate := view.estimate(name, metric)) is not None
    }
    if not points:
        return None
    looks = method_looks(view, list(names))
    key = families(view, list(points))
    bottom = 0.62 + 0.16 * rows_of(key, _LEFT + _WIDTH + _RIGHT - 0.1)
    drawing, axes = panel(_WIDTH, _HEIGHT, _LEFT, _RIGHT, bottom, _TOP)
    for name, (cost, estimate) in points.items():
        look = looks[name]
        value = estimate["value"]
        axes.errorbar(
            [cost],
            [value],
            yerr=([value - estimate["low"]], [estimate["high"] - value]),
            fmt=look.marker,
            color=look.color,
            markerfacecolor=look.fill,
            markersize=7 if look.strong else 5,
            elinewidth=1,
        )
    axes.set_xscale("log")
    axes.set_xlim(min(costs.values()) / 3, max(costs.values()) * 3)
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.margins(y=0.08)
    axes.grid(visible=True)
    axes.set_xlabel("time to explain a text, as a multiple of classifying it")
    axes.set_ylabel(title(metric))
    axes.set_title(f"{title(metric)} against cost: best is top left", loc="left")
    _label(axes, {looks[name]: point for name, point in points.items()})
    family_key(drawing, key, 0.1)
    caption = (
        "Comprehensiveness, with its 95% interval, against the time to explain a text as a "
        f"multiple of classifying it, measured on {(view.costs or {})['examples']} examples."
    )
    return saved(drawing, "cost", caption)


def _label(axes: "Axes", points: "dict[Look, tuple[float, Mapping[str, float]]]") -> None:
    """Put names beside points; all lengths are in points from the panel's corner."""
    scale = 72 / axes.figure.dpi
    corner = axes.transAxes.transform((0, 0))

    def at(cost: float, value: float) -> tuple[float, float]:
        x, y = (axes.transData.transform((cost, value)) - corner) * scale
        return float(x), float(y)

    axes.set_ylim(axes.get_ylim())  # fix the scale before anything is measured on it
    places = [at(cost, estimate["value"]) for cost, estimate in points.values()]
    bars = [
        Box(x - 1.5, at(cost, estimate["low"])[1], x + 1.5, at(cost, estimate["high"])[1])
        for (x, _), (cost, estimate) in zip(places, points.values(), strict=True)
    ]
    markers = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    sizes = [(text_width(look.label, strong=look.strong) * 72 + 2, SIZE + 2) for look in points]
    inside = Box(2, 2, _WIDTH * 72, _HEIGHT * 72)
    boxes = place_labels(places, sizes, [*markers, *bars], inside, 6)
    for look, (x, y), box in zip(points, places, boxes, strict=True):
        axes.annotate(
            look.label,
            (box.left + 1, (box.bottom + box.top) / 2),
            xycoords="axes points",
            va="center",
            fontweight="bold" if look.strong else "normal",
        )
        near = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
        if abs(near[0] - x) + abs(near[1] - y) > 12:
            axes.annotate(
                "",
                near,
                (x, y),
                xycoords="axes points",
                textcoords="axes points",
                arrowprops={"arrowstyle": "-", "color": look.color, "linewidth": 0.6},
            )
