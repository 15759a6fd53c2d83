"""Offloaded models are explained as the bare ones are."""

import copy
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

import normxlogit as nxl
from normxlogit.errors import ModelError
from tests.helpers.by_hand import generated_scores_by_hand, scores_by_hand
from tests.helpers.documents import code_blocks
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

KINDS = [
    ("bert", "sequence-classification"),
    ("bart", "sequence-classification"),
    ("llama", "sequence-classification"),
    ("bert", "masked-lm"),
    ("gpt2", "causal-lm"),
    ("llama", "causal-lm"),
    ("gemma2", "causal-lm"),
    ("t5", "seq2seq-lm"),
]

kinds = pytest.mark.parametrize(("model_type", "mapping"), KINDS)
generating = pytest.mark.parametrize(("model_type", "mapping"), GENERATING)


# --- device_map: weights in main memory or on disk ---------------------------------------------


def on_cpu(model: PreTrainedModel, _folder: Path) -> Any:
    return accelerate.cpu_offload(model)


def on_disk(model: PreTrainedModel, folder: Path) -> Any:
    return accelerate.disk_offload(model, str(folder), offload_buffers=True)


def in_parts(model: PreTrainedModel, folder: Path) -> Any:
    """Every second module on disk, those between here."""
    places = _device_map(model, "cpu", "disk")
    return accelerate.dispatch_model(
        model, places, main_device="cpu", offload_dir=str(folder), force_hooks=True
    )


def hooked(model: PreTrainedModel, _folder: Path) -> Any:
    """All modules here, with hooks, as they are with several GPUs."""
    places = _device_map(model, "cpu", "cpu")
    return accelerate.dispatch_model(model, places, main_device="cpu", force_hooks=True)


def reloaded(model: PreTrainedModel, folder: Path) -> Any:
    """As users load what is too large for their memory."""
    model.save_pretrained(folder / "model")
    name = type(model).__name__
    for auto, ending in (
        (AutoModelForSequenceClassification, "ForSequenceClassification"),
        (AutoModelForMaskedLM, "ForMaskedLM"),
        (AutoModelForCausalLM, ("ForCausalLM", "LMHeadModel")),
        (AutoModelForSeq2SeqLM, "ForConditionalGeneration"),
    ):
        if name.endswith(ending):
            loaded = auto.from_pretrained(
                folder / "model",
                device_map=_device_map(model, "cpu", "disk"),
                offload_folder=folder / "offload",
            )
            return loaded.eval()
    raise AssertionError(name)


def _device_map(model: PreTrainedModel, here: str, there: str) -> dict[str, Any]:
    """Parts in turn here and there; those that share weights are here, as device maps demand."""
    names: list[str] = []
    counts = Counter(map(id, (p for m in model.modules() for p in m._parameters.values())))

    def part(name: str, module: nn.Module) -> None:
        children = list(module.named_children())
        splits = isinstance(module, (PreTrainedModel, nn.ModuleList))
        if not splits or any(True for _ in module.parameters(recurse=False)) or not children:
            names.append(name)
        else:
            for child, inner in children:
                part(f"{name}.{child}" if name else child, inner)

    part("", model)
    if names == [""]:
        return {"": here}

    def place(number: int, name: str) -> str:
        shares = any(counts[id(p)] > 1 for p in model.get_submodule(name).parameters())
        return there if number % 2 and not shares else here

    return {name: place(number, name) for number, name in enumerate(names)}


WAYS = [on_cpu, on_disk, in_parts, hooked, reloaded]
ways = pytest.mark.parametrize("way", WAYS)


@ways
@kinds
def test_offloaded_models_give_the_scores_of_bare_ones(
    model_type: str, mapping: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    model = random_model(model_type, mapping)
    inputs = inputs_for(model, mapping)
    expected = scores_by_hand(model, inputs, mapping)
    offloaded = way(model, tmp_path)
    assert any(p.is_meta for p in offloaded.parameters()) is (way is not hooked)
    before = offloaded_state(offloaded)
    for _ in range(2):
        result = nxl.attribute(offloaded, inputs, **required_options(mapping))
        torch.testing.assert_close(result.scores, expected, equal_nan=True)
        assert_unchanged(before, offloaded)
    with pytest.raises(nxl.OptionError):
        nxl.attribute(offloaded, inputs, target=10**6, **required_options(mapping))
    with pytest.raises(ModelError, match="could not run"):
        nxl.attribute(offloaded, {**inputs, "input_ids": inputs["input_ids"] + 10**6})
    assert_unchanged(before, offloaded)
    again = nxl.attribute(offloaded, inputs, **required_options(mapping))
    torch.testing.assert_close(again.scores, expected, equal_nan=True)


@pytest.mark.parametrize("way", [on_cpu, in_parts, hooked])
@generating
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")  # of transformers 5.0
def test_offloaded_models_generate_with_the_scores_of_bare_ones(
    model_type: str, mapping: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    model = random_model(model_type, mapping)
    bare = nxl.Explainer(copy.deepcopy(model), WORDS).generate(PROMPT, max_new_tokens=4)
    offloaded = way(model, tmp_path)
    before = offloaded_state(offloaded)
    explainer = nxl.Explainer(offloaded, WORDS)
    result = explainer.generate(PROMPT, max_new_tokens=4)
    assert result.tokens == bare.tokens
    np.testing.assert_allclose(result.scores, bare.scores, rtol=1e-4, atol=1e-5)
    stream = explainer.generate_stream(PROMPT, max_new_tokens=4)
    assert len(list(stream)) == 4
    assert stream.result is not None
    np.testing.assert_allclose(stream.result.scores, bare.scores, rtol=1e-4, atol=1e-5)
    assert_unchanged(before, offloaded)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_generating_against_the_scores_by_hand(model_type: str) -> None:
    model = random_model(model_type)
    result = nxl.Explainer(model, WORDS).generate(PROMPT, max_new_tokens=5)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    expected = generated_scores_by_hand(model, ids, 5)
    np.testing.assert_allclose(result.scores, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "bart"])
@pytest.mark.parametrize("way", [on_disk, reloaded])
def test_offloaded_classifiers_explain_texts(
    model_type: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    model = random_model(model_type, "sequence-classification")
    expected = nxl.Explainer(copy.deepcopy(model), WORDS).explain(PROMPT, norm="word")
    result = nxl.Explainer(way(model, tmp_path), WORDS).explain(PROMPT, norm="word")
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_layers_of_an_offloaded_model(model_type: str, tmp_path: Path) -> None:
    model = random_model(model_type, "sequence-classification")
    inputs = inputs_for(model, "sequence-classification")
    expected = nxl.attribute(model, inputs, layer="all", target="all").scores
    scores = nxl.attribute(in_parts(model, tmp_path), inputs, layer="all", target="all").scores
    torch.testing.assert_close(scores, expected, equal_nan=True)


@pytest.mark.parametrize("way", [on_cpu, on_disk])
def test_threads_with_one_offloaded_model(way: Callable[..., Any], tmp_path: Path) -> None:
    model = random_model("llama")
    batches = [tiny_inputs(model, seed=seed, padding=None) for seed in range(3)]
    expected = [scores_by_hand(model, inputs, "causal-lm") for inputs in batches]
    offloaded = way(model, tmp_path)
    before = offloaded_state(offloaded)
    found: dict[int, Tensor] = {}

    def work(number: int) -> None:
        for _ in range(8):
            found[number] = nxl.attribute(offloaded, batches[number]).scores

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2]
    for number, scores in found.items():
        torch.testing.assert_close(scores, expected[number])
    assert_unchanged(before, offloaded)


def test_an_offloaded_model_in_training_mode(tmp_path: Path) -> None:
    """Dropout does not act, for the copy runs, and not the model that hooks were put on."""
    model = random_model("bert", "sequence-classification")
    inputs = inputs_for(model, "sequence-classification")
    expected = nxl.attribute(model, inputs).scores
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.5
    offloaded = on_disk(model, tmp_path).train()
    torch.testing.assert_close(nxl.attribute(offloaded, inputs).scores, expected, equal_nan=True)
    assert all(m.training for m in offloaded.modules())


@pytest.mark.parametrize(("way", "use"), [(hooked, "sliced"), (on_cpu, "whole")])
def test_a_head_with_hooks_is_sliced_and_one_that_is_elsewhere_is_not(
    way: Callable[..., Any],
    use: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = record_head_use(monkeypatch)
    model = random_model("llama", tie_word_embeddings=False)
    inputs = inputs_for(model, "causal-lm")
    expected = scores_by_hand(model, inputs, "causal-lm")
    torch.testing.assert_close(nxl.attribute(way(model, tmp_path), inputs).scores, expected)
    assert used == {use}


# --- what is refused ---------------------------------------------------------------------------


def test_data_parallel_is_refused_with_the_way_out() -> None:
    model = random_model("bert", "sequence-classification")
    parallel = nn.DataParallel(model)
    with pytest.raises(ModelError, match=r"take it out of its wrapper \(model\.module\)"):
        nxl.attribute(parallel, inputs_for(model, "sequence-classification"))
    nxl.attribute(parallel.module, inputs_for(model, "sequence-classification"))


# --- the documentation -------------------------------------------------------------------------


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    example, _ = code_blocks("docs/large-models.md", "python")
    exec(compile(example, "large-models.md", "exec"), {"folder": tmp_path})
