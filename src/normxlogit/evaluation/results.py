"""The content of results.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from normxlogit.errors import InputError
from normxlogit.evaluation.estimates import estimate_metrics, select_metrics
from normxlogit.evaluation.method_specs import RANDOM
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.perturb.operators import describe_operator
from normxlogit.evaluation.perturb.sample_reader import SampleReader, Skipped
from normxlogit.evaluation.plan import Plan
from normxlogit.methods import METHODS
from normxlogit.model.targets import Problem

SCHEMA = "normxlogit/evaluation/1"
FEW = 30


def build_results(
    settings: Mapping[str, Any],
    reader: SampleReader,
    plan: Plan,
    read: int,
    scores: pa.Table,
    notes: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """The content of results.json."""
    gold = {int(row): value for note in notes for row, value in note["gold"].items()}
    skipped = Skipped()
    for note in notes:
        for kind, count in note["errors"].items():
            skipped.errors[kind] = skipped.errors.get(kind, 0) + count
        skipped.first = (skipped.first + note["first"])[:5]
    if len(scores) == 0:
        why = "; ".join(skipped.first)
        raise InputError(f"no row could be explained by every method: {why}.")
    is_regression = reader.problem is Problem.REGRESSION
    metrics = select_metrics(
        plan.further, plan.unit, is_regression=is_regression, labelled=bool(gold)
    )
    figures = estimate_metrics(scores, metrics, gold, plan.seed)
    measured = {
        name: metric
        for name, metric in metrics.items()
        if all(name in own for own in figures.values())
    }
    examples = _examples(scores, gold, reader, read) | {
        "errors": dict(sorted(skipped.errors.items())),
        "first_errors": skipped.first,
    }
    versions = settings["versions"]
    return {
        "schema": SCHEMA,
        "settings": {key: value for key, value in settings.items() if key != "versions"},
        "versions": versions,
        "problem": reader.problem.value,
        "labels": list(reader.labels),
        "examples": examples,
        "forwards": {
            "asked": sum(note["asked"] for note in notes),
            "run": sum(note["forwards"] for note in notes),
            "tokens": sum(note["tokens"] for note in notes),
        },
        "metrics": {
            name: {
                "about": metric.about,
                "higher_is_better": metric.higher_is_better,
                "by_ratio": metric.has_shares,
            }
            for name, metric in measured.items()
        },
        "methods": {
            spec.name: {
                "method": spec.method,
                "family": METHODS[spec.method].family,
                "cost": METHODS[spec.method].cost,
                "source": METHODS[spec.method].source,
                "draws": plan.preset.draws if spec.method == RANDOM else 1,
                "figures": figures[spec.name],
            }
            for spec in plan.method_specs
            if spec.name in figures
        },
        "failed": dict(failed),
        "notes": [
            *_notes(examples, settings["columns"]["label"], _labels(scores, gold)),
            *_effects(settings, reader),
            *(f"no text has {name} by every method." for name in metrics if name not in measured),
        ],
    }


def _examples(
    scores: pa.Table, gold: Mapping[int, float], reader: SampleReader, read: int
) -> dict[str, Any]:
    """How many rows there are, what their labels are, and how well the model does on them."""
    whole = {
        row: (prediction, value)
        for row, prediction, value in zip(
            *(scores[name].to_pylist() for name in ("row", "prediction", "confidence")), strict=True
        )
    }
    labelled = [row for row in whole if row in gold]
    found: dict[str, Any] = {"read": read, "evaluated": len(whole), "labelled": len(labelled)}
    given = np.array([gold[row] for row in labelled])
    if reader.problem is Problem.REGRESSION:
        values = np.array([[whole[row][1] for row in labelled]])
        correlation = (
            Bootstrap(len(given), 0, 0).correlation(values, given).value if labelled else None
        )
        return found | {"pearson": correlation}
    named = [reader.labels[int(label)] for label in given]
    right = [whole[row][0] == name for row, name in zip(labelled, named, strict=True)]
    return found | {
        "accuracy": sum(right) / len(right) if right else None,
        "labels": dict(sorted(Counter(named).items())),
    }


def _labels(scores: pa.Table, gold: Mapping[int, float]) -> set[float]:
    """The labels that there are among the examples."""
    return {gold[row] for row in scores["row"].to_pylist() if row in gold}


def _notes(examples: Mapping[str, Any], label: str | None, given: set[float]) -> list[str]:
    """What a reader should know of the examples."""
    found = []
    count, without = examples["evaluated"], examples["evaluated"] - examples["labelled"]
    if count < FEW:
        found.append(f"{count} examples are few: the intervals are wide, and may be wrong.")
    if label is not None and without == count:
        found.append(f"no row has a label in {label}, so nothing is held against labels.")
    elif label is not None and without:
        found.append(
            f"{without} of {count} examples have no label in {label}: what is held against labels "
            "is of the others."
        )
    labels = examples.get("labels", {})
    if len(labels) == 1:
        found.append(f"every example has the label {next(iter(labels))}.")
    if "pearson" in examples and len(given) == 1:
        found.append(
            f"every label is {given.pop():g}, with which nothing correlates: correlations with the "
            "labels are given as 0."
        )
    return found


def _effects(settings: Mapping[str, Any], reader: SampleReader) -> list[str]:
    """What a reader should know of how words were hidden, where there is no mask token."""
    if reader.has_mask:
        return []
    operator = settings["operator"]
    return [
        f"this tokenizer has no mask token, and {settings['unit']}s were hidden by {operator!r}: "
        f"{describe_operator(operator)}."
    ]
