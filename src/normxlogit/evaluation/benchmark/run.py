"""Run a benchmark, from its data to a folder of results, or resume it."""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normxlogit.data.files import write_whole
from normxlogit.data.location import local_path
from normxlogit.data.progress import Meter
from normxlogit.evaluation.benchmark.cases import RULES, Case, halves, read_cases
from normxlogit.evaluation.benchmark.options import BENCHMARK, checked_numbers
from normxlogit.evaluation.benchmark.readings import (
    Item,
    check_model,
    group_by_words,
    make_items,
    read,
    supported_methods,
)
from normxlogit.extras import require, versions
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from normxlogit.evaluation.checkpoint import Checkpoint

SCHEMA, RESULTS, SCORES = "normxlogit/blimp/1", "results.json", "scores.parquet"
_FURTHER = ("numpy", "tokenizers")


def blimp(
    explainer: ModelExplainer,
    source: str | Path,
    output: str | Path | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    name: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Compare scores with the evidence of BLiMP: experiment 2 of Abbasi et al. 2025.

    The cases are those of the test half of each paradigm, see `halves`, whatever `seed` is. A run
    into a folder resumes one that was stopped there, and returns the results of one that finished.

    Args:
        explainer: the explainer of a masked or a causal language model.
        source: BLiMP's folder, local or in a store, or the id of the data set on the Hub, such as
            "nyu-mll/blimp"; see `read_cases`.
        output: the folder on this machine for results.json, scores.parquet, report.md and figures/.
            Without it nothing is written.
        limit: the number of cases of each paradigm; all by default.
        seed: of random scores and the bootstrap.
        name: the name of the model; the explainer's name by default.
        progress: show progress if standard error is a terminal.

    Returns:
        The content of results.json, as plain data for JSON: see docs/evaluate.md.

    Raises:
        InputError: the data cannot be read or a row is no pair; no case can be asked, or all hold
            nothing but evidence; a text is too long for the model; the folder belongs to another
            run, is in use, or cannot be written to.
        OptionError: limit or seed is out of range.
        ModelError: the model is neither a masked nor a causal language model, or its layers cannot
            be read; the tokenizer has no mask token, ends texts with a special one, or has no
            character offsets.
        MissingExtraError: the extra `evaluate` is not installed.
    """
    for module in ("pyarrow", "filelock", "scipy", "matplotlib"):
        require(module, "evaluate")
    from normxlogit.evaluation.benchmark.scores import build_results
    from normxlogit.evaluation.checkpoint import Checkpoint, parquet
    from normxlogit.evaluation.finished import check_benchmark as check_finished
    from normxlogit.evaluation.finished import read_results
    from normxlogit.evaluation.report import write_evidence

    limit, seed = checked_numbers(limit, seed)
    check_model(explainer)
    folder = None if output is None else local_path(output)
    cases, data = _cases(source, limit)
    items = make_items(cases, explainer)
    methods, failed = supported_methods(explainer, items[0])
    settings = {
        "benchmark": BENCHMARK,
        "model": model_fingerprint(explainer) | {"name": name or explainer.name},
        "data": data,
        "limit": limit,
        "seed": seed,
    }
    used = {**versions(*_FURTHER), "python": platform.python_version()}
    with ExitStack() as stack:
        checkpoint = None
        if folder is not None:
            checkpoint = stack.enter_context(Checkpoint(folder, {**settings, "versions": used}))
            if (folder / RESULTS).exists():
                finished, document = read_results(folder / RESULTS, SCHEMA)
                check_finished(document)
                checkpoint.finish()
                return finished
        scores = _scores(explainer, items, methods, seed, checkpoint, progress=progress)
        results = {
            "schema": SCHEMA,
            "settings": settings,
            "versions": used,
            "task": explainer.task.value,
            "test_cases": _by_paradigm(cases),
            "asked": _by_paradigm([item.case for item in items]),
            "failed": failed,
            **build_results(scores, seed),
        }
        if folder is not None and checkpoint is not None:
            write_whole(folder / SCORES, parquet(scores))
            write_evidence(folder, results)
            write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
            checkpoint.finish()
    return results


def _scores(
    explainer: ModelExplainer,
    items: Sequence[Item],
    methods: Sequence[str],
    seed: int,
    checkpoint: "Checkpoint | None",
    *,
    progress: bool,
) -> "pa.Table":
    """Make the records of all items, in their order, except those in a checkpoint."""
    import pyarrow as pa

    from normxlogit.evaluation.benchmark.scores import SCHEMA as RECORDS
    from normxlogit.evaluation.benchmark.scores import score_items

    groups = group_by_words(items)
    parts = [table for table, _ in checkpoint.parts(RECORDS)] if checkpoint else []
    done, tokens = sum(len(numbers) for numbers in groups[: len(parts)]), 0
    with Meter(len(items), done, tokens, shown=progress) as meter:
        for numbers in groups[len(parts) :]:
            reads = read(explainer, [items[n] for n in numbers], methods)
            part = score_items(items, numbers, reads, seed)
            if checkpoint:
                checkpoint.save(len(parts), part, {})
            parts.append(part)
            done += len(numbers)
            tokens += sum(len(readings.evidence) for readings in reads)
            meter.show(done, tokens)
    scores = pa.concat_tables(parts)
    return scores.take(np.argsort(scores["case"].to_numpy(), kind="stable"))


def _by_paradigm(cases: Sequence[Case]) -> dict[str, int]:
    counts = Counter(case.paradigm for case in cases)
    return {paradigm: counts[paradigm] for paradigm in RULES}


def _cases(source: str | Path, limit: int | None) -> tuple[list[Case], dict[str, Any]]:
    """Read the first cases of each paradigm's test half, and what identifies the data."""
    cases, data = list[Case](), dict[str, Any]()
    for paradigm in RULES:
        pairs, data[paradigm] = read_cases(source, paradigm)
        _, test = halves(pairs)
        cases += test[:limit]
    return cases, data
