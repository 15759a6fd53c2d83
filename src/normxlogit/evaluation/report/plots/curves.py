"""Faithfulness curves: a metric over the share of hidden words."""

from typing import TYPE_CHECKING

from normxlogit.evaluation.report.plots.label_placement import spread_labels
from normxlogit.evaluation.report.plots.style import (
    SIZE,
    Figure,
    families,
    family_key,
    method_looks,
    panel,
    rows_of,
    saved,
    text_width,
)
from normxlogit.evaluation.report.view import EvaluationView, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _LEFT, _TOP, _LINE = 2.3, 0.72, 0.3, 0.17


def draw_curve(view: EvaluationView, metric: str, names: list[str]) -> Figure | None:
    """Draw a metric with a line for each method; None if no method has values by share."""
    lines = {
        name: estimate["by_ratio"]
        for name in names
        if (estimate := view.estimate(name, metric)) is not None and estimate["by_ratio"]
    }
    if not lines:
        return None
    looks = method_looks(view, list(names))
    key = families(view, list(lines))
    right = 0.47 + max(text_width(looks[name].label, strong=looks[name].strong) for name in lines)
    bottom = 0.62 + 0.16 * rows_of(key, _LEFT + _WIDTH + right - 0.1)
    height = max(2.6, _LINE * len(lines))
    drawing, axes = panel(_WIDTH, height, _LEFT, right, bottom, _TOP)
    shares = [100 * ratio for ratio in view.settings["ratios"]]
    for name in reversed(lines):
        look = looks[name]
        (line,) = axes.plot(
            shares,
            lines[name],
            color=look.color,
            linewidth=look.width,
            marker=look.marker,
            markerfacecolor=look.fill,
            markersize=3.5,
            zorder=3 if look.strong else 2,
        )
        if look.dashes:
            line.set_dashes(look.dashes)
    axes.grid(visible=True)
    axes.set_xlabel(_share(view, metric))
    axes.set_ylabel(title(metric))
    better = "higher" if view.metrics[metric]["higher_is_better"] else "lower"
    axes.set_title(f"{title(metric)}: {better} is better", loc="left")
    _label(axes, {looks[name].label: values[-1] for name, values in lines.items()}, height)
    for name, text in zip(lines, axes.texts, strict=True):
        look = looks[name]
        text.set_fontweight("bold" if look.strong else "normal")
        x, y = text.get_position()
        last = _fraction(axes, lines[name][-1])
        leader = [(_end(axes, shares[-1]), last), (x - 0.04, y)]  # from the line to its label
        axes.plot(
            *zip(*leader, strict=True),
            color=look.color,
            linewidth=0.7,
            marker=look.marker,
            markerfacecolor=look.fill,
            markersize=4.5,
            markevery=[1],
            transform=axes.transAxes,
            clip_on=False,
        )
    family_key(drawing, key, 0.1)
    return saved(drawing, metric, _caption(view, metric))


def _label(axes: "Axes", ends: dict[str, float], height: float) -> None:
    """Put names to the right of the ends of lines."""
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    places = [_fraction(axes, value) for value in ends.values()]
    line = _LINE / height
    for label, place in zip(ends, spread_labels(places, line, 0.0, 1 - line / 2), strict=True):
        axes.text(
            1 + 0.3 / _WIDTH, place, label, transform=axes.transAxes, va="center", fontsize=SIZE
        )


def _fraction(axes: "Axes", value: float) -> float:
    low, high = axes.get_ylim()
    return (value - low) / (high - low)


def _end(axes: "Axes", share: float) -> float:
    low, high = axes.get_xlim()
    return (share - low) / (high - low)


def _share(view: EvaluationView, metric: str) -> str:
    action = "kept" if metric.startswith("sufficiency") else "hidden"
    return f"{view.units} {action}, the highest-ranked first (%)"


def _caption(view: EvaluationView, metric: str) -> str:
    return f"{title(metric)}: {view.metrics[metric]['about'].rstrip('.')}."
