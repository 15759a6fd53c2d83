"""An exported graph says what `explain` says, for each architecture."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from normxlogit import Attribution, Explainer, ModelError, UnsupportedHeadError, export
from normxlogit.exporting.exported import load_exported
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.models import causal_lm, token_classifier
from tests.helpers.paths import SHARED

ENCODERS = (
    *("bert", "roberta", "distilbert", "deberta-v2", "modernbert", "electra"),
    *("xlm-roberta", "albert"),
)
DECODERS = ("gpt2", "llama", "qwen2", "qwen3")

TEXTS: list[Any] = [
    "bad",
    "A great movie with poor performers.",
    ("premise one two", "hypothesis three four five six seven"),
    "The plot is not bad at all; the acting, however, is a mess. Don't watch it twice, 我喜欢!",
    "twice",
]


def assert_same(actual: Any, expected: Any, relative: float = 1e-4) -> None:
    """Hold a result against another of the same text, number by number."""
    assert isinstance(actual, Attribution)
    assert isinstance(expected, Attribution)
    for name in ("texts", "tokens", "axes", "layers", "messages", "unit"):
        assert getattr(actual, name) == getattr(expected, name), name
    for name in ("special", "offsets", "segments", "word_numbers"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
    for name in ("scores", "logits", "norms"):
        values, others = getattr(actual, name), getattr(expected, name)
        assert (values is None) == (others is None), name
        if others is not None:
            scale = np.nanmax(np.abs(others))
            np.testing.assert_allclose(values, others, rtol=0, atol=relative * scale)
    labels = [(t.label, t.id) for t in actual.targets]
    assert labels == [(t.label, t.id) for t in expected.targets]
    outputs, others = (
        np.array([[o.logit, o.probability or 0.0] for o in a.prediction.outputs])
        for a in (actual, expected)
    )
    np.testing.assert_allclose(outputs, others, rtol=0, atol=relative * np.abs(others).max())
    predicted = [t.id for t in actual.prediction.predicted]
    assert predicted == [t.id for t in expected.prediction.predicted]
    assert (actual.base is None) == (expected.base is None)
    if actual.base is not None and expected.base is not None:
        np.testing.assert_allclose(actual.base, expected.base, rtol=0, atol=1e-4 * scale)
    assert actual.notes.keys() == expected.notes.keys()
    for name, note in expected.notes.items():
        np.testing.assert_allclose(actual.notes[name], note, rtol=relative)


@pytest.mark.parametrize("model_type", [*ENCODERS, *DECODERS])
def test_graph_equals_explain_over_batches_lengths_and_padding(
    model_type: str, tmp_path: Path
) -> None:
    side = "left" if model_type == "qwen3" else "right"
    words = tokenizer(padding_side=side)
    if model_type == "bert":
        words.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    # A layer is enough, as each takes the exporter as long as the one before it.
    explainer = Explainer(classifier(words, model_type, num_hidden_layers=1), words)
    manifest = export(explainer, tmp_path / "graph")
    assert manifest.text.side == side  # texts of different lengths run together
    onnx.checker.check_model(tmp_path / "graph" / "model.onnx", full_check=True)
    exported = load_exported(tmp_path / "graph")
    for texts in ([TEXTS[1]], TEXTS, TEXTS * 3):
        expected = [explainer.explain(text, target="all") for text in texts]
        for actual, one in zip(exported.stream(texts, target="all"), expected, strict=True):
            assert_same(actual, one)


@pytest.mark.parametrize(
    ("problem", "labels"), [("regression", 1), ("multi_label_classification", 3)]
)
def test_ratings_and_several_labels(problem: str, labels: int, tmp_path: Path) -> None:
    words = tokenizer()
    explainer = Explainer(
        classifier(words, "distilbert", labels, problem_type=problem, num_hidden_layers=1), words
    )
    export(explainer, tmp_path / "graph")
    exported = load_exported(tmp_path / "graph")
    for text in TEXTS:
        assert_same(exported.explain(text), explainer.explain(text))
        assert_same(exported.explain(text, threshold=0.2), explainer.explain(text, threshold=0.2))


def test_texts_of_one_length_run_together_where_nothing_pads(tmp_path: Path) -> None:
    words = tokenizer(pad_token=None)
    explainer = Explainer(classifier(words, "gpt2", pad_token_id=None, num_hidden_layers=1), words)
    assert export(explainer, tmp_path / "graph").text.side is None
    for actual, text in zip(load_exported(tmp_path / "graph").stream(TEXTS), TEXTS, strict=True):
        assert_same(actual, explainer.explain(text))


@pytest.mark.parametrize("model_type", ["bart", "t5", "xlnet", "funnel", "longformer"])
def test_what_cannot_be_exported_is_refused_in_one_line(model_type: str, tmp_path: Path) -> None:
    words = tokenizer()
    explainer = Explainer(classifier(words, model_type), words)
    with pytest.raises(ModelError) as error:
        export(explainer, tmp_path / "graph")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [token_classifier, causal_lm])
def test_only_models_of_whole_texts_are_exported(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="only models that classify or rate texts as a whole"):
        export(make(), tmp_path / "graph")


def test_a_custom_head_is_refused(tmp_path: Path) -> None:
    words = tokenizer()
    model: Any = classifier(words, "distilbert")
    own = type(model)

    class Attentive(own):  # type: ignore[misc, valid-type]
        """Reads every token, weighed by its place."""

        def forward(self, input_ids: Any = None, attention_mask: Any = None, **_: Any) -> Any:
            states = self.distilbert(input_ids, attention_mask)[0]
            weights = states[..., :1] * states.new_ones(states.shape[1]).cumsum(0)[:, None]
            return self.classifier((weights.softmax(1) * states).sum(1))

    model.__class__ = Attentive
    with pytest.raises(UnsupportedHeadError) as error:
        export(Explainer(model, words), tmp_path / "graph")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared
@pytest.mark.parametrize("name", ["minilm-sst2", "minilm-stsb"])
def test_trained_models(name: str, tmp_path: Path) -> None:
    explainer = Explainer.from_pretrained(SHARED / "models" / name)
    export(explainer, tmp_path / "graph")
    exported = load_exported(tmp_path / "graph")
    for actual, text in zip(exported.stream(TEXTS), TEXTS, strict=True):
        assert_same(actual, explainer.explain(text))
