"""Lists of inputs and what stands for one, and tables, which do not."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset

from normxlogit import Explainer, Failure, InputError, Result
from tests.helpers.models import classifier_explainer, image_classifier

TEXTS = ["A great movie.", "not bad"]

LISTS: dict[str, Callable[[list[Any]], Any]] = {
    "pandas": lambda items: pd.Series(items, index=range(7, 7 + len(items))),
    "pandas strings": lambda items: pd.Series(items, dtype="string"),
    "index": pd.Index,
    "datasets": lambda items: Dataset.from_dict({"text": items})["text"],
    "numpy": np.array,
    "objects": lambda items: np.array(items, object),
    "pyarrow": pa.array,
    "chunks": lambda items: pa.chunked_array([items]),
    "generator": iter,
}


@pytest.mark.parametrize("kind", LISTS)
def test_what_stands_for_a_list(explainer: Explainer, kind: str) -> None:
    expected = [explainer.explain(text).scores for text in TEXTS]
    for explain in (explainer.explain, explainer.stream):
        results = list(explain(LISTS[kind](TEXTS)))
        assert [type(result.texts[0]) for result in results] == [str, str]
        for result, scores in zip(results, expected, strict=True):
            np.testing.assert_allclose(result.scores, scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_texts_are_failures(explainer: Explainer, missing: Any) -> None:
    results = explainer.explain(pd.Series([TEXTS[0], missing, TEXTS[1]], dtype=object))
    assert [isinstance(result, Failure) for result in results] == [False, True, False]
    assert "expected text" in str(results[1])


def test_columns_without_items(explainer: Explainer) -> None:
    assert explainer.explain(pd.Series([], dtype=object)) == []
    assert explainer.explain(np.array([], str)) == []


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"text": TEXTS}),
        Dataset.from_dict({"text": TEXTS}),
        pa.table({"text": TEXTS}),
    ],
    ids=["pandas", "datasets", "pyarrow"],
)
def test_tables_name_their_columns(explainer: Explainer, table: Any) -> None:
    for explain in (explainer.explain, explainer.stream):
        with pytest.raises(InputError, match=r"columns: text. Give .* table\['text'\]"):
            explain(table)


def test_an_empty_frame(explainer: Explainer) -> None:
    with pytest.raises(InputError, match="the DataFrame has no columns"):
        explainer.explain(pd.DataFrame())


def test_words_in_what_stands_for_a_list(explainer: Explainer) -> None:
    words: Any = ["great", "movie"]
    expected: Any = explainer.explain(words, is_split_into_words=True)
    inputs: Iterable[Any] = (np.array(words), iter(words), pd.Series(words))
    for several in inputs:
        result = explainer.explain(several, is_split_into_words=True)
        np.testing.assert_array_equal(result.scores, expected.scores)


def test_pixels_are_one_image() -> None:
    explainer, pixels = image_classifier()
    alone = explainer.explain(pixels)
    pair = np.empty(2, object)
    pair[:] = [pixels, pixels]
    results = explainer.explain(pair)
    assert isinstance(results, list)
    assert len(results) == 2
    for result in results:
        assert isinstance(result, Result)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-5)


def test_the_demo_knows_single_texts() -> None:
    demo = Explainer.from_pretrained("demo", head="demo")
    with pytest.warns(UserWarning, match="is read as one input, and demo was trained on single"):
        assert len(demo.explain(("not bad", "great movie")).texts) == 2


@pytest.mark.parametrize(
    ("task", "warns"),
    [("sst-2", True), ("glue:cola", True), ("mnli", False), ("text-classification", False)],
)
def test_pairs_where_a_model_knows_single_texts(task: str, warns: bool) -> None:
    explainer = classifier_explainer()
    explainer.model.config.finetuning_task = task
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = explainer.explain(("not bad", "great movie"))
    assert len(result.texts) == 2
    assert any("is read as one input" in str(warning.message) for warning in caught) == warns
