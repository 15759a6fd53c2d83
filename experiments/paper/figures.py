"""The figures of docs/results.md and docs/blimp.md, of the kind that the paper draws.

    python -m experiments.paper.figures --results FOLDER --blimp FILE [...] --output docs/figures

FOLDER is that of experiments.paper.faithfulness, and each FILE what experiments.paper.blimp wrote.
Written are one SVG for each task, and blimp-NAME.svg for each FILE, NAME.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from experiments.paper.faithfulness import TASKS
from normxlogit.evaluate.report.style import SETTINGS, saved
from normxlogit.files import write_whole
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PRESETS = ("paper", "corrected")
LOOKS = {
    "decompx": ("DecompX", "#5b6770", "X"),
    "normxlogit": ("NormXLogit", "#d3222a", "o"),
    "integrated_gradients": ("integrated gradients", "#b8609a", "v"),
    "gradient_x_input": ("gradient x input", "#e69f00", "*"),
    "gradient_norm": ("gradient norm", "#2a78d6", "D"),
    "random": ("random order", "#009e73", "s"),
    "logat": ("LogAt of the good word", "#e69f00", "*"),
    "logat_foil": ("LogAt of the bad word", "#8a5a2b", "P"),
    "norm": ("norm", "#5b6770", "X"),
    "alti": ("ALTI", "#2a78d6", "D"),
    "value_zeroing": ("value zeroing", "#b8609a", "v"),
    "globenc": ("GlobEnc", "#6a51a3", "^"),
}
"""Label, colour and marker."""
METHODS = (
    "decompx",
    "normxlogit",
    "integrated_gradients",
    "gradient_x_input",
    "gradient_norm",
    "random",
)
READINGS = (
    "normxlogit",
    "logat",
    "logat_foil",
    "norm",
    "value_zeroing",
    "alti",
    "globenc",
    "random",
)


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
                _write(options.output, task, faithfulness(title, results))
        for file in options.blimp:
            found = json.loads(file.read_text("utf-8"))
            _write(options.output, f"blimp-{file.stem}", evidence(file.stem, found["text"]))


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
                name: found["methods"][name]["figures"][metric]["by_ratio"] for name in METHODS
            }
            _draw(axes, shares, lines)
            axes.set_title(f"{metric.split('_')[0]}, preset {preset}", loc="left")
            if column == 0:
                axes.set_ylabel(label)
        panels[-1, column].set_xlabel("K%")
    _finish(drawing, panels[0, 0], title)
    return drawing


def evidence(name: str, found: Mapping[str, Any]) -> "Drawing":
    """Dot product and average precision over layers."""
    names = [name for name in READINGS if name in found["dot_product"]]
    drawing = new_figure(8.4, 3.6)
    panels = drawing.subplots(1, 2)
    for axes, metric in zip(panels, ("dot_product", "average_precision"), strict=True):
        lines = {name: found[metric][name]["mean"] for name in names}
        layers = range(1, 1 + len(lines[names[0]]))
        _draw(axes, layers, lines)
        axes.set_title(metric.replace("_", " "), loc="left")
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(drawing, panels[0], f"Evidence on BLiMP, {name}: {found['cases']} cases")
    return drawing


def _draw(axes: "Axes", over: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    for name, values in lines.items():
        label, color, marker = LOOKS[name]
        is_ours = name == "normxlogit"
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


def _finish(drawing: "Drawing", axes: "Axes", title: str) -> None:
    drawing.suptitle(title, x=0.01, ha="left", fontweight="bold")
    drawing.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=round(drawing.get_figwidth() / 2.1),
        frameon=False,
    )


def _write(folder: Path, name: str, drawing: "Drawing") -> None:
    write_whole(folder / f"{name}.svg", saved(drawing, name, "").svg)


if __name__ == "__main__":
    main()
