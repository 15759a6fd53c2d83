"""Words scored by the sum, the mean and the largest of their tokens, on a classifier or regression.

    python -m experiments.words.classifiers --model FOLDER --data FILE --output FOLDER \
        [--read 300] [--most 100] [--methods normxlogit late_lrp occlusion:unit=token]

FILE has columns text, label and, of pairs, pair, as experiments.paper.standins writes them. Of its
first rows those are evaluated that have a word of several tokens: on all others the three are the
same. Prints a table of each method's figures by the sum, and how far the others are from them,
paired over texts.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

import normxlogit as nxl
from normxlogit.evaluation.metrics.bootstrap import Bootstrap

METHODS = ("normxlogit", "late_lrp", "occlusion:unit=token")
OTHERS = ("mean", "max")
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


def has_pieces(attribution: Any) -> bool:
    """Tell whether a text has a word of several tokens."""
    return isinstance(attribution, nxl.Attribution) and len(attribution.words()) < len(attribution)


def read(explainer: nxl.Explainer, path: Path, count: int, most: int) -> tuple[list[Any], int]:
    """Return at most so many of the first rows with a word of several tokens; how many have one."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    texts = [(row["text"], row["pair"]) if "pair" in row else row["text"] for row in rows]
    norms = explainer.explain(texts, method="norm")
    kept = [row for row, norm in zip(rows, norms, strict=True) if has_pieces(norm)]
    return kept[:most], len(kept)


def means(evaluation: Any, name: str, column: str) -> NDArray[np.float64]:
    """Return the mean of a metric over shares for each text, float64 [texts]."""
    scores = evaluation.scores
    rows = scores.filter(pc.equal(scores["method"], name)).to_pandas()
    values: NDArray[np.float64] = rows.sort_values("row")[column].map(np.mean).to_numpy()
    return values


def table(evaluation: Any, methods: list[str]) -> str:
    """Return Markdown with each method's figures by the sum, and the others' less these."""
    heads = ["method"]
    for arrow in ("comprehensiveness ↑", "sufficiency ↓"):
        heads += [f"{arrow}, sum", *(f"{other} less sum" for other in OTHERS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    bootstrap = Bootstrap(evaluation.results["examples"]["evaluated"], 0)
    for method in methods:
        cells = [f"`{method}`"]
        for column in ("comprehensiveness", "sufficiency"):
            summed = means(evaluation, method, column)
            cells.append(f"{summed.mean():.3f}")
            for other in OTHERS:
                values = means(evaluation, f"{method}:reduction={other}", column)
                gap = bootstrap.mean(values - summed)
                low, high = gap.interval
                cells.append(f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--read", type=int, default=300)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    explainer = nxl.Explainer.from_pretrained(options.model)
    rows, having = read(explainer, options.data, options.read, options.most)
    evaluation = explainer.evaluate(
        rows,
        options.output,
        text="text",
        pair="pair" if "pair" in rows[0] else None,
        label="label",
        methods=[
            name
            for method in options.methods
            for name in (method, *(f"{method}:reduction={other}" for other in OTHERS))
        ],
        ratios=RATIOS,
    )
    print(
        f"{options.data.name}: of the first {options.read} texts {having} have a word of several "
        f"tokens; {len(rows)} of them, {evaluation.results['forwards']['run']:,} variants run.\n"
    )
    print(table(evaluation, options.methods))


if __name__ == "__main__":
    main()
