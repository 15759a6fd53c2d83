"""Under the caller's autocast everything is what it is without."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_array_equal

import normxlogit as nxl
from normxlogit.model.inference import inference, without_autocast
from tests.helpers.evaluation import TEXTS
from tests.helpers.models import (
    brief_encoder_decoder,
    causal_lm,
    classifier_explainer,
    explainer_with_head,
    image_classifier,
    token_classifier,
)
from tests.helpers.paths import ROOT
from tests.helpers.texts import CONTEXT, CONTINUATION, MASKED, PROMPT, QUESTION

hf: Any = transformers


def explained(results: Any) -> list[Any]:
    """Results as plain data, in a list."""
    return [result.to_dict() for result in (results if isinstance(results, list) else [results])]


def attributed() -> list[Any]:
    explainer = classifier_explainer()
    words: Any = explainer.tokenizer
    result = nxl.attribute(explainer.model, words(TEXTS, padding=True, return_tensors="pt"))
    return [result.scores.tolist(), result.prediction.tolist()]


def streamed() -> list[Any]:
    stream = causal_lm().generate_stream(PROMPT, max_new_tokens=3)
    return explained([*stream, stream.result])


def evaluated() -> list[Any]:
    methods = ["normxlogit", "late_lrp", "random"]
    evaluation = classifier_explainer().evaluate(
        TEXTS, methods=methods, metrics=["soft", "sanity"], draws=1
    )
    return [evaluation.scores.to_pylist(), evaluation.results["sanity"]]


def image() -> list[Any]:
    explainer, pixels = image_classifier()
    return explained(explainer.explain(pixels))


def audio() -> list[Any]:
    # Its extractor multiplies matrices in torch.
    torch.manual_seed(0)
    config = hf.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=64, max_source_positions=100, classifier_proj_size=16, num_labels=3,
    )  # fmt: skip
    model = hf.WhisperForAudioClassification(config).eval()
    with torch.no_grad():
        model.classifier.bias.add_(1)
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    explainer = nxl.Explainer(model, hf.WhisperFeatureExtractor(chunk_length=2))
    return explained(explainer.explain((samples, 16000)))


CALLS: dict[str, Callable[[], list[Any]]] = {
    "classifier": lambda: explained(classifier_explainer().explain(TEXTS)),
    "classifier that pads": lambda: explained(classifier_explainer("llama").explain(TEXTS)),
    "gradients": lambda: explained(
        classifier_explainer().explain(TEXTS, method="gradient_x_input")
    ),
    "decomposition": lambda: explained(classifier_explainer().explain(TEXTS[0], method="alti")),
    "tags": lambda: explained(token_classifier().explain(TEXTS[0], position="great")),
    "answer": lambda: explained(
        explainer_with_head("bert", "question-answering").explain((QUESTION, CONTEXT))
    ),
    "choice": lambda: explained(
        explainer_with_head("bert", "multiple-choice").explain((QUESTION, ["a movie", "a plot"]))
    ),
    "mask": lambda: explained(explainer_with_head("bert", "masked-lm").explain(MASKED)),
    "next token": lambda: explained(causal_lm().explain(PROMPT)),
    "continuation": lambda: explained(causal_lm().explain(PROMPT, target=CONTINUATION)),
    "generate": lambda: explained(causal_lm().generate([PROMPT, "A"], max_new_tokens=3)),
    "encoder-decoder": lambda: explained(brief_encoder_decoder().generate(PROMPT)),
    "stream": streamed,
    "attribute": attributed,
    "corpus": lambda: explained(
        [row.attribution for row in classifier_explainer().corpus(TEXTS)],
    ),
    "evaluate": evaluated,
    "image": image,
    "audio": audio,
}


@pytest.mark.parametrize("name", CALLS)
def test_scores_are_those_without_autocast(name: str) -> None:
    expected = repr(CALLS[name]())  # as text, in which nan is nan
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert repr(CALLS[name]()) == expected
        assert torch.is_autocast_enabled("cpu")  # the caller's, as before


def test_inference_mode_is_entered_in_one_place() -> None:
    entering = {
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"torch\.(inference_mode|no_grad)\(\)", path.read_text("utf-8"))
    }
    # The others run no model, or have left autocast.
    assert entering == {"inference.py", "positions.py", "integrated_gradients.py", "graph.py"}


def test_autocast_is_left_inside_alone() -> None:
    ones = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for outside in (inference, without_autocast):
            with outside():
                assert (ones @ ones).dtype == torch.float32
            assert (ones @ ones).dtype == torch.bfloat16


def test_autocast_would_change_the_model_itself() -> None:
    explainer = classifier_explainer()
    inputs = explainer.encoder().encode(TEXTS[0]).windows[0].inputs
    batch = {name: torch.tensor([values]) for name, values in inputs.items()}
    with torch.no_grad():
        exact = explainer.model(**batch).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = explainer.model(**batch).logits
    assert_array_equal(explainer.explain(TEXTS[0]).prediction.probability, exact.softmax(-1).max())
    assert not torch.equal(exact, rounded.float())
