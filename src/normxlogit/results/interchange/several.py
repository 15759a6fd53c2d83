"""Several results at once: as one table, or as one matrix of texts by words."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from normxlogit.errors import InputError, OptionError
from normxlogit.extras import require
from normxlogit.results.base import Result
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.interchange.tables import Columns, data_frame
from normxlogit.results.text import Attribution, Failure

if TYPE_CHECKING:
    from pandas import DataFrame
    from shap import Explanation


def to_pandas(results: Result | Failure | Iterable[Result | Failure]) -> "DataFrame":
    """Return results as one pandas data frame (extra `pandas`).

    Args:
        results: what `explain` returned for a list, or `stream` yields; or a single result.

    Returns:
        The rows of `Result.to_pandas` of each. Before them stand `item`, the number of the input,
        and `prediction` and `probability`, what the model said of it; after them `error`, why an
        input could not be explained, which has one row.

    Raises:
        InputError: there is something else among them.
        MissingExtraError: pandas is not installed.
    """
    return data_frame(columns_of(results))


def to_shap(results: Iterable[Result | Failure]) -> "Explanation":
    """Return texts as one `shap.Explanation` (extra `shap`) of texts by words, for its beeswarm.

    Args:
        results: attributions of texts, all of the same target and of one layer, by tokens or by
            words; failures are left out.

    Returns:
        `values` [texts, words] hold the sum of the scores of a word in a text, 0 where it is not;
        `data` how often it is there; `base_values` [texts] what the scores of a text add up from,
        nan if they are not additive. Special tokens are left out.

    Raises:
        InputError: there is no text among them, or something else.
        OptionError: they explain several targets or layers.
        MissingExtraError: shap is not installed.
    """
    shap = require("shap", "shap", need="a shap.Explanation needs shap")
    explained = [result for result in results if not isinstance(result, Failure)]
    texts = [result.only() for result in explained if isinstance(result, Attribution)]
    if not texts or len(texts) < len(explained):
        raise InputError("expected attributions of texts, at least one. Explain a list of texts.")
    labels = {target.label for text in texts for target in text.targets}
    if len(labels) != 1:
        raise OptionError(
            f"these explain {', '.join(sorted(labels)):.80}, whose scores do not compare. Explain "
            "one, such as explain(texts, target=...)."
        )
    numbers: dict[str, int] = {}
    cells = [
        (row, numbers.setdefault(token, len(numbers)), score)
        for row, text in enumerate(texts)
        for token, score, special in zip(text.tokens, text.scores, text.special, strict=True)
        if not special and not np.isnan(score)
    ]
    values, counts = np.zeros((2, len(texts), len(numbers)))
    for row, column, score in cells:
        values[row, column] += score
        counts[row, column] += 1
    return shap.Explanation(
        values=values,
        base_values=np.array([np.nan if text.base is None else text.base[0] for text in texts]),
        data=counts,
        feature_names=list(numbers),
    )


def to_csv(results: Iterable[Result | Failure]) -> str:
    """Return the table of `to_pandas` as CSV with a headline; fields without a value are empty."""
    columns = columns_of(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        # nan is not equal to itself
        writer.writerow(["" if value is None or value != value else value for value in row])
    return text.getvalue()


def columns_of(results: Result | Failure | Iterable[Result | Failure]) -> Columns:
    """Return the table of several results, column by column; see `to_pandas`."""
    if isinstance(results, (Result, Failure)):
        results = [results]
    if isinstance(results, (str, bytes, Mapping)) or not isinstance(results, Iterable):
        raise InputError(f"expected results, got {type(results).__name__}: {results!r:.80}.")
    tables = [_columns_of_item(number, result) for number, result in enumerate(results)]
    names = dict.fromkeys(["item", "prediction", "probability"])
    names |= dict.fromkeys(name for table in tables for name in table if name != "error")
    columns: Columns = {name: [] for name in [*names, "error"]}
    for table in tables:
        count = len(table["item"])
        for name, values in columns.items():
            values.extend(table.get(name, [None] * count))
    return columns


def _columns_of_item(number: int, result: Any) -> Columns:
    if isinstance(result, Failure):
        return {"item": [number], "error": [str(result.error)]}
    if not isinstance(result, Result):
        raise InputError(
            f"expected results, and item {number} is {type(result).__name__}: {result!r:.80}."
        )
    columns = result.columns()
    count = len(columns["score"])
    predicted = result.prediction.predicted
    label = ", ".join(target.label for target in predicted)
    if isinstance(result, GenerationAttribution):
        label = result.answer
    probability = predicted[0].probability if len(predicted) == 1 else None
    return {
        "item": [number] * count,
        "prediction": [label] * count,
        "probability": [probability] * count,
        **columns,
    }
