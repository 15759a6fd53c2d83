"""`python -m tools.coverage`: which models the package explains, held against an oracle."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.helpers.zoo import MAPPINGS
from tools.coverage.compare import Row, compare
from tools.coverage.report import page, summary

DEFAULT_OUTPUT = Path("docs/coverage.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write. Returns 1 if any model type is wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.coverage", description=__doc__)
    parser.add_argument(
        "--mapping", help=f"of {', '.join(MAPPINGS)}, separated by commas (default: all)"
    )
    parser.add_argument("--only", help="model types, separated by commas (default: all)")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file for the report (default: {DEFAULT_OUTPUT} if all are compared, else none)",
    )
    options = parser.parse_args(arguments)
    mappings = options.mapping.split(",") if options.mapping else list(MAPPINGS)
    if unknown := set(mappings) - set(MAPPINGS):
        parser.error(f"no mapping {', '.join(sorted(unknown))}")
    wanted = set(options.only.split(",")) if options.only else None
    if wanted and (unknown := wanted.difference(*(MAPPINGS[name].classes for name in mappings))):
        parser.error(f"no model type {', '.join(sorted(unknown))}")
    restricted = options.mapping or options.only
    output = options.output or (None if restricted else DEFAULT_OUTPUT)

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)

    tables: dict[str, list[Row]] = {}
    for name in mappings:
        model_types = [m for m in MAPPINGS[name].classes if wanted is None or m in wanted]
        rows = tables[MAPPINGS[name].title] = []
        for model_type in model_types:
            rows.append(compare(name, model_type))
            print(
                f"{name:24}{model_type:30}{rows[-1].result.label:20}{rows[-1].detail}", flush=True
            )
    for title, rows in tables.items():
        print(f"{title:24}{summary(rows)}")
    all_rows = [row for rows in tables.values() for row in rows]
    print(f"{'All':24}{summary(all_rows)}")
    if output:
        given = ("mapping", options.mapping), ("only", options.only)
        choice = "".join(f" --{name} {value}" for name, value in given if value)
        filled = {title: rows for title, rows in tables.items() if rows}
        _write(output, page(filled, f"python -m tools.coverage{choice}"))
    return int(any(row.result.wrong for row in all_rows))


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
