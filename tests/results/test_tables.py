"""Results as data frames and CSV: every number comes back from them."""

import csv
import io
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import normxlogit as nxl
from normxlogit import Attribution, Explainer, Failure, InputError, MissingExtraError
from normxlogit.results.interchange.several import to_csv
from tests.helpers.models import causal_lm, image_classifier, token_classifier
from tests.helpers.results import SOUND

TEXTS = ["A great movie, isn't it?", "", "not bad"]


def rebuilt(frame: pd.DataFrame, name: str, shape: tuple[int, ...]) -> Any:
    return frame[name].to_numpy().reshape(shape)


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"target": "all"}, {"layer": "all"}, {"target": "all", "layer": "all"}]
)
def test_a_frame_loses_nothing(explainer: Explainer, options: dict[str, Any], words: bool) -> None:
    result = explainer.explain((TEXTS[0], TEXTS[2]), **options)
    result = result.words() if words else result
    frame = result.to_pandas()
    targets, layers, tokens = len(result.targets), len(result.layers), len(result)
    shape = (targets, layers, tokens)
    scores = rebuilt(frame, "score", shape)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, result.scores.reshape(shape))
    for name, values in (
        ("token", np.array(result.tokens, object)),
        ("start", result.offsets[:, 0]),
        ("end", result.offsets[:, 1]),
        ("segment", result.segments),
        ("word", result.word_numbers),
        ("special", result.special),
    ):
        np.testing.assert_array_equal(rebuilt(frame, name, shape)[-1, -1], values, err_msg=name)
    for name, expected in (("norm", result.norms), ("logit", result.logits)):
        assert (expected is None) == words
        if expected is None:
            assert frame[name].isna().all()
        else:
            whole = np.resize(expected, shape)  # norms are the same for all targets and layers
            np.testing.assert_array_equal(rebuilt(frame, name, shape), whole)
    for number, target in enumerate(result.targets):
        rows = frame[frame["target_id"] == target.id]
        assert list(rows["target"].unique()) == [target.label]
        assert set(rows["layer"]) == set(result.layers)
        np.testing.assert_array_equal(rows["target_probability"], target.probability)
        np.testing.assert_array_equal(rows["target_logit"], target.logit)
        part = result.at(number).scores.ravel()
        np.testing.assert_array_equal(rows["score"], part)


def test_targets_of_positions() -> None:
    tags = token_classifier().explain("The plot is bad")
    frame = tags.to_pandas()
    places = frame.groupby("target_position", sort=False)["score"].apply(np.array)
    assert list(places.index) == [target.position for target in tags.targets]
    np.testing.assert_array_equal(np.stack(list(places)), tags.scores)


def test_generated_text() -> None:
    result = causal_lm().generate("one two", max_new_tokens=3, do_sample=False)
    frame = result.to_pandas()
    np.testing.assert_array_equal(rebuilt(frame, "score", result.scores.shape), result.scores)
    assert set(nxl.to_pandas(result)["prediction"]) == {result.answer}


def test_images_and_audio() -> None:
    explainer, pixels = image_classifier()
    image = explainer.explain(pixels)
    frame = image.to_pandas()
    patches = frame[~frame["special"]].pivot(index="row", columns="column", values="score")
    np.testing.assert_array_equal(patches.to_numpy(), image.patches())
    frame = SOUND.to_pandas()
    np.testing.assert_array_equal(frame["score"], SOUND.scores)
    np.testing.assert_array_equal(frame[["start_seconds", "end_seconds"]], SOUND.seconds)


def test_lists_with_failures(explainer: Explainer) -> None:
    results = explainer.explain(TEXTS)
    frame = nxl.to_pandas(result for result in results)
    assert list(frame["item"].unique()) == [0, 1, 2]
    for number, result in enumerate(results):
        rows = frame[frame["item"] == number]
        if isinstance(result, Failure):
            assert list(rows["error"]) == [str(result.error)]
            assert rows["score"].isna().all()
        else:
            assert isinstance(result, Attribution)
            np.testing.assert_array_equal(rows["score"], result.scores)
            assert set(rows["prediction"]) == {result.prediction.label}
            np.testing.assert_array_equal(rows["probability"], result.prediction.probability)
            assert rows["error"].isna().all()
    assert frame["score"].dtype == np.float32
    assert list(frame[frame["special"]]["token"]) == ["<s>", "</s>"] * 2
    assert list(nxl.to_pandas([]).columns) == ["item", "prediction", "probability", "error"]


@pytest.mark.parametrize("wrong", ["text", {"a": 1}, 3, ["text"]])
def test_what_is_no_result(wrong: Any) -> None:
    with pytest.raises(InputError, match="expected results"):
        nxl.to_pandas(wrong)


def test_csv_is_the_frame(explainer: Explainer) -> None:
    results = explainer.explain(['A "great", movie\nwith; poor', "", "=1+1"], target="all")
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    frame = nxl.to_pandas(results)
    assert list(rows[0]) == list(frame.columns)
    assert len(rows) == len(frame)
    for row, (_, expected) in zip(rows, frame.iterrows(), strict=True):
        for name, value in expected.items():
            cell = row[str(name)]
            if pd.isna(value):
                assert cell == ""
            elif name in ("score", "norm", "logit"):
                assert np.float32(cell) == value
            else:
                assert cell == str(value)


def test_without_pandas(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    result = explainer.explain(TEXTS[0])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[pandas\]"'):
        result.to_pandas()
    assert to_csv([result])
