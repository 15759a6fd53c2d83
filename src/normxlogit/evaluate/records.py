"""What is kept of each text, method and draw: the rows of scores.parquet."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("text", pa.string()),
        ("pair", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("method", pa.string()),
        ("draw", pa.int32()),
        ("units", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("comprehensiveness", pa.list_(pa.float64())),
        ("comprehensiveness_said", pa.list_(pa.float64())),
        ("sufficiency", pa.list_(pa.float64())),
        ("sufficiency_said", pa.list_(pa.float64())),
        ("deletion", pa.float64()),
        ("insertion", pa.float64()),
        ("naopc_comprehensiveness", pa.float64()),
        ("naopc_sufficiency", pa.float64()),
        ("loo_tau", pa.float64()),
    ],
)
"""`row` is the number of the source's row; `confidence` the probability of the class that the model
predicts, or its value; lists but `units` and `scores` have one element for each ratio: what is
lost, and what the model then says, a class by its number or a value. Metrics that were not asked
for are null.
"""


def table_of(records: Sequence[dict[str, Any]]) -> pa.Table:
    """Records as a table; what they lack is null."""
    return pa.Table.from_pylist(list(records), SCHEMA)
