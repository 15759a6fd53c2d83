"""Evidence alignment: how well each reading points to the evidence, per case and overall.

The metrics are the dot product with the evidence (of the softmax of signed scores, of other scores'
shares of their sum) and average precision, for the two sets of tokens in `SETS`. Random scores are
the mean of 20 draws per text. Intervals are over resamples of the cases, the same for all readings;
differences are to `normxlogit` at the same layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normxlogit.errors import InputError
from normxlogit.evaluation.benchmark.readings import SETS, SIGNED, Floats, Item, Read
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.metrics.plausibility import average_precision, dot_product
from normxlogit.evaluation.records import list_type

METRICS = ("dot_product", "average_precision")
_DRAWS = 20
SCHEMA = pa.schema(
    [
        ("case", pa.int32()),
        ("paradigm", pa.string()),
        ("row", pa.int32()),
        ("text", pa.string()),
        ("good", pa.string()),
        ("bad", pa.string()),
        ("preferred", pa.bool_()),
        ("set", pa.string()),
        ("tokens", pa.int32()),
        ("reading", pa.string()),
        *((metric, list_type(pa.float64())) for metric in METRICS),
    ]
)
"""`case` is the number of the item, `row` that of the paradigm's row, both from 0; `text` is the
model's input, `preferred` whether the good word has the higher logit, `tokens` the number of tokens
in the set. Metrics have a value per layer; they are null where all tokens of the set are evidence.
"""


def measure(readings: Read, kept: NDArray[np.bool_], seed: Sequence[int]) -> dict[str, Floats]:
    """Measure each reading on some of the tokens: [metrics, layers]."""
    evidence = readings.evidence[kept]
    metrics = {
        name: np.transpose([_metrics(layer[kept], evidence, name) for layer in scores])
        for name, scores in readings.scores.items()
    }
    draws = np.random.default_rng(seed).random((_DRAWS, len(evidence)))
    chance = np.mean([_metrics(draw, evidence, "random") for draw in draws], axis=0)  # [metrics]
    return {**metrics, "random": np.broadcast_to(chance[:, None], metrics["normxlogit"].shape)}


def score_items(
    items: Sequence[Item], numbers: Sequence[int], reads: Sequence[Read], seed: int
) -> pa.Table:
    """Make the records of some items: a row per item, set of tokens and reading."""
    rows = []
    for number, readings in zip(numbers, reads, strict=True):
        item = items[number]
        for name in SETS:
            kept = readings.sets[name]
            all_evidence = readings.evidence[kept].all()
            metrics = None if all_evidence else measure(readings, kept, [seed, number])
            rows += [
                {
                    "case": number,
                    "paradigm": item.case.paradigm,
                    "row": item.case.row,
                    "text": item.text,
                    "good": item.case.good,
                    "bad": item.case.bad,
                    "preferred": readings.preferred,
                    "set": name,
                    "tokens": int(kept.sum()),
                    "reading": reading,
                    **(
                        {} if metrics is None else dict(zip(METRICS, metrics[reading], strict=True))
                    ),
                }
                for reading in (*readings.scores, "random")
            ]
    return pa.Table.from_pylist(rows, SCHEMA)


def build_results(scores: pa.Table, seed: int) -> dict[str, Any]:
    """Build the results of a model, as plain data for JSON; see docs/evaluate.md.

    Args:
        scores: the records of all items, in their order.
        seed: of the bootstrap.

    Raises:
        InputError: all tokens of every item are evidence.
    """
    by_set = {name: scores.filter(pc.equal(scores["set"], name)) for name in SETS}
    # Every item has one record for each set and reading; any pair of these names each item once.
    items = by_set["all"].filter(pc.equal(by_set["all"]["reading"], "normxlogit"))
    return {
        "accuracy": float(np.mean(items["preferred"].to_numpy())),
        **{name: _set_results(records, seed) for name, records in by_set.items()},
    }


def _set_results(scores: pa.Table, seed: int) -> dict[str, Any]:
    """Build the results for a set of tokens, by metric and reading."""
    measured = scores.filter(pc.is_valid(scores[METRICS[0]]))
    by_reading = {
        name: measured.filter(pc.equal(measured["reading"], name))
        for name in pc.unique(measured["reading"]).to_pylist()
    }
    cases = len(pc.unique(scores["case"]))
    if not by_reading:
        raise InputError(
            f"in each of {cases} cases all tokens are evidence, so no scores can be compared. Take "
            "more cases."
        )
    ours = by_reading["normxlogit"]
    bootstrap, paradigm_of = Bootstrap(len(ours), seed), ours["paradigm"].to_numpy()
    report: dict[str, Any] = {
        "cases": len(ours),
        "all_evidence": cases - len(ours),
        "tokens": float(np.mean(ours["tokens"].to_numpy())),
    }
    for metric in METRICS:
        values = {  # [layers, cases]
            name: np.stack(records[metric].to_numpy(), axis=1)
            for name, records in by_reading.items()
        }
        report[metric] = {name: _intervals(v, bootstrap) for name, v in values.items()}
        report[f"{metric}_less_normxlogit"] = {
            name: _intervals(v - values["normxlogit"], bootstrap)
            for name, v in values.items()
            if name != "normxlogit"
        }
        report[f"{metric}_by_paradigm"] = {
            paradigm: {
                name: v[:, paradigm_of == paradigm].mean(1).round(4).tolist()
                for name, v in values.items()
            }
            for paradigm in dict.fromkeys(paradigm_of)
        }
    return report


def _metrics(scores: Floats, evidence: NDArray[np.bool_], reading: str) -> tuple[float, float]:
    """Compute `METRICS`, in this order."""
    normalise = "softmax" if reading in SIGNED else "sum"
    return dot_product(scores, evidence, normalise), average_precision(scores, evidence)


def _intervals(values: Floats, bootstrap: Bootstrap) -> dict[str, list[float]]:
    """Means with their intervals at each layer, from [layers, cases]."""
    estimates = [bootstrap.mean(layer) for layer in values]
    return {
        "mean": [round(estimate.value, 4) for estimate in estimates],
        "low": [round(estimate.interval[0], 4) for estimate in estimates],
        "high": [round(estimate.interval[1], 4) for estimate in estimates],
    }
