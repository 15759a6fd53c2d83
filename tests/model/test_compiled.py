"""Compiled models are explained as the bare ones are."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CompileConfig

import normxlogit as nxl
from tests.helpers.by_hand import scores_by_hand
from tests.helpers.random_models import PROMPT, WORDS, inputs_for, random_model, required_options
from tests.helpers.state import assert_unchanged, offloaded_state


def wrapped(model: Any) -> Any:
    return torch.compile(model, backend="aot_eager")


def in_place(model: Any) -> Any:
    model.compile(backend="aot_eager")
    return model


def its_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="aot_eager")
    return model


def its_blocks(model: Any) -> Any:
    for stack in [m for m in model.modules() if isinstance(m, nn.ModuleList)]:
        for block in stack:
            block.forward = torch.compile(block.forward, backend="aot_eager")
            block.compile(backend="aot_eager")
    return model


COMPILED = [wrapped, in_place, its_forward, its_blocks]


@pytest.mark.parametrize("way", COMPILED)
@pytest.mark.parametrize(
    ("model_type", "mapping"),
    [("bert", "sequence-classification"), ("bert", "masked-lm"), ("llama", "causal-lm")],
)
def test_compiled_models(model_type: str, mapping: str, way: Callable[..., Any]) -> None:
    model = random_model(model_type, mapping)
    inputs = inputs_for(model, mapping)
    expected = scores_by_hand(model, inputs, mapping)
    compiled = way(model)
    before = offloaded_state(compiled)
    for mode in (False, True):
        compiled.train(mode)
        result = nxl.attribute(compiled, inputs, **required_options(mapping))
        torch.testing.assert_close(result.scores, expected, equal_nan=True)
    compiled.eval()
    assert_unchanged(before, compiled)


@pytest.mark.parametrize("way", COMPILED)
def test_compiled_models_generate(way: Callable[..., Any]) -> None:
    model = random_model("llama")
    bare = nxl.Explainer(copy.deepcopy(model), WORDS).generate(PROMPT, max_new_tokens=3)
    explainer = nxl.Explainer(way(model), WORDS)
    result = explainer.generate(PROMPT, max_new_tokens=3)
    np.testing.assert_allclose(result.scores, bare.scores, rtol=1e-4, atol=1e-5)
    stream = explainer.generate_stream(PROMPT, max_new_tokens=3)
    assert [token.targets[0].id for token in stream] == [target.id for target in bare.targets]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_a_static_cache(model_type: str) -> None:
    explainer = nxl.Explainer(random_model(model_type), WORDS)
    expected = explainer.generate(PROMPT, max_new_tokens=4)
    result = explainer.generate(PROMPT, max_new_tokens=4, cache_implementation="static")
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4, atol=1e-5)


def test_generating_is_not_compiled() -> None:
    """transformers compiles decoding with a static cache on a GPU, and on a CPU if told to."""
    explainer = nxl.Explainer(random_model("llama"), WORDS)
    expected = explainer.generate(PROMPT, max_new_tokens=4)
    told: Any = CompileConfig(backend="aot_eager", fullgraph=True)
    told._compile_all_devices = True
    result = explainer.generate(
        PROMPT, max_new_tokens=4, cache_implementation="static", compile_config=told
    )
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4, atol=1e-5)
