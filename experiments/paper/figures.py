"""The figures of docs/results.md and docs/blimp.md, of the kind that the paper draws.

    python -m experiments.paper.figures --results FOLDER --blimp NAME [...] --output docs/figures

FOLDER is that of experiments.paper.faithfulness, and each NAME a folder that `normxlogit evaluate
--benchmark blimp` wrote. Written are one SVG for each task, and blimp-NAME.svg for each NAME.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from experiments.paper.faithfulness import TASKS
from normxlogit.data.files import write_whole
from normxlogit.evaluation.report.plots.layers import (
    STYLES,
    LineStyle,
    draw_by_layer,
    draw_lines,
    finish,
)
from normxlogit.evaluation.report.plots.style import SETTINGS, Figure, saved
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PRESETS = ("paper", "corrected")
OF_METHODS: Mapping[str, LineStyle] = {
    "decompx": ("DecompX", "#5b6770", "X"),
    "normxlogit": STYLES["normxlogit"],
    "integrated_gradients": ("integrated gradients", "#b8609a", "v"),
    "gradient_x_input": ("gradient x input", "#e69f00", "*"),
    "gradient_norm": ("gradient norm", "#2a78d6", "D"),
    "random": STYLES["random"],
}


def main() -> None:
    """Draw and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--blimp", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with rc_context(SETTINGS):
        for task, (title, _) in TASKS.items():
            results = {
                preset: json.loads(file.read_text("utf-8"))
                for preset in PRESETS
                if (file := options.results / f"{task}-{preset}" / "results.json").exists()
            }
            if results:
                _write(options.output, saved(faithfulness(title, results), task, ""))
    for folder in options.blimp:
        found = json.loads((folder / "results.json").read_text("utf-8"))["text"]
        title = f"Evidence on BLiMP, {folder.name}: words of {found['cases']:,} cases"
        _write(options.output, draw_by_layer(f"blimp-{folder.name}", title, found))


def faithfulness(title: str, results: Mapping[str, Mapping[str, Any]]) -> "Drawing":
    """A metric over the share of units, a column for each preset.

    As in the paper: how far the confidence drops when the top units are hidden, and how often the
    model is right (or how its values correlate) when nothing but them is shown.
    """
    drawing = new_figure(4.2 * len(results), 5.8)
    panels = drawing.subplots(2, len(results), squeeze=False, sharey="row", sharex=True)
    for column, (preset, found) in enumerate(results.items()):
        measured = "accuracy" if "sufficiency_accuracy" in found["metrics"] else "pearson"
        drop = "change of the value" if measured == "pearson" else "confidence drop"
        rows = (("comprehensiveness", drop), (f"sufficiency_{measured}", measured))
        for axes, (metric, label) in zip(panels[:, column], rows, strict=True):
            shares = [100 * ratio for ratio in found["settings"]["ratios"]]
            lines = {
                name: found["methods"][name]["figures"][metric]["by_ratio"] for name in OF_METHODS
            }
            draw_lines(axes, shares, lines, OF_METHODS)
            axes.set_title(f"{metric.split('_')[0]}, preset {preset}", loc="left")
            if column == 0:
                axes.set_ylabel(label)
        panels[-1, column].set_xlabel("K%")
    finish(drawing, panels[0, 0], title)
    return drawing


def _write(folder: Path, figure: Figure) -> None:
    write_whole(folder / f"{figure.name}.svg", figure.svg)


if __name__ == "__main__":
    main()
