"""Heatmaps of a metric by layer and method."""

import numpy as np

from normxlogit.evaluation.report.plots.style import (
    SIZE,
    Figure,
    panel,
    saved,
    shortened,
    text_width,
)
from normxlogit.evaluation.report.view import EvaluationView, title

_CELL = 0.52, 0.27
_WIDEST = 3.6
"""The total width in inches up to which names are written horizontally."""
_DARK_UP_TO = 0.47


def draw_heatmap(view: EvaluationView, metric: str) -> Figure | None:
    """Draw a metric, layers by methods; None if no method was evaluated at several layers."""
    groups = view.by_layer()
    if metric not in view.metrics or not groups:
        return None
    layers = sorted({layer for names in groups.values() for layer in names})
    values = np.full((len(layers), len(groups)), np.nan)
    for column, names in enumerate(groups.values()):
        for layer, name in names.items():
            if (estimate := view.estimate(name, metric)) is not None:
                values[layers.index(layer), column] = estimate["value"]
    if np.isnan(values).all():
        return None
    labels = [shortened(name) for name in groups]
    longest = max(map(text_width, labels))
    is_across = (longest + 0.15) * len(labels) <= _WIDEST
    width = max(_CELL[0], longest + 0.15 if is_across else 0) * len(labels)
    better = "higher" if view.metrics[metric]["higher_is_better"] else "lower"
    heading = f"{title(metric)}: {better} is better"
    right = max(0.15, text_width(heading, SIZE + 1) + 0.2 - 0.55 - width)
    top = 0.55 if is_across else 0.4 + longest
    drawing, axes = panel(width, _CELL[1] * len(layers), 0.55, right, 0.1, top)
    lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
    colors = "cividis" if better == "higher" else "cividis_r"
    axes.imshow(values, cmap=colors, vmin=lowest, vmax=highest, aspect="auto")
    for row, column in np.argwhere(~np.isnan(values)):
        value = float(values[row, column])
        share = (value - lowest) / (highest - lowest) if highest > lowest else 0.0
        is_dark = (share if better == "higher" else 1 - share) < _DARK_UP_TO
        axes.text(
            column,
            row,
            view.amount(metric, value),
            ha="center",
            va="center",
            color="#ffffff" if is_dark else "#000000",
            fontsize=SIZE - 1,
        )
    axes.set_xticks(range(len(labels)), labels, rotation=0 if is_across else 90)
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("layer")
    inches = drawing.get_size_inches()
    drawing.text(0.1 / inches[0], 1 - 0.07 / inches[1], heading, va="top", fontsize=SIZE + 1)
    caption = f"{title(metric)} of methods by the layer that they read; brighter is better."
    return saved(drawing, f"layers_{metric}", caption)
