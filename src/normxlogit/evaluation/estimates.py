"""From the records of an evaluation to its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normxlogit.evaluation.method_specs import RANDOM
from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A figure of a method.

    Attributes:
        about: what it is.
        higher_is_better: whether a method is the better the higher it is.
        column: the column of the records that it is made of.
        agreement: how what the model says is held against the labels, "accuracy" or "pearson"; None
            of metrics that need no labels.
    """

    about: str
    higher_is_better: bool
    column: str
    agreement: str | None = None

    @property
    def has_shares(self) -> bool:
        """Whether there is a figure for each share that is hidden."""
        return self.column.removesuffix("_said") in ("comprehensiveness", "sufficiency")


_SHARES = "hidden, the mean over all shares"


def select_metrics(
    further: Sequence[str], unit: str, *, is_regression: bool, labelled: bool
) -> dict[str, Metric]:
    """The metrics of an evaluation that ranks units of this kind, by name."""
    lost = (
        "how far the value moves"
        if is_regression
        else "how much the probability of the predicted class drops"
    )
    agreement, how = (
        ("pearson", "Pearson's correlation of the values with the labels")
        if is_regression
        else ("accuracy", "how often the model is right")
    )
    top, others = "with the most important part", "with all but the most important part"
    found = {
        "comprehensiveness": Metric(f"{lost} {top} {_SHARES}", True, "comprehensiveness"),
        "sufficiency": Metric(f"{lost} {others} {_SHARES}", False, "sufficiency"),
    }
    if labelled:
        found |= {
            f"comprehensiveness_{agreement}": Metric(
                f"{how} {top} {_SHARES}", False, "comprehensiveness_said", agreement=agreement
            ),
            f"sufficiency_{agreement}": Metric(
                f"{how} {others} {_SHARES}", True, "sufficiency_said", agreement=agreement
            ),
        }
    for asked, name, about, higher in _FURTHER:
        if asked in further:
            found[name] = Metric(about.format(unit=unit), higher, name)
    return found


_FURTHER = (
    (
        "curves",
        "deletion",
        "the area under the output as one {unit} after the other is hidden, the most important "
        "first",
        False,
    ),
    (
        "curves",
        "insertion",
        "the area under the output as one {unit} after the other is shown, the most important "
        "first",
        True,
    ),
    (
        "naopc",
        "naopc_comprehensiveness",
        "where comprehensiveness, a {unit} a step, is between that of the worst order, 0, and of "
        "the best, 1",
        True,
    ),
    (
        "naopc",
        "naopc_sufficiency",
        "the same of hiding the least important first, of which 0 is the best",
        False,
    ),
    (
        "loo_tau",
        "loo_tau",
        "Kendall's tau-b of the scores with what leaving out each {unit} alone loses",
        True,
    ),
    (
        "soft",
        "pi_soft_nc",
        "what is lost with numbers of the word embeddings set to zero, the more the more important "
        "a {unit} is, as a share of what all {unit}s lose; every method keeps as much",
        True,
    ),
    (
        "soft",
        "pi_soft_ns",
        "what is not lost with the other numbers set to zero, likewise",
        True,
    ),
)


def estimate_metrics(
    scores: pa.Table, metrics: Mapping[str, Metric], gold: Mapping[int, float], seed: int
) -> dict[str, dict[str, Any]]:
    """The figures of each method, by method and metric.

    Args:
        scores: the records, see `records`; every method has the same rows.
        metrics: what to compute; those that no example has are left out.
        gold: the labels of rows, as ids of classes or values.
        seed: of the resamples.

    Returns:
        For each method and metric its "value" with the interval from "low" to "high"; "examples",
        how many these are of, which are those for which every method has one; "by_ratio", None of
        metrics without shares; and "beside_best", how it differs from the best method other than
        random, None of that method itself.
    """
    names = pc.unique(scores["method"]).to_pylist()
    records = {name: _Records(scores.filter(pc.equal(scores["method"], name))) for name in names}
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for title, metric in metrics.items():
        values = {name: own.values(metric, gold) for name, own in records.items()}
        known = np.all([~np.isnan(own).any((0, 2)) for own in values.values()], axis=0)
        if not known.any():
            continue
        estimates = _estimates(values, known, metric, records[names[0]].labels(gold), seed)
        sign = 1 if metric.higher_is_better else -1
        ranked = [name for name in names if name != RANDOM] or names
        best = max(ranked, key=lambda name: sign * estimates[name].value)
        for name, estimate in estimates.items():
            beside = estimate - estimates[best]
            found[name][title] = {
                **_interval(estimate),
                "examples": int(known.sum()),
                "by_ratio": _by_ratio(values[name], metric, records[name].labels(gold)),
                "beside_best": None
                if name == best
                else {"best": best, **_interval(beside), "differs": beside.differs_from_zero},
            }
    return found


class _Records:
    """The records of one method: of every row as many draws."""

    def __init__(self, table: pa.Table) -> None:
        order = np.lexsort((table["row"].to_numpy(), table["draw"].to_numpy()))
        self._table = table.take(pa.array(order))
        self._draws = len(pc.unique(table["draw"]))
        self._rows = self._table["row"].to_numpy().reshape(self._draws, -1)[0]

    def labels(self, gold: Mapping[int, float]) -> Floats:
        """Of the rows that have one."""
        return np.array([gold[row] for row in self._rows.tolist() if row in gold])

    def values(self, metric: Metric, gold: Mapping[int, float]) -> Floats:
        """[draws, rows, shares] of a column, with one share of metrics without; of one that is held
        against labels only the rows that have one.
        """
        column = self._table[metric.column]
        is_list = pa.types.is_list(column.type)
        flat = column.combine_chunks().flatten() if is_list else column
        values: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float64)
        values = values.reshape(self._draws, len(self._rows), -1)
        if metric.agreement:
            values = values[:, [row in gold for row in self._rows.tolist()]]
        return values


def _estimates(
    values: Mapping[str, Floats],
    known: NDArray[np.bool_],
    metric: Metric,
    labels: Floats,
    seed: int,
) -> dict[str, Estimate]:
    """The figure of each method, over the examples that are known of all of them."""
    bootstrap = Bootstrap(int(known.sum()), seed)
    if metric.agreement == "pearson":
        return {
            name: bootstrap.correlation(own.transpose(0, 2, 1).reshape(-1, own.shape[1]), labels)
            for name, own in values.items()
        }
    return {
        name: bootstrap.mean(_held(own, metric, labels)[:, known].mean((0, 2)))
        for name, own in values.items()
    }


def _held(values: Floats, metric: Metric, labels: Floats) -> Floats:
    """What the model says held against the labels; other values as they are."""
    return (values == labels[:, None]).astype(np.float64) if metric.agreement else values


def _by_ratio(values: Floats, metric: Metric, labels: Floats) -> list[float] | None:
    if not metric.has_shares:
        return None
    if metric.agreement == "pearson":
        one = Bootstrap(len(labels), 0, 0)
        return [one.correlation(values[:, :, k], labels).value for k in range(values.shape[2])]
    return [float(mean) for mean in _held(values, metric, labels).mean((0, 1))]


def _interval(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval
    return {"value": estimate.value, "low": low, "high": high}
