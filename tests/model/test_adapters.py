"""Adapted models are explained as what they compute."""

from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import numpy as np
import peft
import pytest
import torch
from transformers import PreTrainedModel

import normxlogit as nxl
from normxlogit.errors import UnsupportedHeadError
from tests.helpers.by_hand import generated_scores_by_hand, scores_by_hand
from tests.helpers.random_models import PROMPT, WORDS, inputs_for, random_model, required_options
from tests.helpers.state import assert_unchanged, offloaded_state


def adapted(model: PreTrainedModel, config: peft.PeftConfig, seed: int = 0) -> Any:
    """With an adapter that changes what the model says."""
    with_adapter: Any = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in with_adapter.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise, alpha=0.2)
    return with_adapter.eval()


def lora(*modules: str, **options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(target_modules=list(modules), r=2, **options)


ADAPTERS = {
    "lora": lora("q_proj", "v_proj"),
    "lora on the head": lora("lm_head"),
    "dora": lora("q_proj", "lm_head", use_dora=True),
    "a head of its own": lora("q_proj", modules_to_save=["lm_head"]),
    "ia3": peft.IA3Config(target_modules=["k_proj", "up_proj"], feedforward_modules=["up_proj"]),
    "some tokens": lora("q_proj", trainable_token_indices=[20, 30, 40]),
}

OF_ANY_HEAD = ["lora", "ia3", "some tokens"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    ("adapter", "tied"),
    [*((name, False) for name in ADAPTERS), *((name, True) for name in OF_ANY_HEAD)],
)
def test_adapters_of_a_language_model(adapter: str, tied: bool) -> None:
    model = random_model("llama", tie_word_embeddings=tied)
    inputs = inputs_for(model, "causal-lm")
    bare = scores_by_hand(model, inputs, "causal-lm")
    with_adapter = adapted(model, ADAPTERS[adapter])
    inner = with_adapter.get_base_model()
    expected = scores_by_hand(inner, inputs, "causal-lm")
    assert (expected - bare).abs().max() > 1e-2
    before = offloaded_state(with_adapter)
    torch.testing.assert_close(nxl.attribute(with_adapter, inputs).scores, expected)
    assert_unchanged(before, with_adapter)
    result = nxl.Explainer(with_adapter, WORDS).generate(PROMPT, max_new_tokens=3)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    by_oracle = generated_scores_by_hand(inner, ids, 3).numpy()
    np.testing.assert_allclose(result.scores, by_oracle, rtol=1e-4, atol=1e-5)
    if adapter != "some tokens":
        with with_adapter.disable_adapter():
            torch.testing.assert_close(nxl.attribute(with_adapter, inputs).scores, bare)
    assert_unchanged(before, with_adapter)
    merged = with_adapter.merge_and_unload()
    torch.testing.assert_close(nxl.attribute(merged, inputs).scores, expected)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_each_of_several_adapters() -> None:
    model = random_model("llama", tie_word_embeddings=False)
    inputs = inputs_for(model, "causal-lm")
    with_adapter = adapted(model, ADAPTERS["lora"])
    with_adapter.add_adapter("second", lora("k_proj", "lm_head", init_lora_weights=False))
    found = []
    for name in ("default", "second"):
        with_adapter.set_adapter(name)
        expected = scores_by_hand(with_adapter.get_base_model(), inputs, "causal-lm")
        found.append(nxl.attribute(with_adapter, inputs).scores)
        torch.testing.assert_close(found[-1], expected)
    assert (found[0] - found[1]).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("mapping", ["sequence-classification", "masked-lm"])
def test_adapters_of_a_bert(mapping: str) -> None:
    model = random_model("bert", mapping)
    inputs = inputs_for(model, mapping)
    saved = ["classifier"] if mapping == "sequence-classification" else ["decoder"]
    with_adapter = adapted(model, lora("query", modules_to_save=saved))
    expected = scores_by_hand(with_adapter.get_base_model(), inputs, mapping)
    scores = nxl.attribute(with_adapter, inputs, **required_options(mapping)).scores
    torch.testing.assert_close(scores, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    ],
)
def test_virtual_tokens_are_refused(config: peft.PeftConfig) -> None:
    with_prompt: Any = peft.get_peft_model(random_model("llama"), config)
    with pytest.raises(UnsupportedHeadError, match="virtual tokens"):
        nxl.attribute(with_prompt, inputs_for(random_model("llama"), "causal-lm"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapted_model_that_is_offloaded_and_compiled(tmp_path: Path) -> None:
    model = random_model("llama", tie_word_embeddings=False)
    inputs = inputs_for(model, "causal-lm")
    with_adapter = adapted(model, ADAPTERS["lora on the head"])
    expected = scores_by_hand(with_adapter.get_base_model(), inputs, "causal-lm")
    offloaded = accelerate.disk_offload(with_adapter, str(tmp_path), offload_buffers=True)
    torch.testing.assert_close(nxl.attribute(offloaded, inputs).scores, expected)
    compiled: Any = torch.compile(offloaded, backend="aot_eager")
    torch.testing.assert_close(nxl.attribute(compiled, inputs).scores, expected)
