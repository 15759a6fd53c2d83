"""The result: summing, selecting, ranking, saving."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normxlogit import Attribution, Explainer, InputError, OptionError
from tests.helpers.results import PATCHES, SOUND, word_attribution

TEXT = "A great movie. The plot is a mess!"


@pytest.fixture(scope="module")
def found(explainer: Explainer) -> Attribution:
    result: Attribution = explainer.explain(TEXT)
    return result


def test_factors(found: Attribution) -> None:
    assert found.norms is not None
    assert found.logits is not None
    np.testing.assert_allclose(found.scores, found.norms * found.logits, rtol=1e-6)
    assert found.scores.dtype == np.float32
    assert len(found) == len(found.tokens) == len(found.scores)
    assert found.special.tolist() == [t in ("<s>", "</s>") for t in found.tokens]


def test_prediction(found: Attribution) -> None:
    outputs = found.prediction.outputs
    assert [o.label for o in outputs] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    logits = np.array([o.logit for o in outputs])
    probabilities = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([o.value for o in outputs], probabilities, rtol=1e-4)
    assert found.prediction.id == int(logits.argmax()) == found.target.id
    assert found.target.label == found.prediction.label
    assert found.target.value == found.prediction.probability


def test_sentences_and_spans(found: Attribution) -> None:
    sentences = found.sentences()
    assert sentences.tokens == ("<s>", "A great movie.", "The plot is a mess!", "</s>")
    inside = found.offsets[:, 1] <= 14
    first = found.scores[inside & ~found.special].sum()
    np.testing.assert_allclose(sentences.scores[1], first, rtol=1e-5)
    spans = found.by([(15, 24), (0, 7)])
    assert spans.tokens == ("The plot", "A great")
    assert spans.unit == "span"
    words = dict(zip(found.words().tokens, found.words().scores.tolist(), strict=True))
    np.testing.assert_allclose(
        spans.scores, [words["The"] + words["plot"], words["A"] + words["great"]], rtol=1e-5
    )


@pytest.mark.parametrize("span", [(0, 0), (5, 3), (-1, 3), (0, 99)])
def test_spans_outside_of_the_text(found: Attribution, span: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="span"):
        found.by([span])
    with pytest.raises(InputError, match="holds no token"):
        found.by([(14, 15)])


def test_spans_of_the_second_text_of_a_pair(explainer: Explainer) -> None:
    pair = explainer.explain(("A great movie.", "The plot is a mess."))
    (second,) = pair.by([(4, 8)], segment=1).tokens
    assert second == "plot"


def test_ranking_leaves_special_tokens_out(found: Attribution) -> None:
    ranked = found.words().top(100)
    assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)
    assert not {"<s>", "</s>"} & {t for t, _ in ranked}
    assert {"<s>", "</s>"} <= {t for t, _ in found.words().top(100, special=True)}
    assert len(found.top(2)) == 2


def test_ranking_by_magnitude() -> None:
    result = word_attribution("aa bb cc dd", [0.5, -4.0, 1.0, 3.0])
    assert result.top(3) == [("dd", 3.0), ("cc", 1.0), ("aa", 0.5)]
    assert result.top(3, by="magnitude") == [("bb", -4.0), ("dd", 3.0), ("cc", 1.0)]
    cells = replace(PATCHES, scores=np.array([9, 1, -5, 2, 0], np.float32))
    assert [cell for cell, _ in cells.top(2)] == [(1, 0), (0, 0)]
    assert [cell for cell, _ in cells.top(2, by="magnitude")] == [(0, 1), (1, 0)]
    sound = replace(SOUND, scores=np.array([9, 1, -5, 2, 0], np.float32))
    assert [score for _, score in sound.top(2, by="magnitude")] == [-5.0, 2.0]
    with pytest.raises(OptionError, match="by must be one of score, magnitude"):
        result.top(by="size")


def test_several_targets_and_layers(explainer: Explainer, found: Attribution) -> None:
    many = explainer.explain(TEXT, target=["LABEL_2", 0], layer="all")
    assert many.axes == ("target", "layer")
    assert many.scores.shape == (2, 2, len(found))
    one = explainer.explain(TEXT, target=0, layer=1)
    np.testing.assert_allclose(many.select(target="LABEL_0", layer=1).scores, one.scores, rtol=1e-5)
    np.testing.assert_allclose(
        many.words().select(target=0).select(layer=1).scores, one.words().scores, rtol=1e-5
    )
    assert [(a.target.id, a.layers) for a in many.single()] == [
        (2, (1,)),
        (2, (2,)),
        (0, (1,)),
        (0, (2,)),
    ]
    with pytest.raises(OptionError, match="2 targets"):
        _ = many.target
    with pytest.raises(OptionError, match="axes target, layer"):
        many.top(3)
    with pytest.raises(OptionError, match="not among"):
        many.select(target="LABEL_1")
    with pytest.raises(OptionError, match="not among"):
        many.select(layer=7)
    lone = explainer.explain(TEXT, target=["LABEL_2"])
    assert lone.scores.shape == (1, len(found))
    assert lone.top(1) == explainer.explain(TEXT, target=2).top(1)


@pytest.mark.parametrize("unit", ["tokens", "words", "layers"])
def test_saved_and_loaded_is_the_same(
    explainer: Explainer, found: Attribution, unit: str, tmp_path: Path
) -> None:
    whole = {
        "tokens": found,
        "words": found.words(),
        "layers": explainer.explain(TEXT, target="all", layer="all"),
    }[unit]
    path = tmp_path / "a.json"
    whole.save(path)
    loaded = Attribution.load(path)
    assert loaded.to_dict() == whole.to_dict() == json.loads(path.read_text("utf-8"))
    np.testing.assert_array_equal(loaded.scores, whole.scores)
    assert loaded.tokens == whole.tokens
    assert loaded.prediction == whole.prediction
    assert loaded.provenance == whole.provenance
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_cannot_be_loaded(found: Attribution, tmp_path: Path) -> None:
    other = {**found.to_dict(), "schema": "normxlogit/attribution/99"}
    with pytest.raises(InputError, match="schema"):
        Attribution.from_dict(other)
    part = found.to_dict()
    del part["scores"]
    with pytest.raises(InputError, match="scores"):
        Attribution.from_dict(part)
    for name, content in {"a.json": "{", "b.json": "[1]", "c.json": "\xff"}.items():
        (tmp_path / name).write_text(content, "latin-1")
        with pytest.raises(InputError):
            Attribution.load(tmp_path / name)
    with pytest.raises(InputError):
        Attribution.load(tmp_path / "none.json")


def test_saving_keeps_what_was_there_if_it_fails(
    found: Attribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        found.save(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(InputError, match="cannot write"):
        found.save(tmp_path / "no" / "such" / "a.json")
