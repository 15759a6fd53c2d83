"""Tables of docs/results.md that hold an attribution head against other methods.

    python -m experiments.attribution_head.tables --head NAME FOLDER ...

Each FOLDER is one that `normxlogit evaluate --head` wrote. NAME is the method that the others are
compared with, such as attribution_head.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.paper.faithfulness import cell, figure, text_means
from normxlogit.evaluation.metrics.bootstrap import Bootstrap

METRICS = ("comprehensiveness", "sufficiency")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", default="attribution_head")
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    for folder in options.folders:
        results, costs = (
            json.loads((folder / file).read_text("utf-8")) for file in ("results.json", "cost.json")
        )
        scores = pq.read_table(folder / "scores.parquet")
        print(f"\n### {folder.name}\n")
        print("\n".join(table(results, costs, scores, options.head)))


def table(
    results: Mapping[str, Any], costs: Mapping[str, Any], scores: pa.Table, head: str
) -> Iterator[str]:
    """The lines of a table: each method's figures, and those of a head less them, paired."""
    examples, methods = results["examples"], results["methods"]
    bootstrap = Bootstrap(examples["evaluated"], results["settings"]["seed"])
    own = text_means(scores, head)
    yield (
        f"{examples['evaluated']} texts, words hidden by `{results['settings']['operator']}`; "
        f"{results['forwards']['run']:,} variants run.\n"
    )
    yield (
        "| method | forwards | comprehensiveness ↑ | head less it | sufficiency ↓ | head less it |"
    )
    yield "|---|---|---|---|---|---|"
    for name in sorted(methods, key=lambda n: -figure(methods[n], METRICS[0])["value"]):
        cost = f"{costs['methods'][name]['forwards']:.1f}" if name in costs["methods"] else "0"
        cells = [cost]
        for metric, mine, its in zip(METRICS, own, text_means(scores, name), strict=True):
            gap = bootstrap.mean(mine - its)
            low, high = gap.interval
            cells += [
                cell(figure(methods[name], metric)),
                "" if name == head else f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})",
            ]
        yield f"| `{name}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
