"""An evaluation, from where it was to the end."""

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
from normxlogit.data.source import read_rows
from normxlogit.evaluation.batch_evaluator import AT_A_TIME, Work
from normxlogit.evaluation.checkpoint import Checkpoint, parquet
from normxlogit.evaluation.metrics.costs import costs_of
from normxlogit.evaluation.metrics.sanity import sanity_of
from normxlogit.evaluation.perturb.operators import find_operator
from normxlogit.evaluation.perturb.predictions import Answers
from normxlogit.evaluation.perturb.sample_reader import Reader
from normxlogit.evaluation.plan import Plan
from normxlogit.evaluation.results import results_of
from normxlogit.extras import versions
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint

RESULTS, SCORES, COST = "results.json", "scores.parquet", "cost.json"
_FURTHER = ("captum", "numpy", "scipy", "tokenizers")
"""Packages that figures depend on, beside those of which all scores do."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        results: settings, counts and the figures of each method, plain data for JSON; see
            docs/evaluate.md.
        scores: the records of each text, method and draw; see `records.SCHEMA`.
        costs: what each method costs, see `costs.costs_of`.
        folder: where all of it is written, if anywhere.
    """

    results: dict[str, Any]
    scores: pa.Table
    costs: dict[str, Any]
    folder: Path | None = None


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
    """Hold methods against a classifier; see `Explainer.evaluate`."""
    encoder = explainer.encoder()
    operator, hide = find_operator(plan.operator, encoder)
    plan = replace(plan, operator=operator)
    rows, data = _rows(source, columns, plan.limit, subset, split)
    reader = Reader(explainer.model, encoder, plan.preset, plan.long)
    answers = Answers(explainer.model, encoder, reader.problem, hide)
    work = Work(explainer, reader, answers, plan, rows)
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
        serving, failed = work.probe()
        parts = checkpoint.parts() if checkpoint else []
        done = min(len(parts) * AT_A_TIME, len(rows))
        meter = stack.enter_context(Meter(len(rows), done, 0, shown=progress))
        while done < len(rows):
            own = rows[done : done + AT_A_TIME]
            part = work.part(own, serving, partial(_show, meter, done))
            if checkpoint:
                checkpoint.save(len(parts), *part)
            parts.append(part)
            done += len(own)
        scores = pa.concat_tables([table for table, _ in parts])
        results = results_of(
            settings, reader, plan, len(rows), scores, [n for _, n in parts], failed
        )
        arguments, first = work.arguments(serving), work.explained(scores)
        if "sanity" in plan.further:
            meter.say("sanity checks")
            results["sanity"] = sanity_of(
                explainer, arguments, first, plan.preset.scores, plan.seed
            )
        meter.say("timing the methods")
        costs = costs_of(explainer, arguments, first)
        if output is not None and checkpoint is not None:
            _write(output, results, scores, costs)
            checkpoint.finish()
    return Evaluation(results, scores, costs, output)


def _show(meter: Meter, before: int, rows: float, tokens: int) -> None:
    """How far a part is that has so many rows before it."""
    meter.show(before + rows, tokens)


def _rows(
    source: Any, columns: Columns, limit: int | None, subset: str | None, split: str | None
) -> tuple[list[Row], dict[str, Any]]:
    """The rows to evaluate, and what tells the data from other data."""
    found, data = read_rows(source, columns, subset=subset, split=split, strict=True)
    rows = list(itertools.islice(found, limit))
    if data is None:
        data = {"rows": "given", "sha256": hashlib.sha256(repr(rows).encode()).hexdigest()}
    return rows, data


def _finished(folder: Path) -> Evaluation | None:
    """What an earlier run has written, if it came to its end."""
    import pyarrow.parquet as pq

    if not (folder / RESULTS).exists():
        return None
    results, costs = (json.loads((folder / file).read_text("utf-8")) for file in (RESULTS, COST))
    return Evaluation(results, pq.read_table(folder / SCORES), costs, folder)


def _write(
    folder: Path, results: Mapping[str, Any], scores: pa.Table, costs: Mapping[str, Any]
) -> None:
    """Write everything, what says that it is finished last."""
    from normxlogit.evaluation.report import write_report

    write_whole(folder / SCORES, parquet(scores))
    write_whole(folder / COST, json.dumps(costs, indent=2) + "\n")
    write_report(folder, results, scores, costs)
    write_whole(folder / RESULTS, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
