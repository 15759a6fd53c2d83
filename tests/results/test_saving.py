"""What JSON and UTF-8 do not have: written in a way that is read back, or refused in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from normxlogit import Attribution, Explainer, Failure, InputError, ModelError
from normxlogit.methods import METHODS, MethodContext
from normxlogit.results.base import LARGEST_TOTAL, Result
from normxlogit.show.dispatch import page
from tests.helpers.results import GOOD_BAD, generation, word_attribution

HALF = "a\ud800b"
"""Half a surrogate pair, as in labels of a config.json and in names of files that are no UTF-8."""


def test_halves_of_surrogate_pairs_are_saved_and_loaded(tmp_path: Path) -> None:
    result = word_attribution(f"{HALF} b", [1.0, -1.0], labels=(HALF, "\udfff"), model=HALF)
    result.save(tmp_path / "a.json")
    again = Attribution.load(tmp_path / "a.json")
    assert again.to_dict() == result.to_dict()
    assert again.targets[0].label == "\udfff"
    (tmp_path / "a.json").read_text("utf-8")
    for text in (str(result), result.to_html(), result._repr_html_(), page([result])):
        text.encode("utf-8")
        assert "a\ufffdb" in text


@pytest.mark.parametrize("text", [f"good {HALF}", ("good", f"good {HALF}")])
def test_texts_with_half_a_pair_are_refused(text: Any, explainer: Explainer) -> None:
    with pytest.raises(InputError, match=r"character 6 of the text is '\\ud800', half a surrogate"):
        explainer.explain(text)


def test_infinite_numbers_are_not_written(tmp_path: Path) -> None:
    for result in (
        replace(GOOD_BAD, scores=np.full(5, np.inf, np.float32)),
        replace(GOOD_BAD, notes={"gap": (float("nan"),)}),
    ):
        with pytest.raises(InputError, match="infinite or nan"):
            result.save(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1e36, 1e38, float("inf")])
def test_scores_that_overflow_are_an_error(
    size: float, explainer: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(context: MethodContext) -> Tensor:
        return context.values * 0 + size

    monkeypatch.setitem(METHODS, "norm", replace(METHODS["norm"], score=huge, reads="head"))
    text = "good " * 20
    if size < LARGEST_TOTAL / 22:
        words = explainer.explain(text, method="norm").words()
        assert np.isfinite(words.scores).all()
        return
    with pytest.raises(ModelError, match=r"scores by norm sum up to .*float32"):
        explainer.explain(text, method="norm")
    (failure,) = explainer.explain([text], method="norm")
    assert isinstance(failure, Failure)


def test_the_largest_scores_that_load_can_be_summed() -> None:
    count = len(GOOD_BAD)
    limit = LARGEST_TOTAL / count
    most = word_attribution("good  but\n bad", [0, 0, 0]).to_dict()
    for data, size in ((most, limit), (most, 1.01 * limit)):
        data["scores"] = [size] * count
        if size <= limit:
            whole = Attribution.from_dict(data).by([(0, 14)])
            assert np.isfinite(whole.scores).all()
            continue
        with pytest.raises(InputError, match="scores must be numbers whose sizes sum up"):
            Attribution.from_dict(data)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scores", nested(100_000), "nested too deeply"),
        ("scores", nested(900), "scores must be lists of any values"),
        ("provenance", nested(900), "provenance must be an object"),
        ("scores", "1" * 5000, "cannot read"),
        ("layers", f"[{'1' * 4000}]", r"layers\[0\] must be a whole number"),
        ("scores", "[NaN]", "NaN is no number of JSON"),
        ("scores", "[-Infinity]", "-Infinity is no number of JSON"),
        ("scores", "[1e999]", "scores must be numbers from"),
        ("axes", '[["target"]]', r"axes\[0\] must be text"),
        ("kind", '["text"]', "got the kind"),
        ("schema", "{}", "expected data of the schema"),
    ],
)
def test_what_readers_of_json_choke_on_is_an_input_error(
    field: str, value: str, message: str, tmp_path: Path
) -> None:
    data = GOOD_BAD.to_dict() | {field: "here"}
    (tmp_path / "a.json").write_text(json.dumps(data).replace('"here"', value, 1))
    with pytest.raises(InputError, match=message) as caught:
        Result.load(tmp_path / "a.json")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_options_are_nested_as_deep_as_they_can_be_shown() -> None:
    data: dict[str, Any] = GOOD_BAD.to_dict()
    for depth in (3, 500):
        value: Any = 1
        for _ in range(depth):
            value = [value]
        data["provenance"]["options"] = {"deep": value}
        if depth == 3:
            assert "deep=[[[1]]]" in str(Attribution.from_dict(data))
            continue
        with pytest.raises(InputError, match="nested less deeply"):
            Attribution.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "text", 3, {}, {"schema": 1}])
def test_what_is_no_object_is_an_input_error(data: Any) -> None:
    with pytest.raises(InputError):
        Result.from_dict(data)


def test_one_token_of_an_answer_is_a_whole_too() -> None:
    whole = generation("The sky is", " blue.")
    for number in range(len(whole.targets)):
        one = whole.at(number)
        scored = ~np.isnan(one.scores)
        np.testing.assert_array_equal(one.whole().scores, one.scores[scored])
