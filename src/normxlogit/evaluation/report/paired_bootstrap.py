"""Differences between two methods, over the examples that both were measured on.

`verdicts.verdict` says whether a difference is one.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]


class PairedBootstrap:
    """Paired bootstrap over the rows of scores.parquet."""

    def __init__(self, scores: "pa.Table", seed: int) -> None:
        """Take a table of `records.SCHEMA`, and the seed of the resamples."""
        self._scores, self._seed = scores, seed
        self._names = scores["method"].to_numpy()
        self._rows = scores["row"].to_numpy()
        self._bootstraps: dict[int, Bootstrap] = {}

    def difference(self, metric: str, name: str, other: str) -> Estimate | None:
        """Estimate by how much a method exceeds another, over the examples that both have.

        Args:
            metric: a column with one number per ratio; its mean over ratios and draws is used.
            name, other: the names of the methods.

        Returns:
            None if they have no example in common.
        """
        (rows, values), (other_rows, other_values) = (
            self._examples(metric, method) for method in (name, other)
        )
        _, common, other_common = np.intersect1d(rows, other_rows, return_indices=True)
        count = len(common)
        if not count:
            return None
        if count not in self._bootstraps:  # drawing takes longer than the differences
            self._bootstraps[count] = Bootstrap(count, self._seed)
        return self._bootstraps[count].mean(values[common] - other_values[other_common])

    def _examples(self, metric: str, name: str) -> tuple[NDArray[np.int64], Floats]:
        """The rows that a method was measured on, in order, and its mean value in each."""
        records = np.flatnonzero(self._names == name)
        lists = self._scores[metric].take(records).combine_chunks()
        # [records, ratios] -> [records], then the mean over the draws of each row
        values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(records), -1).mean(1)
        rows, places = np.unique(self._rows[records], return_inverse=True)
        return rows, np.bincount(places, values) / np.bincount(places)
