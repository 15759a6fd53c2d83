"""Differences of two methods over the examples that both were measured on."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]


class PairedBootstrap:
    """The rows of scores.parquet, by method and example."""

    def __init__(self, scores: "pa.Table", seed: int) -> None:
        """Take a table as `records.SCHEMA` has it, and the seed of resamples."""
        self._scores, self._seed = scores, seed
        self._names = scores["method"].to_numpy()
        self._rows = scores["row"].to_numpy()
        self._drawn: dict[int, Bootstrap] = {}

    def difference(self, metric: str, one: str, other: str) -> Estimate | None:
        """How much more one method has than the other, over the examples that both have.

        Args:
            metric: a column with one number for each ratio, of which the mean is taken, and then
                that over draws.
            one, other: names of methods.

        Returns:
            None if they have no example in common.
        """
        (rows, values), (other_rows, other_values) = (
            self._examples(metric, name) for name in (one, other)
        )
        _, own, others = np.intersect1d(rows, other_rows, return_indices=True)
        if not len(own):
            return None
        if len(own) not in self._drawn:
            self._drawn[len(own)] = Bootstrap(len(own), self._seed)
        return self._drawn[len(own)].mean(values[own] - other_values[others])

    def _examples(self, metric: str, name: str) -> tuple[NDArray[np.int64], Floats]:
        """The rows that a method was measured on, in order, and its mean in each."""
        own = np.flatnonzero(self._names == name)
        lists = self._scores[metric].take(own).combine_chunks()
        values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(own), -1).mean(1)
        rows, places = np.unique(self._rows[own], return_inverse=True)
        return rows, np.bincount(places, values) / np.bincount(places)
