"""Results as tables in long form: a row for each target, layer and position."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.extras import require
from normxlogit.results.prediction import Target

if TYPE_CHECKING:
    from pandas import DataFrame

Columns = dict[str, list[Any]]
"""The values of each column by its name, None or nan where there is none."""

_DTYPES = {
    **dict.fromkeys(("score", "norm", "logit", "start_seconds", "end_seconds"), "float32"),
    **dict.fromkeys(("probability", "target_logit", "target_probability"), "float64"),
    "base_value": "float64",
    **dict.fromkeys(("item", "layer", "target_id", "target_position"), "Int64"),
    **dict.fromkeys(("start", "end", "segment", "word"), "Int64"),
    **dict.fromkeys(("position", "row", "column", "band"), "Int64"),
    "special": "boolean",
}
"""Types of columns that keep every number as it is, also beside rows without one."""


class Tabular:
    """A result that is a table of its scores."""

    scores: NDArray[np.float32]
    targets: tuple[Target, ...]
    layers: tuple[int, ...]
    norms: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None
    base: tuple[float, ...] | None

    def columns(self) -> Columns:
        """Return the table column by column, as `to_pandas` describes it."""
        targets, layers, positions = len(self.targets), len(self.layers), self.scores.shape[-1]

        def of_targets(values: Sequence[Any]) -> list[Any]:
            return [value for value in values for _ in range(layers * positions)]

        def of_positions(values: Sequence[Any] | NDArray[Any] | None) -> list[Any]:
            values = [None] * positions if values is None else values
            return [*values] * (targets * layers)

        own = self._own_columns()
        return {
            "target": of_targets([target.label for target in self.targets]),
            "layer": [layer for layer in self.layers for _ in range(positions)] * targets,
            **{name: of_positions(values) for name, values in own.items()},
            "score": [*self.scores.reshape(-1)],
            "norm": of_positions(self.norms),
            "logit": [None] * self.scores.size if self.logits is None else [*self.logits.flat],
            "target_id": of_targets([target.id for target in self.targets]),
            "target_position": of_targets([target.position for target in self.targets]),
            "target_logit": of_targets([target.logit for target in self.targets]),
            "target_probability": of_targets([target.probability for target in self.targets]),
            "base_value": of_targets([None] * targets if self.base is None else self.base),
        }

    def to_pandas(self) -> "DataFrame":
        """Return a pandas data frame (extra `pandas`): a row for each target, layer and position.

        Columns: `target` and `layer`; then for texts `token` (after `words()` a word), `start` and
        `end` (its first character and last + 1), `segment` (the number of its text, -1 for special
        tokens), `word` and `special`; for images `position`, `row` and `column`; for audio
        `position`, `band`, `start_seconds` and `end_seconds`; then `score`, `norm` and `logit`; and
        what belongs to the target: `target_id`, `target_position`, `target_logit`,
        `target_probability` and `base_value`, which the scores add up from if they are additive.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame(self.columns())

    def _own_columns(self) -> Mapping[str, Sequence[Any] | NDArray[Any]]:
        """Return the columns that this kind of result has for each position."""
        raise NotImplementedError


def data_frame(columns: Columns) -> "DataFrame":
    """Return columns as a pandas data frame.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    pandas = require("pandas", "pandas", need="a data frame needs pandas")
    series = {
        name: pandas.Series(values, dtype=_DTYPES.get(name)) for name, values in columns.items()
    }
    frame: DataFrame = pandas.DataFrame(series)
    return frame
