"""An exported graph says what `explain` says, for each architecture."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from normxlogit import Explainer, ModelError, UnsupportedHeadError, export
from normxlogit.exporting import graph
from normxlogit.exporting.exported import load_exported
from normxlogit.exporting.manifest import MANIFEST
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.exports import TEXTS, assert_same, signed
from tests.helpers.models import causal_lm, token_classifier
from tests.helpers.paths import SHARED

MODEL_TYPES = (
    *("bert", "distilbert", "deberta-v2", "modernbert", "xlm-roberta", "albert"),
    *("gpt2", "llama", "qwen3"),
)
LIKE_THESE = ("roberta", "electra", "qwen2")
"""Which differ from another in what the exporter does not see."""


@pytest.mark.parametrize(
    "model_type",
    [*MODEL_TYPES, *(pytest.param(name, marks=pytest.mark.slow) for name in LIKE_THESE)],
)
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


def test_all_products_of_blocks_become_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with a bias too, of which GPT-2 has four in a block."""
    words = tokenizer()
    explainer = Explainer(classifier(words, "gpt2", num_hidden_layers=1), words)
    monkeypatch.setattr(graph, "LARGEST", 1)  # weights lie in a file of their own
    manifest = export(explainer, tmp_path / "graph", int8=True)
    nodes = onnx.load(tmp_path / "graph" / "model.onnx").graph.node
    assert [node.op_type for node in nodes].count("MatMulInteger") == 4
    # That of the weights in float32 is gone.
    assert not list((tmp_path / "graph").glob("*.data"))
    assert set(manifest.files) == {p.name for p in (tmp_path / "graph").iterdir()} - {MANIFEST}
    exported = load_exported(tmp_path / "graph")
    together: Any = exported.explain([*TEXTS, *("bad " * n for n in range(1, 20))], target="all")
    for text, answer in zip(TEXTS, together, strict=False):
        assert_same(answer, exported.explain(text, target="all"), 1e-5)


def test_ratings(tmp_path: Path) -> None:
    words = tokenizer()
    explainer = Explainer(classifier(words, "distilbert", 1, num_hidden_layers=1), words)
    export(explainer, tmp_path / "graph")
    for actual, text in zip(load_exported(tmp_path / "graph").stream(TEXTS), TEXTS, strict=True):
        assert_same(actual, explainer.explain(text))


def test_several_labels_at_once(folder: Path, with_head: Explainer, tmp_path: Path) -> None:
    """The graph is that of a model of one label; only what its outputs mean differs."""
    path = shutil.copytree(folder, tmp_path / "copy") / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["problem"] = manifest["model"]["problem"] = "multi_label_classification"
    path.write_text(signed(manifest), "utf-8")
    model = copy.deepcopy(with_head.model)
    model.config.problem_type = "multi_label_classification"
    explainer, exported = Explainer(model, with_head.tokenizer), load_exported(tmp_path / "copy")
    for text in TEXTS:
        for threshold in (0.5, 0.01, 1.0):
            options: Any = {"threshold": threshold, "method": "normxlogit"}
            assert_same(exported.explain(text, **options), explainer.explain(text, **options))


def test_texts_of_one_length_run_together_where_nothing_pads(tmp_path: Path) -> None:
    words = tokenizer(pad_token=None)
    model = classifier(words, "gpt2", pad_token_id=None, num_hidden_layers=1)
    explainer = Explainer(model, words)
    assert export(explainer, tmp_path / "graph").text.side is None
    for actual, text in zip(load_exported(tmp_path / "graph").stream(TEXTS), TEXTS, strict=True):
        assert_same(actual, explainer.explain(text))


@pytest.mark.parametrize("model_type", ["bart", "t5", "funnel", "longformer"])
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
