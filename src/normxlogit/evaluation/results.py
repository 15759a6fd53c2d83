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
from normxlogit.methods import find_declaration
from normxlogit.model.targets import Problem
from normxlogit.results.reductions import REDUCTIONS

SCHEMA = "normxlogit/evaluation/1"
FEW = 30
"""Fewer examples get a note that they are few."""


def build_results(
    settings: Mapping[str, Any],
    reader: SampleReader,
    plan: Plan,
    read: int,
    scores: pa.Table,
    notes: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Build the content of results.json.

    Args:
        settings: the settings of the run, with "versions".
        reader: the reader of the rows.
        plan: the options of the evaluation.
        read: the number of rows read.
        scores: the records, see `records.SCHEMA`.
        notes: the note of each part, see `BatchEvaluator.part`.
        failed: the methods that do not serve the model, and why.

    Raises:
        InputError: no row was explained by every method.
    """
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
        if all(name in of_method for of_method in figures.values())
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
                "family": find_declaration(spec.method).family,
                "cost": find_declaration(spec.method).cost,
                "source": find_declaration(spec.method).source,
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
            *_reductions(plan),
            *(
                f"no text has a value of {name} for every method."
                for name in metrics
                if name not in measured
            ),
        ],
    }


def _examples(
    scores: pa.Table, gold: Mapping[int, float], reader: SampleReader, read: int
) -> dict[str, Any]:
    """Count the rows and their labels, and measure how well the model does on them."""
    whole_texts = {
        row: (prediction, value)
        for row, prediction, value in zip(
            *(scores[name].to_pylist() for name in ("row", "prediction", "confidence")), strict=True
        )
    }
    labelled = [row for row in whole_texts if row in gold]
    counts: dict[str, Any] = {
        "read": read,
        "evaluated": len(whole_texts),
        "labelled": len(labelled),
    }
    labels = np.array([gold[row] for row in labelled])
    if reader.problem is Problem.REGRESSION:
        values = np.array([[whole_texts[row][1] for row in labelled]])
        unsampled = Bootstrap(len(labels), 0, 0) if labelled else None
        correlation = unsampled.correlation(values, labels).value if unsampled else None
        return counts | {"pearson": correlation}
    names = [reader.labels[int(label)] for label in labels]
    right = [whole_texts[row][0] == name for row, name in zip(labelled, names, strict=True)]
    return counts | {
        "accuracy": sum(right) / len(right) if right else None,
        "labels": dict(sorted(Counter(names).items())),
    }


def _labels(scores: pa.Table, gold: Mapping[int, float]) -> set[float]:
    """The distinct labels of the examples."""
    return {gold[row] for row in scores["row"].to_pylist() if row in gold}


def _notes(examples: Mapping[str, Any], label: str | None, gold: set[float]) -> list[str]:
    """Warn of few examples, missing labels and constant labels."""
    notes = []
    count, without = examples["evaluated"], examples["evaluated"] - examples["labelled"]
    if count < FEW:
        notes.append(f"{count} examples are few: the intervals are wide, and may be wrong.")
    if label is not None and without == count:
        notes.append(f"no row has a label in {label}, so nothing is compared with labels.")
    elif label is not None and without:
        notes.append(
            f"{without} of {count} examples have no label in {label}: comparisons with labels are "
            "over the others."
        )
    labels = examples.get("labels", {})
    if len(labels) == 1:
        notes.append(f"every example has the label {next(iter(labels))}.")
    if "pearson" in examples and len(gold) == 1:
        (value,) = gold
        notes.append(
            f"every label is {value:g}, so correlations with the labels are undefined and given as "
            "0."
        )
    return notes


def _reductions(plan: Plan) -> list[str]:
    """Say which methods' units are not scored by the sum over their tokens."""
    return [
        f"{spec.name}: the score of a {plan.unit} is {REDUCTIONS[spec.reduction]}, not their sum."
        for spec in plan.method_specs
        if spec.reduction != "sum"
    ]


def _effects(settings: Mapping[str, Any], reader: SampleReader) -> list[str]:
    """Describe how words were hidden if there is no mask token."""
    if reader.has_mask:
        return []
    operator = settings["operator"]
    return [
        f"this tokenizer has no mask token, and {settings['unit']}s were hidden by {operator!r}: "
        f"{describe_operator(operator)}."
    ]
