"""Models of int8 and 16-bit weights are explained as what they compute."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchao import quantization
from transformers import PreTrainedModel

import normxlogit as nxl
from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.heads.replay import Replay
from tests.helpers.by_hand import generated_scores_by_hand, scores_by_hand
from tests.helpers.head_use import record_head_use
from tests.helpers.random_models import (
    GENERATING,
    PROMPT,
    WORDS,
    inputs_for,
    random_model,
    required_options,
)
from tests.helpers.state import assert_unchanged, offloaded_state
from tests.helpers.zoo import tiny_inputs

# --- weights of few bits -----------------------------------------------------------------------


def int8(model: PreTrainedModel, *, head: bool) -> PreTrainedModel:
    """With all linear layers quantised by torchao, or all but the head."""
    kept = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    quantization.quantize_(
        model,
        quantization.Int8WeightOnlyConfig(version=2),
        filter_fn=lambda module, _: isinstance(module, nn.Linear) and (head or module is not kept),
    )
    return model


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_int8_weights(model_type: str, head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used = record_head_use(monkeypatch)
    model = random_model(model_type, tie_word_embeddings=False)
    inputs = inputs_for(model, "causal-lm")
    bare = scores_by_hand(model, inputs, "causal-lm")
    quantised = int8(model, head=head)
    expected = scores_by_hand(quantised, inputs, "causal-lm")
    before = offloaded_state(quantised)
    scores = nxl.attribute(quantised, inputs).scores
    assert used == {"whole" if head else "sliced"}
    assert_unchanged(before, quantised)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    if head or model_type == "llama":  # GPT-2's other layers are no nn.Linear
        assert (scores - bare).abs().max() > 1e-3
    result = nxl.Explainer(quantised, WORDS).generate(PROMPT, max_new_tokens=3)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    by_oracle = generated_scores_by_hand(quantised, ids, 3).numpy()
    np.testing.assert_allclose(result.scores, by_oracle, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mapping", ["sequence-classification", "masked-lm"])
def test_int8_weights_of_a_bert(mapping: str) -> None:
    model = random_model("bert", mapping)
    inputs = inputs_for(model, mapping)
    quantised = int8(model, head=True)
    expected = scores_by_hand(quantised, inputs, mapping)
    scores = nxl.attribute(quantised, inputs, **required_options(mapping)).scores
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


# --- weights of 16 bits ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "qwen2", "opt", "bloom"])
def test_half_precision_is_near_float32(model_type: str, dtype: torch.dtype) -> None:
    """Over eight seeds: nothing is refused, and errors are those of rounding.

    A step of rounding is 2^-9 of a number in bfloat16 and 2^-12 in float16; over some tens of
    operations between the embeddings and the logits they add up to several times that, relative
    to the largest score of a row.
    """
    config: dict[str, Any] = {"vocab_size": 1200}
    if model_type != "bloom":
        config["n_positions" if model_type == "gpt2" else "max_position_embeddings"] = 128
    within = 16 * 2.0 ** (-9 if dtype == torch.bfloat16 else -12)
    for seed in range(8):
        full = random_model(model_type, seed=seed, **config)
        inputs = tiny_inputs(full, length=70, seed=seed, padding=None)
        with torch.no_grad():
            target = full(**inputs).logits[:, -1].argmax(-1)
        expected = nxl.attribute(full, inputs, target=target).scores
        narrow: Any = copy.deepcopy(full)
        half = nxl.attribute(narrow.to(dtype), inputs, target=target).scores
        assert half.dtype == torch.float32
        assert half.isfinite().all()
        difference = (half - expected).abs().amax(-1) / expected.abs().amax(-1)
        assert difference.max() < within, seed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("model_type", "mapping"), [*GENERATING, ("gemma2", "causal-lm")])
def test_half_precision_generates(model_type: str, mapping: str, dtype: torch.dtype) -> None:
    for seed in range(4):
        model: Any = random_model(model_type, mapping, seed=seed)
        result = nxl.Explainer(model.to(dtype), WORDS).generate(PROMPT, max_new_tokens=6)
        known = np.tril(np.ones_like(result.scores, bool), result.scores.shape[1] - 7)
        assert np.isfinite(result.scores[known]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_a_wrong_head_is_caught_in_any_precision(
    model_type: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off by a tenth of the logits: above all rounding, below what a picture would show."""
    alone = Replay.alone
    models: list[Any] = [random_model(model_type, seed=seed, vocab_size=1200) for seed in range(4)]
    inputs = tiny_inputs(models[0], length=64, padding=None)
    for model in models:
        nxl.attribute(model.to(dtype), inputs)
    monkeypatch.setattr(
        Replay, "alone", lambda self, vectors, rows: alone(self, vectors, rows) * 0.9
    )
    for model in models:
        with pytest.raises(UnsupportedHeadError, match="does not give"):
            nxl.attribute(model, inputs)
