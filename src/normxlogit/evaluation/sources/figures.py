"""How well each method names the sources of answers: the results of a benchmark.

A source is named if its score is the highest, and cited if it reaches the threshold. Figures come
with intervals over resamples of the questions, the same for all methods.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normxlogit.errors import InputError
from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.records import list_type

RECORDS = pa.schema(
    [
        ("number", pa.int32()),
        ("kind", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("right", pa.bool_()),
        ("gold", list_type(pa.int32())),
        ("logprob", pa.float64()),
        ("prior", pa.float64()),
        ("method", pa.string()),
        ("threshold", pa.float64()),
        ("scores", list_type(pa.float64())),
        ("named", pa.int32()),
        ("right_sentence", pa.bool_()),
        ("drop", pa.float64()),
        ("drop_of_others", pa.float64()),
        ("passes", pa.int32()),
        ("tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
    ]
)
"""A row for each question and method. `right` is null where no right answer is known, `gold` are
the numbers of documents from 0, `right_sentence` is null where no gold sentence is known or the
method scored none. `drop` is how far the answer's log-probability falls without the named document,
`drop_of_others` without all others. `error` says why there is no score.
"""

GROUPS = {
    "all": "all questions",
    "right": "the questions that the model answers rightly",
}
METRICS = {
    "top1": "top-1",
    "sentence": "sentence",
    "precision": "precision",
    "recall": "recall",
    "drop": "drop without it",
    "drop_of_others": "drop without the others",
    "no_source_auc": "no source, AUC",
    "silent": "nothing cited, no source",
    "missed": "nothing cited, a source",
}
"""The figures of a method, and their names in tables."""

Rows = Sequence[Mapping[str, Any]]


def build_figures(records: pa.Table, seed: int) -> dict[str, Any]:
    """Build the figures of each method, for each of `GROUPS`, as plain data for JSON.

    Args:
        records: those of all questions, see `RECORDS`.
        seed: of the bootstrap.

    Raises:
        InputError: there is no question on which all methods succeed.
    """
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for row in records.to_pylist():
        by_method.setdefault(row["method"], []).append(row)
    # A method that serves no question is left out; one that fails on some would else be compared
    # on other questions than the rest.
    left_out = {
        name: rows[0]["error"] for name, rows in by_method.items() if all(r["error"] for r in rows)
    }
    serving = {name: rows for name, rows in by_method.items() if name not in left_out}
    failed = {row["number"] for rows in serving.values() for row in rows if row["error"]}
    kept = {
        name: [row for row in rows if row["number"] not in failed] for name, rows in serving.items()
    }
    one = next(iter(kept.values()), [])
    if not one:
        why = next(row["error"] for row in records.to_pylist() if row["error"])
        raise InputError(f"no question could be asked and scored by all methods. The first: {why}")
    return {
        "failed": left_out,
        "questions": {
            "asked": len(next(iter(by_method.values()))),
            "failed": sorted(failed),
            "kinds": dict(_kinds(one)),
        },
        "groups": {
            name: _of_group({m: _in_group(rows, name) for m, rows in kept.items()}, seed)
            for name in GROUPS
        },
        "costs": {name: _costs(rows) for name, rows in kept.items()},
        "thresholds": {name: rows[0]["threshold"] for name, rows in kept.items()},
    }


def _in_group(rows: Rows, group: str) -> Rows:
    return rows if group == "all" else [row for row in rows if row["right"]]


def _of_group(by_method: Mapping[str, Rows], seed: int) -> dict[str, Any]:
    rows = next(iter(by_method.values()), [])
    count = len(rows)
    with_source = sum(bool(row["gold"]) for row in rows)
    return {
        "questions": count,
        "with_source": with_source,
        "without_source": count - with_source,
        "methods": {
            name: {
                metric: None if estimate is None else estimate.to_dict()
                for metric, estimate in _estimates(rows, Bootstrap(count, seed)).items()
            }
            for name, rows in by_method.items()
            if rows
        },
    }


def _estimates(rows: Rows, bootstrap: Bootstrap) -> dict[str, Estimate | None]:
    """Estimate each of `METRICS`; None where no question bears on one."""
    gold = [set(row["gold"]) for row in rows]
    has_source = np.array([bool(of) for of in gold])

    def mean(values: Sequence[Any], among: NDArray[np.bool_]) -> Estimate | None:
        if not among.any():
            return None
        kept = np.where(among, np.array(values, np.float64), 0)
        return bootstrap.ratio(kept, among.astype(np.float64))

    hits = [row["named"] in of for row, of in zip(rows, gold, strict=True)]
    sentences = np.array([row["right_sentence"] is not None for row in rows])
    highest = np.array([max(row["scores"]) for row in rows])
    estimates: dict[str, Estimate | None] = {
        "top1": mean(hits, has_source),
        "sentence": mean([bool(row["right_sentence"]) for row in rows], sentences),
        "precision": None,
        "recall": None,
        "drop": mean([row["drop"] for row in rows], has_source),
        "drop_of_others": mean([row["drop_of_others"] for row in rows], has_source),
        "no_source_auc": None,
        "silent": None,
        "missed": None,
    }
    if has_source.any() and not has_source.all():
        estimates["no_source_auc"] = bootstrap.auc(-highest, ~has_source)
    if rows[0]["threshold"] is not None:
        cited = [
            {n for n, score in enumerate(row["scores"]) if score >= row["threshold"]}
            for row in rows
        ]
        right = np.array([len(c & of) for c, of in zip(cited, gold, strict=True)], np.float64)
        nothing = [not of for of in cited]
        estimates |= {
            "precision": bootstrap.ratio(right, np.array([len(of) for of in cited], np.float64)),
            "recall": bootstrap.ratio(right, np.array([len(of) for of in gold], np.float64)),
            "silent": mean(nothing, ~has_source),
            "missed": mean(nothing, has_source),
        }
    return estimates


def _kinds(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """How many questions of each kind there are, and how many the model answers rightly."""
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row["right"] for row in rows if row["kind"] == kind]
        known = [right for right in of_kind if right is not None]
        yield kind, {"questions": len(of_kind), "right": sum(known) if known else None}


def _costs(rows: Rows) -> dict[str, float]:
    return {
        name: round(float(np.mean([row[name] for row in rows])), 4)
        for name in ("passes", "tokens", "seconds")
    }
