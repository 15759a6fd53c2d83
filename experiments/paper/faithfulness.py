"""The tables of docs/results.md: the paper's figures of experiment 1, and those of the stand-ins.

    python -m experiments.paper.faithfulness --results FOLDER

FOLDER holds what `normxlogit evaluate` wrote for each of configs/standin-*.yaml, in folders named
as these: sst2-paper, sst2-corrected, and so on; and for those of preset corrected with other
methods in sst2-late, and so on. Those that are missing are left out.
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

from normxlogit.evaluation.metrics.bootstrap import Bootstrap

OURS = "normxlogit"
TASKS = {
    "sst2": ("Sentiment: SST-2", "SST-2"),
    "sick": ("Entailment: SICK, in place of MultiNLI", "MultiNLI"),
    "stsb": ("Similarity: STS-B", "STS-B"),
}
PAPER = {
    "SST-2": {
        "comprehensiveness": (".245", ".311", ".364", ".423", ".331", ".339", ".367", ".574")
    },
    "MultiNLI": {
        "comprehensiveness": (".361", ".393", ".566", ".556", ".460", ".456", ".466", ".585"),
        "sufficiency": (".362", ".389", ".373", ".381", ".250", ".245", ".221", ".157"),
        "comprehensiveness_accuracy": (
            ".484",
            ".477",
            ".324",
            ".333",
            ".393",
            ".406",
            ".393",
            ".294",
        ),
        "sufficiency_accuracy": (".490", ".451", ".459", ".451", ".610", ".613", ".642", ".666"),
    },
    "STS-B": {
        "comprehensiveness_pearson": (
            ".457",
            ".321",
            ".313",
            ".281",
            ".374",
            ".358",
            ".370",
            ".336",
        ),
    },
}
"""Abbasi et al. 2025, BERT-base: of MultiNLI comprehensiveness from the paper's table, the others
from its notebook.
"""
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
        for run in ("paper", "corrected", "late"):
            folder = options.results / f"{task}-{run}"
            if (folder / "results.json").exists():
                results, costs = (
                    json.loads((folder / file).read_text("utf-8"))
                    for file in ("results.json", "cost.json")
                )
                scores = pq.read_table(folder / "scores.parquet")
                preset = f"preset `{results['settings']['preset']}`"
                own = f"{title}, {'a later method, ' if run == 'late' else ''}{preset}"
                print("\n".join(table(results, costs, scores, own, of_paper)))
                if run == "late":
                    others = pq.read_table(options.results / f"{task}-corrected/scores.parquet")
                    print("\n".join(standing(results, scores, others)))


def table(
    results: Mapping[str, Any],
    costs: Mapping[str, Any],
    scores: pa.Table,
    title: str,
    of_paper: str,
) -> Iterator[str]:
    """The lines of one evaluation's table, the paper's figure beside each that it has."""
    examples, methods = results["examples"], results["methods"]
    own = "accuracy" if "accuracy" in examples else "pearson"
    yield f"\n### {title}\n"
    yield (
        f"{examples['evaluated']} texts, {own} of the model {examples[own]:.3f}; "
        f"{results['forwards']['run']:,} variants run.\n"
    )
    heads = ["forwards"]
    for metric in results["metrics"]:
        heads.append(metric.replace("_", " ") + _arrow(results, metric))
        if metric in PAPER[of_paper]:
            heads.append(f"paper, BERT on {of_paper}")
    heads += [f"{name}: NormXLogit less it" for name in ("comprehensiveness", "sufficiency")]
    yield f"| method | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    bootstrap = Bootstrap(examples["evaluated"], results["settings"]["seed"])
    ours = text_means(scores, OURS)
    for name in sorted(methods, key=lambda n: -figure(methods[n], "comprehensiveness")["value"]):
        cells = [f"{costs['methods'][name]['forwards']:.1f}" if name in costs["methods"] else "0"]
        for metric in results["metrics"]:
            cells.append(cell(figure(methods[name], metric)))
            if metric in PAPER[of_paper]:
                said = dict(zip(NAMES, PAPER[of_paper][metric], strict=True))
                cells.append(said.get(name, ""))
        for our, its in zip(ours, text_means(scores, name), strict=True):
            gap = bootstrap.mean(our - its)
            low, high = gap.interval
            cells.append("" if name == OURS else f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})")
        yield f"| `{name}` | {' | '.join(cells)} |"
    for name, reason in results["failed"].items():
        yield f"\n`{name}` was left out: {reason}"


def standing(results: Mapping[str, Any], scores: pa.Table, others: pa.Table) -> Iterator[str]:
    """Which methods of another run on the same texts are ahead of each that this one alone has."""
    bootstrap = Bootstrap(results["examples"]["evaluated"], results["settings"]["seed"])
    known = {name: text_means(others, name) for name in pc.unique(others["method"]).to_pylist()}
    yield ""
    for name in [name for name in results["methods"] if name not in known]:
        for number, metric in enumerate(("comprehensiveness", "sufficiency")):
            own, better = text_means(scores, name)[number], 1 if number == 0 else -1
            gaps = {
                other: bootstrap.mean(better * (its[number] - own)) for other, its in known.items()
            }
            ahead = [
                f"`{other}` by {gap.value:.3f}"
                for other, gap in sorted(gaps.items(), key=lambda one: -one[1].value)
                if gap.differs_from_zero and gap.value > 0
            ]
            alike = [f"`{other}`" for other, gap in gaps.items() if not gap.differs_from_zero]
            yield (
                f"- `{name}`, {metric}: ahead of it are {', '.join(ahead) or 'none'}; not told "
                f"apart from it {', '.join(alike) or 'none'}; behind it the other "
                f"{len(gaps) - len(ahead) - len(alike)}."
            )


def figure(method: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    of_metric: Mapping[str, Any] = method["figures"][metric]
    return of_metric


def text_means(scores: pa.Table, name: str) -> list[NDArray[np.float64]]:
    """Comprehensiveness and sufficiency of each text, over draws and shares, [examples]."""
    own = scores.filter(pc.equal(scores["method"], name)).to_pandas()
    return [
        own.assign(mean=own[column].map(np.mean)).groupby("row")["mean"].mean().to_numpy()
        for column in ("comprehensiveness", "sufficiency")
    ]


def _arrow(results: Mapping[str, Any], metric: str) -> str:
    return " ↑" if results["metrics"][metric]["higher_is_better"] else " ↓"


def cell(figure: Mapping[str, Any]) -> str:
    """The value and its interval; in bold what is not told apart from the best."""
    beside = figure["beside_best"]
    value = f"{figure['value']:.3f}"
    if beside is None or not beside["differs"]:
        value = f"**{value}**"
    return f"{value} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
