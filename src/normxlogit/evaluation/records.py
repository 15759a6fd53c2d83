"""Records of each text, method and draw: the rows of scores.parquet."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def list_type(element: pa.DataType) -> pa.DataType:
    """Make a list type as Parquet names it, so that a table read from a file equals a new one."""
    return pa.list_(pa.field("element", element))


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
        ("units", list_type(pa.string())),
        ("scores", list_type(pa.float64())),
        ("comprehensiveness", list_type(pa.float64())),
        ("comprehensiveness_said", list_type(pa.float64())),
        ("sufficiency", list_type(pa.float64())),
        ("sufficiency_said", list_type(pa.float64())),
        ("deletion", pa.float64()),
        ("insertion", pa.float64()),
        ("naopc_comprehensiveness", pa.float64()),
        ("naopc_sufficiency", pa.float64()),
        ("loo_tau", pa.float64()),
        ("pi_soft_nc", pa.float64()),
        ("pi_soft_ns", pa.float64()),
    ],
)
"""`row` is the number of the source's row; `confidence` the probability of the predicted class, or
the value. Lists other than `units` and `scores` have one element per ratio: the loss, and in
`..._said` the model's prediction, a class by its number or a value. Metrics that were not requested
are null.
"""


def records_table(records: Sequence[dict[str, Any]]) -> pa.Table:
    """Make a table of records; missing columns are null."""
    return pa.Table.from_pylist(list(records), SCHEMA)
