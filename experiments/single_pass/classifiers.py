"""Variants held against NormXLogit on a classifier or a regression.

    python -m experiments.single_pass.classifiers --model FOLDER --data FILE --output FOLDER \
        [--limit 300] [--longest 40] [--shares 9] [--operator mask] [--beside normxlogit] \
        [--variants NAME ...]

FILE has columns text, label and, of pairs, pair (as experiments.paper.standins writes them), or is
a .tsv of SST-2. Every variant is registered as a method and evaluated by `Explainer.evaluate`,
with whole words; FOLDER/table.md has the figures of each and how far they are from those of
NormXLogit, or of the method that `--beside` names, paired over texts.
"""

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

import normxlogit as nxl
from experiments.single_pass.settings import VARIANTS
from experiments.single_pass.variants import of_model
from normxlogit.data.files import write_whole
from normxlogit.evaluation.metrics.bootstrap import Bootstrap

OURS, DRAWS = "normxlogit", 3


def read(path: Path, longest: int) -> list[dict[str, str]]:
    """Read the rows of a file whose text has at most `longest` words."""
    if path.suffix == ".tsv":
        lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        rows = [{"text": text, "label": label} for text, label in lines]
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    return [
        row for row in rows if len((row["text"] + " " + row.get("pair", "")).split()) <= longest
    ]


def table(evaluation: Any, costs: Mapping[str, str], beside: str) -> str:
    """Return Markdown with each method's figures, and how far they are from those of `beside`."""
    means = {}
    for name in evaluation.results["methods"]:
        scores = evaluation.scores
        rows = scores.filter(pc.equal(scores["method"], name)).to_pandas()
        means[name] = [
            rows.assign(mean=rows[column].map(np.mean)).groupby("row")["mean"].mean().to_numpy()
            for column in ("comprehensiveness", "sufficiency")
        ]
    bootstrap = Bootstrap(len(means[beside][0]), 0)
    whose = "NormXLogit's" if beside == OURS else f"`{beside}`'s"
    lines = [
        f"{len(means[beside][0])} texts, {evaluation.results['forwards']['run']:,} variants run.",
        "",
        f"| method | cost | comprehensiveness ↑ | less {whose} | sufficiency ↓ | less {whose} |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(means, key=lambda name: -means[name][0].mean()):
        cells = []
        for theirs, ours in zip(means[name], means[beside], strict=True):
            gap = bootstrap.mean(theirs - ours)
            low, high = gap.interval
            cells += [
                f"{theirs.mean():.3f}",
                "" if name == beside else f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})",
            ]
        lines.append(f"| {name} | {costs.get(name, '1')} | {' | '.join(cells)} |")
    lines += [f"\n{name} was left out: {why}" for name, why in evaluation.results["failed"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=300, help="how many texts")
    parser.add_argument("--longest", type=int, default=40, help="words of a text")
    parser.add_argument("--shares", type=int, default=9, help="how many shares are hidden, 5 or 9")
    parser.add_argument("--operator", default="mask", help="how words are hidden")
    parser.add_argument("--beside", default=OURS, help="the method that others are held against")
    parser.add_argument("--variants", nargs="*", help="names; all if not given")
    options = parser.parse_args()
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(options.model, dtype="float32")
    of_model(explainer.model)
    chosen = [
        variant for variant in VARIANTS if not options.variants or variant[0] in options.variants
    ]
    rows = read(options.data, options.longest)[: options.limit]
    evaluation = explainer.evaluate(
        rows,
        options.output / "evaluation",
        pair="pair" if "pair" in rows[0] else None,
        label="label",
        methods=[OURS, *(settings for _, _, settings in chosen), "random"],
        operator=options.operator,
        draws=DRAWS,
        ratios=[k / 10 for k in range(1, 10, 1 if options.shares == 9 else 2)],
    )
    markdown = table(evaluation, {name: cost for name, cost, _ in chosen}, options.beside)
    write_whole(options.output / "table.md", markdown)
    print(markdown)


if __name__ == "__main__":
    main()
