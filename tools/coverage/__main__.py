"""`python -m tools.coverage`: which model types the package explains, held against the oracle."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from tools.coverage import zoo
from tools.coverage.compare import MEANINGS, PADDINGS, TOLERANCE, Result, Row, compare

DEFAULT_OUTPUT = Path("docs/coverage.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write. Returns 1 if any model type is wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.coverage", description=__doc__)
    parser.add_argument("--only", help="model types, separated by commas (default: all)")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file for the report (default: {DEFAULT_OUTPUT}; with --only: none)",
    )
    options = parser.parse_args(arguments)
    model_types = options.only.split(",") if options.only else list(zoo.SEQUENCE_CLASSIFIERS)
    if unknown := set(model_types) - set(zoo.SEQUENCE_CLASSIFIERS):
        parser.error(f"no sequence classifier of type {', '.join(sorted(unknown))}")
    output = options.output or (None if options.only else DEFAULT_OUTPUT)

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)

    rows = []
    for model_type in model_types:
        rows.append(compare(model_type))
        print(f"{model_type:24}{rows[-1].result.label:16}{rows[-1].detail}", flush=True)
    print(_summary(rows))
    if output:
        command = f"python -m tools.coverage{f' --only {options.only}' if options.only else ''}"
        _write(output, report({"Sequence classification": rows}, command))
    return int(any(row.result.wrong for row in rows))


def report(tasks: dict[str, list[Row]], command: str) -> str:
    """Markdown: what was compared and how, then a summary and a table for every task."""
    results = sorted({row.result for rows in tasks.values() for row in rows})
    return "\n".join(
        [
            "# Which models can be explained",
            "",
            f"Written by `{command}` with transformers {version('transformers')}, "
            f"torch {version('torch')} and Python {platform.python_version()}.",
            "",
            "Every model type of transformers' auto mappings, built from a tiny random config, is "
            "explained by `normxlogit.attribute` and by an oracle that shares no code with it: "
            "`tools/coverage/oracle.py` overwrites the final hidden states inside the model's own "
            f"forward pass. Compared over {len(PADDINGS)} batches (no padding, right, left) are "
            "the scores, both their factors, and the prediction. The difference is the largest of "
            f"these, relative to the largest value expected; up to {TOLERANCE:.0e} is equal.",
            "",
            *(f"- **{result.label}**: {MEANINGS[result]}" for result in results),
            *(line for task, rows in tasks.items() for line in _section(task, rows)),
            "",
        ]
    )


def _section(task: str, rows: list[Row]) -> list[str]:
    return [
        "",
        f"## {task}",
        "",
        _summary(rows),
        "",
        "| model type | class | result | difference, or why |",
        "|---|---|---|---|",
        *(
            f"| {row.model_type} | {row.class_name} | {row.result.label} | {_cell(row.detail)} |"
            for row in rows
        ),
    ]


def _summary(rows: list[Row]) -> str:
    counts = Counter(row.result for row in rows)
    parts = ", ".join(f"{counts[result]} {result.label}" for result in Result if counts[result])
    return f"{len(rows)} model types: {parts}."


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _write(path: Path, text: str) -> None:
    """All of it or nothing: to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
