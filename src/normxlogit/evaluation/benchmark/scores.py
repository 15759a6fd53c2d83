"""How far each reading points to the evidence: of each case, and of all of them.

Figures are the dot product with the evidence (of the softmax of what is made from logits, of the
others' shares of the sum) and the average precision, of the two sets of tokens in `SETS`. Random
scores are 20 draws a text. Intervals are of resamples of the cases, the same for all readings;
differences are those to `normxlogit` at the same layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normxlogit.errors import InputError
from normxlogit.evaluation.benchmark.readings import MADE_OF_LOGITS, SETS, Floats, Item, Read
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
"""`case` counts those that are asked, `row` the paradigm's rows, from 0; `text` is what the model
reads, `preferred` whether it gives the good word the higher logit, `tokens` how many of them are in
the set. Figures are of each layer; they are null where all of the set's tokens are evidence.
"""


def figures(found: Read, kept: NDArray[np.bool_], seed: Sequence[int]) -> dict[str, Floats]:
    """Each reading's figures of some of the tokens, [metrics, layers]."""
    evidence = found.evidence[kept]
    made = {
        name: np.transpose([_figures(layer[kept], evidence, name) for layer in scores])
        for name, scores in found.scores.items()
    }
    draws = np.random.default_rng(seed).random((_DRAWS, len(evidence)))
    chance = np.mean([_figures(draw, evidence, "random") for draw in draws], axis=0)
    return {**made, "random": np.broadcast_to(chance[:, None], made["normxlogit"].shape)}


def score_items(
    items: Sequence[Item], numbers: Sequence[int], reads: Sequence[Read], seed: int
) -> pa.Table:
    """What is kept of some of the items: a row for each, set of tokens and reading."""
    rows = []
    for number, found in zip(numbers, reads, strict=True):
        item = items[number]
        for name in SETS:
            kept = found.sets[name]
            own = None if found.evidence[kept].all() else figures(found, kept, [seed, number])
            rows += [
                {
                    "case": number,
                    "paradigm": item.case.paradigm,
                    "row": item.case.row,
                    "text": item.text,
                    "good": item.case.good,
                    "bad": item.case.bad,
                    "preferred": found.preferred,
                    "set": name,
                    "tokens": int(kept.sum()),
                    "reading": reading,
                    **({} if own is None else dict(zip(METRICS, own[reading], strict=True))),
                }
                for reading in (*found.scores, "random")
            ]
    return pa.Table.from_pylist(rows, SCHEMA)


def build_results(scores: pa.Table, seed: int) -> dict[str, Any]:
    """All figures of a model, as plain data for JSON; docs/evaluate.md says what they are.

    Args:
        scores: of all items, in their order.
        seed: of the bootstrap.

    Raises:
        InputError: no item has a word that is no evidence.
    """
    by_set = {name: scores.filter(pc.equal(scores["set"], name)) for name in SETS}
    one = by_set["all"].filter(pc.equal(by_set["all"]["reading"], "normxlogit"))
    return {
        "accuracy": float(np.mean(one["preferred"].to_numpy())),
        **{name: _of_set(own, seed) for name, own in by_set.items()},
    }


def _of_set(scores: pa.Table, seed: int) -> dict[str, Any]:
    """The figures of a set of tokens, by metric and reading."""
    known = scores.filter(pc.is_valid(scores[METRICS[0]]))
    by_reading = {
        name: known.filter(pc.equal(known["reading"], name))
        for name in pc.unique(known["reading"]).to_pylist()
    }
    cases = len(pc.unique(scores["case"]))
    if not by_reading:
        raise InputError(
            f"in each of {cases} cases there is nothing but evidence, so there is nothing to tell "
            "apart. Take more cases."
        )
    ours = by_reading["normxlogit"]
    bootstrap, paradigm_of = Bootstrap(len(ours), seed), ours["paradigm"].to_numpy()
    report: dict[str, Any] = {
        "cases": len(ours),
        "all_evidence": cases - len(ours),
        "tokens": float(np.mean(ours["tokens"].to_numpy())),
    }
    for metric in METRICS:
        values = {
            name: np.stack(own[metric].to_numpy(), axis=1) for name, own in by_reading.items()
        }
        report[metric] = {name: _told(own, bootstrap) for name, own in values.items()}
        report[f"{metric}_less_normxlogit"] = {
            name: _told(own - values["normxlogit"], bootstrap)
            for name, own in values.items()
            if name != "normxlogit"
        }
        report[f"{metric}_by_paradigm"] = {
            paradigm: {
                name: own[:, paradigm_of == paradigm].mean(1).round(4).tolist()
                for name, own in values.items()
            }
            for paradigm in dict.fromkeys(paradigm_of)
        }
    return report


def _figures(scores: Floats, evidence: NDArray[np.bool_], reading: str) -> tuple[float, float]:
    """As `METRICS` has them."""
    normalise = "softmax" if reading in MADE_OF_LOGITS else "sum"
    return dot_product(scores, evidence, normalise), average_precision(scores, evidence)


def _told(values: Floats, bootstrap: Bootstrap) -> dict[str, list[float]]:
    """Means and the ends of their intervals, of [layers, cases]."""
    found = [bootstrap.mean(layer) for layer in values]
    return {
        "mean": [round(one.value, 4) for one in found],
        "low": [round(one.interval[0], 4) for one in found],
        "high": [round(one.interval[1], 4) for one in found],
    }
