"""Estimates of each metric, from the records of an evaluation."""

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
    """A metric of methods.

    Attributes:
        about: its description.
        higher_is_better: whether higher values are better.
        column: the column of the records that it is computed from.
        agreement: how predictions are compared with the labels, "accuracy" or "pearson"; None for
            metrics that need no labels.
    """

    about: str
    higher_is_better: bool
    column: str
    agreement: str | None = None

    @property
    def has_shares(self) -> bool:
        """Whether it has a value for each share that is hidden."""
        return self.column.removesuffix("_said") in ("comprehensiveness", "sufficiency")


_SHARES = "hidden, the mean over all shares"


def select_metrics(
    further: Sequence[str], unit: str, *, is_regression: bool, labelled: bool
) -> dict[str, Metric]:
    """Select the metrics of an evaluation, by name, described for its kind of units."""
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
    metrics = {
        "comprehensiveness": Metric(f"{lost} {top} {_SHARES}", True, "comprehensiveness"),
        "sufficiency": Metric(f"{lost} {others} {_SHARES}", False, "sufficiency"),
    }
    if labelled:
        metrics |= {
            f"comprehensiveness_{agreement}": Metric(
                f"{how} {top} {_SHARES}", False, "comprehensiveness_said", agreement=agreement
            ),
            f"sufficiency_{agreement}": Metric(
                f"{how} {others} {_SHARES}", True, "sufficiency_said", agreement=agreement
            ),
        }
    for option, name, about, higher in _FURTHER:
        if option in further:
            metrics[name] = Metric(about.format(unit=unit), higher, name)
    return metrics


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
        "comprehensiveness with one {unit} per step, scaled from 0 for the worst order to 1 for "
        "the best",
        True,
    ),
    (
        "naopc",
        "naopc_sufficiency",
        "the same with the least important {unit} hidden first, where 0 is the best",
        False,
    ),
    (
        "loo_tau",
        "loo_tau",
        "Kendall's tau-b of the scores with the loss when each {unit} alone is hidden",
        True,
    ),
    (
        "soft",
        "pi_soft_nc",
        "the loss with dimensions of the word embeddings set to zero, more of them the more "
        "important a {unit} is, as a share of the loss with all {unit}s at zero; every method "
        "keeps the same share",
        True,
    ),
    (
        "soft",
        "pi_soft_ns",
        "what is not lost with the other dimensions set to zero, measured likewise",
        True,
    ),
)


def estimate_metrics(
    scores: pa.Table, metrics: Mapping[str, Metric], gold: Mapping[int, float], seed: int
) -> dict[str, dict[str, Any]]:
    """Estimate each metric of each method, with intervals.

    Args:
        scores: the records, see `records`; every method has the same rows.
        metrics: what to estimate; a metric that no example has is left out.
        gold: the labels by row, as ids of classes or values.
        seed: of the resamples.

    Returns:
        By method and metric: "value" with its interval from "low" to "high"; "examples", the number
        of examples for which every method has a value, which are those used; "by_ratio", None for
        metrics without shares; and "beside_best", the difference to the best method other than
        random, None for that method itself.
    """
    names = pc.unique(scores["method"]).to_pylist()
    records = {name: _Records(scores.filter(pc.equal(scores["method"], name))) for name in names}
    estimates_of: dict[str, dict[str, Any]] = {name: {} for name in names}
    for title, metric in metrics.items():
        values = {name: records[name].values(metric, gold) for name in names}
        # Only examples that every method has a value for: differences must be paired. [rows]
        defined = np.all([~np.isnan(v).any((0, 2)) for v in values.values()], axis=0)
        if not defined.any():
            continue
        estimates = _estimates(values, defined, metric, records[names[0]].labels(gold), seed)
        sign = 1 if metric.higher_is_better else -1
        ranked = [name for name in names if name != RANDOM] or names
        best = max(ranked, key=lambda name: sign * estimates[name].value)
        for name, estimate in estimates.items():
            difference = estimate - estimates[best]
            estimates_of[name][title] = {
                **estimate.to_dict(),
                "examples": int(defined.sum()),
                "by_ratio": _by_ratio(values[name], metric, records[name].labels(gold)),
                "beside_best": None
                if name == best
                else {
                    "best": best,
                    **difference.to_dict(),
                    "differs": difference.differs_from_zero,
                },
            }
    return estimates_of


class _Records:
    """The records of one method, with the same number of draws for every row."""

    def __init__(self, table: pa.Table) -> None:
        order = np.lexsort((table["row"].to_numpy(), table["draw"].to_numpy()))
        self._table = table.take(pa.array(order))
        self._draws = len(pc.unique(table["draw"]))
        self._rows = self._table["row"].to_numpy().reshape(self._draws, -1)[0]

    def labels(self, gold: Mapping[int, float]) -> Floats:
        """The labels of the rows that have one, [labelled rows]."""
        return np.array([gold[row] for row in self._rows.tolist() if row in gold])

    def values(self, metric: Metric, gold: Mapping[int, float]) -> Floats:
        """The values of a metric's column: float64 [draws, rows, shares].

        Metrics without shares have one. Metrics of agreement have only the labelled rows.
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
    defined: NDArray[np.bool_],
    metric: Metric,
    labels: Floats,
    seed: int,
) -> dict[str, Estimate]:
    """Estimate a metric of each method over the examples that are defined for all of them."""
    bootstrap = Bootstrap(int(defined.sum()), seed)
    if metric.agreement == "pearson":
        # The mean of the correlations of each draw and share:
        # [draws, rows, shares] -> [draws * shares, rows]
        return {
            name: bootstrap.correlation(v.transpose(0, 2, 1).reshape(-1, v.shape[1]), labels)
            for name, v in values.items()
        }
    return {
        name: bootstrap.mean(_correct(v, metric, labels)[:, defined].mean((0, 2)))
        for name, v in values.items()
    }


def _correct(values: Floats, metric: Metric, labels: Floats) -> Floats:
    """For accuracy, whether predictions are right; other values as they are."""
    return (values == labels[:, None]).astype(np.float64) if metric.agreement else values


def _by_ratio(values: Floats, metric: Metric, labels: Floats) -> list[float] | None:
    if not metric.has_shares:
        return None
    if metric.agreement == "pearson":
        unsampled = Bootstrap(len(labels), 0, 0)
        shares = range(values.shape[2])
        return [unsampled.correlation(values[:, :, k], labels).value for k in shares]
    return [float(mean) for mean in _correct(values, metric, labels).mean((0, 1))]
