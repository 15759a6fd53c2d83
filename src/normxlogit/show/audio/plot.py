"""Attributions of audio as matplotlib figures."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.audio import AudioAttribution
from normxlogit.show.audio.steps import edges_of_steps
from normxlogit.show.colors import AGAINST, FOR, QUIET
from normxlogit.show.plot import new_figure
from normxlogit.show.sentence import as_text, head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(result: AudioAttribution) -> "Figure":
    """Draw the sound, and for each target and layer its scores over time.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    parts = list(result.single())
    drawing = new_figure(7.0, 1.4 + 1.8 * len(parts))
    heights = [1.0] + [2.0] * len(parts)
    wave, *panels = drawing.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    times = np.linspace(0, result.duration, len(result.envelope))
    wave.fill_between(times, -result.envelope, result.envelope, color=QUIET, linewidth=0)
    wave.set_axis_off()
    wave.set_xlim(0, result.duration)
    for panel, part in zip(panels, parts, strict=True):
        _draw_track(panel, part)
        title = as_text(head(part))
        if len(result.layers) > 1:
            title += f", layer {part.layers[0]}"
        panel.set_title(title, parse_math=False, fontsize="medium")
    panels[-1].set_xlabel("position" if result.seconds is None else "seconds")
    return drawing


def _draw_track(axes: "Axes", part: AudioAttribution) -> None:
    edges, track = edges_of_steps(part), part.track()
    colors = [FOR if score > 0 else AGAINST for score in track]
    widths = edges[:, 1] - edges[:, 0]
    axes.bar(edges[:, 0], track, widths, align="edge", color=colors)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if part.seconds is not None:
        axes.set_xlim(0, part.duration)
