"""Run an evaluation, or resume it where it stopped."""

import hashlib
import itertools
import json
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from normxlogit.data.files import write_whole
from normxlogit.data.progress import Meter
from normxlogit.data.rows import Columns, Row
from normxlogit.data.run_folder import read_json
from normxlogit.data.source import read_rows
from normxlogit.evaluation import records
from normxlogit.evaluation.batch_evaluator import AT_A_TIME, BatchEvaluator
from normxlogit.evaluation.checkpoint import Checkpoint, parquet
from normxlogit.evaluation.finished import (
    check_costs,
    check_note,
    check_results,
    read_records,
    read_results,
)
from normxlogit.evaluation.metrics.costs import measure_costs
from normxlogit.evaluation.metrics.sanity import check_sanity
from normxlogit.evaluation.perturb.operators import find_operator
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.sample_reader import SampleReader
from normxlogit.evaluation.plan import Plan
from normxlogit.evaluation.results import SCHEMA, build_results
from normxlogit.extras import versions
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint

RESULTS, SCORES, COST = "results.json", "scores.parquet", "cost.json"
_FURTHER = ("captum", "numpy", "scipy", "tokenizers")
"""Packages that results depend on, beside those that every score depends on."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcome of an evaluation, which draws itself in a notebook.

    Attributes:
        results: settings, counts and the figures of each method, plain data for JSON; see
            docs/evaluate.md.
        scores: the records of each text, method and draw; see `records.SCHEMA`.
        costs: the cost of each method, see `costs.measure_costs`.
        folder: where all of it was written; None if it was not.
    """

    results: dict[str, Any]
    scores: pa.Table
    costs: dict[str, Any]
    folder: Path | None = None

    def __repr__(self) -> str:
        model = self.results["settings"]["model"]["name"]
        return f"<Evaluation of {', '.join(self.results['methods'])} on {model!r:.60}>"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows: the advice and the ranking."""
        from normxlogit.evaluation.report import without_figures

        return without_figures(self.results, self.scores, self.costs)


def evaluate(
    explainer: ModelExplainer,
    source: Any,
    columns: Columns,
    plan: Plan,
    *,
    output: Path | None,
    subset: str | None = None,
    split: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Test methods on a classifier; see `Explainer.evaluate`."""
    encoder = explainer.encoder()
    operator, hide = find_operator(plan.operator, encoder)
    plan = replace(plan, operator=operator)
    rows, data = _rows(source, columns, plan.limit, subset, split)
    reader = SampleReader(explainer.model, encoder, plan.preset, plan.long)
    cache = PredictionCache(explainer.model, encoder, reader.problem.probabilities, hide)
    evaluator = BatchEvaluator(explainer, reader, cache, plan, rows)
    settings = {
        "model": model_fingerprint(explainer),
        "data": data,
        "columns": {"text": columns.text, "pair": columns.pair, "label": columns.label},
        **plan.to_dict(),
        "versions": {**versions(*_FURTHER), "python": platform.python_version()},
    }
    with ExitStack() as stack:
        checkpoint = None
        if output is not None:
            checkpoint = stack.enter_context(Checkpoint(output, settings))
            finished = _finished(output)
            if finished is not None:
                checkpoint.finish()
                return finished
        serving, failed = evaluator.probe()
        parts = checkpoint.parts(records.SCHEMA) if checkpoint else []
        for number, (_, note) in enumerate(parts):
            check_note(note, number)
        done = min(len(parts) * AT_A_TIME, len(rows))
        meter = stack.enter_context(Meter(len(rows), done, 0, shown=progress))
        while done < len(rows):
            batch = rows[done : done + AT_A_TIME]
            part = evaluator.part(batch, serving, partial(_show, meter, done))
            if checkpoint:
                checkpoint.save(len(parts), *part)
            parts.append(part)
            done += len(batch)
        scores = pa.concat_tables([table for table, _ in parts])
        results = build_results(
            settings, reader, plan, len(rows), scores, [n for _, n in parts], failed
        )
        arguments, first = evaluator.arguments(serving), evaluator.explained(scores)
        if "sanity" in plan.further:
            meter.say("sanity checks")
            results["sanity"] = check_sanity(
                explainer, arguments, first, evaluator.unit_scores, plan.seed
            )
        meter.say("timing the methods")
        costs = measure_costs(explainer, arguments, first)
        if output is not None and checkpoint is not None:
            _write(output, results, scores, costs)
            checkpoint.finish()
    return Evaluation(results, scores, costs, output)


def _show(meter: Meter, before: int, rows: float, tokens: int) -> None:
    """Show the progress of a part with `before` rows before it."""
    meter.show(before + rows, tokens)


def _rows(
    source: Any, columns: Columns, limit: int | None, subset: str | None, split: str | None
) -> tuple[list[Row], dict[str, Any]]:
    """Read the rows to evaluate, and what identifies the data."""
    source_rows, data = read_rows(source, columns, subset=subset, split=split, strict=True)
    rows = list(itertools.islice(source_rows, limit))
    if data is None:
        data = {"rows": "given", "sha256": hashlib.sha256(repr(rows).encode()).hexdigest()}
    return rows, data


def _finished(folder: Path) -> Evaluation | None:
    """Read what an earlier run has written, if it finished.

    Raises:
        InputError: a file is missing, or is not whole.
    """
    if not (folder / RESULTS).exists():
        return None
    results, document = read_results(folder / RESULTS, SCHEMA)
    check_results(document)
    costs = read_json(folder / COST)
    check_costs(costs, folder / COST)
    return Evaluation(results, read_records(folder / SCORES, records.SCHEMA), costs, folder)


def _write(
    folder: Path, results: Mapping[str, Any], scores: pa.Table, costs: Mapping[str, Any]
) -> None:
    """Write all files; results.json, which marks the run as finished, comes last."""
    from normxlogit.evaluation.report import write_report

    write_whole(folder / SCORES, parquet(scores))
    write_whole(folder / COST, json.dumps(costs, indent=2) + "\n")
    write_report(folder, results, scores, costs)
    write_whole(folder / RESULTS, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
