"""The same text gives the same scores, whatever padding or batch is around it, and nothing of the
user's is changed."""

import copy
import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedTokenizerBase

import normxlogit as nxl
from normxlogit.errors import ModelError, NormXLogitError, UnsupportedHeadError
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.state import model_state
from tests.helpers.zoo import tiny_inputs, tiny_model

TEXTS = [
    "A great movie with poor performers.",
    "Good.",
    "I didn't like it, but the acting is not bad at all, and they're unbelievably good in it!",
    "The plot is a mess.",
]
ARCHITECTURES = [
    "bert", "roberta", "deberta-v2", "albert", "distilbert", "modernbert", "llama", "gpt2",
    "bloom", "xlnet", "fnet", "bart", "t5",
]  # fmt: skip


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_alone_equals_batched_and_padded_on_either_side(model_type: str, side: str) -> None:
    words = tokenizer(padding_side=side)
    explainer = nxl.Explainer(classifier(words, model_type), words)
    together = explainer.explain(TEXTS, batch_size=len(TEXTS))
    for text, result in zip(TEXTS, together, strict=True):
        alone = explainer.explain(text)
        assert isinstance(result, nxl.Attribution)
        assert result.tokens == alone.tokens
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-5, atol=1e-5)
        assert result.prediction.id == alone.prediction.id


def test_a_list_of_one_and_of_a_hundred(explainer: nxl.Explainer) -> None:
    many = explainer.explain([TEXTS[i % len(TEXTS)] for i in range(100)], batch_size=8)
    for index, text in enumerate(TEXTS):
        (one,) = explainer.explain([text])
        for result in many[index :: len(TEXTS)]:
            assert isinstance(one, nxl.Attribution)
            assert isinstance(result, nxl.Attribution)
            assert result.text == text
            np.testing.assert_allclose(result.scores, one.scores, rtol=1e-5, atol=1e-5)


def test_a_stream_that_breaks_loses_nothing_before(explainer: nxl.Explainer) -> None:
    def texts() -> Any:
        yield from TEXTS
        raise ConnectionError("gone")

    results = explainer.stream(texts(), batch_size=3)
    found = [next(results) for _ in TEXTS]
    assert [r.text for r in found if isinstance(r, nxl.Attribution)] == TEXTS
    with pytest.raises(ConnectionError):
        next(results)


def test_a_stream_reads_no_further_ahead_than_sixteen_batches(explainer: nxl.Explainer) -> None:
    read = []

    def texts() -> Any:
        for number in range(1000):
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    results = explainer.stream(texts(), batch_size=2)
    first = [next(results) for _ in range(3)]
    assert [r.text for r in first if isinstance(r, nxl.Attribution)] == TEXTS[:3]
    assert len(read) == 2 + 32


@pytest.mark.parametrize("model_type", ["bert", "llama", "xlnet"])
def test_a_batch_as_large_as_it_is_long(model_type: str) -> None:
    """XLNet's blocks see [sequence, batch, hidden], which a square batch does not show."""
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=7, length=7, padding=None)
    square = nxl.attribute(model, inputs)
    for row in range(7):
        alone = nxl.attribute(model, {key: value[row : row + 1] for key, value in inputs.items()})
        assert square.norms is not None
        torch.testing.assert_close(square.norms[row : row + 1], alone.norms)
        torch.testing.assert_close(square.scores[row : row + 1], alone.scores)


@pytest.mark.parametrize("model_type", ["bert", "llama", "deberta-v2"])
def test_bfloat16_ranks_like_float32(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=8, length=24, padding=None)
    full = nxl.attribute(model, inputs, target=torch.zeros(8, dtype=torch.int64)).scores
    half = nxl.attribute(
        copy.deepcopy(model).bfloat16(), inputs, target=torch.zeros(8, dtype=torch.int64)
    ).scores
    assert half.dtype == torch.float32
    for a, b in zip(full, half, strict=True):
        ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).float()
        assert torch.corrcoef(ranks)[0, 1] > 0.95


def test_padding_is_tried_again_where_a_model_computes_otherwise_from_a_length_on() -> None:
    """Phi-3's long rotary factors apply to a whole batch, once its longest row needs them."""
    words = tokenizer(model_max_length=128)
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 32,
    }
    model = classifier(
        words,
        "phi3",
        rope_parameters=rope,
        original_max_position_embeddings=32,
        max_position_embeddings=128,
    )
    explainer = nxl.Explainer(model, words)
    explainer.explain(TEXTS[:2])
    alone = explainer.explain(TEXTS[1]).scores
    beside, _ = explainer.explain([TEXTS[1], "one two three " * 25])
    assert isinstance(beside, nxl.Attribution)
    np.testing.assert_allclose(beside.scores, alone, rtol=1e-5, atol=1e-5)


def test_nothing_is_kept_alive_after_a_call() -> None:
    """Without the cyclic garbage collector, which does not run when a GPU's memory is short."""
    model = tiny_model("bert")
    inputs = tiny_inputs(model)

    def tensors() -> int:
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    nxl.attribute(model, inputs, layer="all")
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        for _ in range(5):
            nxl.attribute(model, inputs, layer="all")
            with pytest.raises(nxl.OptionError):
                nxl.attribute(model, inputs, target=9)
        assert tensors() <= before + 3
    finally:
        gc.enable()


def test_threads_with_one_model_get_what_one_gets(explainer: nxl.Explainer) -> None:
    expected = [explainer.explain(text).scores for text in TEXTS]
    found: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        found[number] = [explainer.explain(text).scores for _ in range(5) for text in TEXTS]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    for scores in found.values():
        for index, score in enumerate(scores):
            np.testing.assert_allclose(score, expected[index % len(TEXTS)], rtol=1e-6)


def raises_unknown_label(model: nn.Module, inputs: dict[str, Any]) -> None:
    with pytest.raises(nxl.OptionError):
        nxl.attribute(model, inputs, target="no such label")


def raises_inside_the_forward(model: nn.Module, inputs: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="could not run"):
        nxl.attribute(model, {**inputs, "input_ids": inputs["input_ids"] + 10**6})


def explains_with_labels(model: nn.Module, inputs: dict[str, Any]) -> None:
    nxl.attribute(model, {**inputs, "labels": torch.zeros(2, 3)})


def explains(model: nn.Module, inputs: dict[str, Any]) -> None:
    nxl.attribute(model, inputs, target="all", layer="all")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "call", [explains, explains_with_labels, raises_unknown_label, raises_inside_the_forward]
)
@pytest.mark.parametrize("model_type", ["bert", "llama", "big_bird", "xlnet", "bart", "gpt2"])
def test_the_model_is_as_it_was(
    model_type: str, call: Callable[[nn.Module, dict[str, Any]], None], mode: str
) -> None:
    model = tiny_model(model_type).train(mode == "train")
    inputs = tiny_inputs(model, padding=None)
    kept = {key: value.clone() for key, value in inputs.items()}
    before = model_state(model)
    call(model, inputs)
    after = model_state(model)
    assert {key for key in before if before[key] != after.get(key)} == set()
    assert before.keys() == after.keys()
    assert all(torch.equal(inputs[key], kept[key]) for key in kept)


def test_the_tokenizer_is_as_it_was() -> None:
    words = tokenizer(padding_side="left", truncation_side="left")
    inner = words.backend_tokenizer
    inner.enable_truncation(5)
    inner.enable_padding(length=9)
    before = (inner.to_str(), {k: repr(v) for k, v in words.__dict__.items() if k != "_tokenizer"})
    explainer = nxl.Explainer(classifier(words), words)
    explainer.explain([*TEXTS, "", "good " * 100])
    explainer.explain("good " * 100, long="window")
    after = (inner.to_str(), {k: repr(v) for k, v in words.__dict__.items() if k != "_tokenizer"})
    assert before == after
    assert len(explainer.explain(TEXTS[2])) > 9


@pytest.mark.parametrize("model_type", ["bert", "albert", "llama", "deberta-v2"])
def test_dropout_does_not_act_in_training_mode(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, padding=None)
    expected = nxl.attribute(model, inputs).scores
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.5
    model.train()
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, expected)
    assert all(m.training for m in model.modules())


def test_no_pad_token() -> None:
    words = tokenizer(pad_token=None)
    model = classifier(words, "llama", pad_token_id=None)
    explainer = nxl.Explainer(model, words)
    for text, result in zip(TEXTS, explainer.explain(TEXTS), strict=True):
        assert isinstance(result, nxl.Attribution)
        np.testing.assert_allclose(result.scores, explainer.explain(text).scores, rtol=1e-5)
    padded = tiny_inputs(model, padding="right")
    with pytest.raises(ModelError, match="padding"):
        nxl.attribute(model, padded)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_is_explained_with_its_adapter(wordpiece: PreTrainedTokenizerBase) -> None:
    model = classifier(wordpiece)
    inputs = tiny_inputs(model, padding=None)
    bare = nxl.attribute(model, inputs, target=0).logits
    wrapped = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    found = nxl.attribute(wrapped, inputs, target=0)
    torch.testing.assert_close(found.prediction, wrapped.eval()(**inputs).logits.detach())
    assert bare is not None
    assert found.logits is not None
    assert (found.logits - bare).abs().max() > 1e-3
    merged = wrapped.merge_and_unload()
    torch.testing.assert_close(nxl.attribute(merged, inputs, target=0).scores, found.scores)


def test_compiled_models_are_explained_as_they_are() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model)
    compiled: Any = torch.compile(model, backend="eager")
    torch.testing.assert_close(
        nxl.attribute(compiled, inputs).scores, nxl.attribute(model, inputs).scores, equal_nan=True
    )


def test_a_patched_forward_is_refused() -> None:
    model = tiny_model("bert")
    model.forward = lambda **_inputs: None
    with pytest.raises(UnsupportedHeadError, match="replaced on the instance"):
        nxl.attribute(model, tiny_inputs(model))


def test_padding_that_the_head_would_read_is_refused() -> None:
    model = tiny_model("bert")
    with pytest.raises(nxl.InputError, match="reads a position that is padding"):
        nxl.attribute(model, tiny_inputs(model, padding="left"))


def test_errors_are_one_family() -> None:
    for name in ("InputError", "OptionError", "ModelError", "UnsupportedHeadError"):
        assert issubclass(getattr(nxl, name), NormXLogitError)
