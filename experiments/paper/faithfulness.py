"""The tables of docs/results.md: the paper's figures of experiment 1, and those of the stand-ins.

    python -m experiments.paper.faithfulness --results FOLDER

FOLDER holds what `normxlogit evaluate` wrote for each of configs/standin-*.yaml, in folders named
as these: sst2-paper, sst2-corrected, and so on; those that are missing are left out.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normxlogit.evaluate.statistics import Bootstrap

OURS = "normxlogit"
TASKS = {
    "sst2": ("Sentiment: SST-2", "SST-2"),
    "sick": ("Entailment: SICK, in place of MultiNLI", "MultiNLI"),
    "stsb": ("Similarity: STS-B", "STS-B"),
}
PAPER = {
    "SST-2": (".245", ".311", ".364", ".423", ".331", ".339", ".367", ".574"),
    "MultiNLI": (".361", ".393", ".566", ".556", ".460", ".456", ".466", ".585"),
    "STS-B": (".457", ".321", ".313", ".281", ".374", ".358", ".370", ".336"),
}
"""Abbasi et al. 2025, BERT-base: comprehensiveness, as confidence drop; of STS-B as correlation."""
NAMES = (
    "random",
    "norm",
    "logat",
    "normxlogit",
    "gradient_norm",
    "gradient_x_input",
    "integrated_gradients",
    "decompx",
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    for task, (title, of_paper) in TASKS.items():
        for preset in ("paper", "corrected"):
            folder = options.results / f"{task}-{preset}"
            if (folder / "results.json").exists():
                results = json.loads((folder / "results.json").read_text("utf-8"))
                scores = pq.read_table(folder / "scores.parquet")
                print("\n".join(_table(results, scores, title, preset, of_paper)))


def _table(
    results: Mapping[str, Any], scores: pa.Table, title: str, preset: str, of_paper: str
) -> Iterator[str]:
    examples, metrics = results["examples"], list(results["metrics"])
    own = "accuracy" if "accuracy" in examples else "pearson"
    yield f"\n### {title}, preset `{preset}`\n"
    yield (
        f"{examples['evaluated']} texts, {own} of the model {examples[own]:.3f}; "
        f"{results['forwards']['run']:,} variants run.\n"
    )
    published = "correlation" if own == "pearson" else "comprehensiveness"
    paper = [f"paper, BERT on {of_paper}: {published}"] if preset == "paper" else []
    heads = [name.replace("_", " ") + _arrow(results, name) for name in metrics]
    less = [f"{name}: NormXLogit less it" for name in ("comprehensiveness", "sufficiency")]
    yield f"| method | {' | '.join([*paper, *heads, *less])} |"
    yield "|---|" + "---|" * (len(paper) + len(heads) + len(less))
    bootstrap = Bootstrap(examples["evaluated"], results["settings"]["seed"])
    means = {str(name): _means(scores, name) for name in results["methods"]}
    methods = results["methods"]
    order = sorted(methods, key=lambda n: -methods[n]["figures"]["comprehensiveness"]["value"])
    for name in order:
        figures = methods[name]["figures"]
        said = dict(zip(NAMES, PAPER[of_paper], strict=True)).get(name, "")
        cells = [_cell(figures[metric]) for metric in metrics]
        for ours, its in zip(means[OURS], means[name], strict=True):
            gap = bootstrap.mean(ours - its)
            low, high = gap.interval
            cells.append("" if name == OURS else f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})")
        yield f"| `{name}` | {' | '.join([said] * len(paper) + cells)} |"
    for name, reason in results["failed"].items():
        yield f"\n`{name}` was left out: {reason}"


def _means(scores: pa.Table, name: str) -> list[NDArray[np.float64]]:
    """Comprehensiveness and sufficiency of each text, over draws and shares, [examples]."""
    own = scores.filter(pc.equal(scores["method"], name)).to_pandas()
    return [
        own.assign(mean=own[column].map(np.mean)).groupby("row")["mean"].mean().to_numpy()
        for column in ("comprehensiveness", "sufficiency")
    ]


def _arrow(results: Mapping[str, Any], metric: str) -> str:
    return " ↑" if results["metrics"][metric]["higher_is_better"] else " ↓"


def _cell(figure: Mapping[str, Any]) -> str:
    """The value and its interval; in bold what is not told apart from the best."""
    beside = figure["beside_best"]
    value = f"{figure['value']:.3f}"
    if beside is None or not beside["differs"]:
        value = f"**{value}**"
    return f"{value} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
