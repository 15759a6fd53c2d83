"""Offloaded, half, quantised, adapted and compiled models are explained as the bare ones are."""

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import accelerate  # type: ignore[import-untyped]
import numpy as np
import peft
import pytest
import torch
from torch import Tensor, nn
from torchao import quantization
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    CompileConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

import normxlogit as nxl
from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.model.replay import Replay, VocabularyHead
from normxlogit.model.vocabulary import Vocabulary
from tests.helpers.builders import tokenizer
from tests.helpers.documents import code_blocks
from tests.helpers.zoo import Padding, tiny_inputs, tiny_model

WORDS = tokenizer()
PROMPT = "A great movie with poor performers."

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
GENERATING = [("llama", "causal-lm"), ("gpt2", "causal-lm"), ("t5", "seq2seq-lm")]

kinds = pytest.mark.parametrize(("model_type", "mapping"), KINDS)
generating = pytest.mark.parametrize(("model_type", "mapping"), GENERATING)


def tiny(
    model_type: str, mapping: str = "causal-lm", seed: int = 0, **config: Any
) -> PreTrainedModel:
    """A random model, of which some weights are tied if its type ties them."""
    config = {"vocab_size": len(WORDS), **config}
    model = tiny_model(model_type, mapping=mapping, seed=seed, **config)
    if model.can_generate():
        model.generation_config.pad_token_id = 1
        model.generation_config.eos_token_id = None
    return model


def asked(mapping: str) -> dict[str, Any]:
    return {"position": 1} if mapping == "masked-lm" else {}


def given(model: PreTrainedModel, mapping: str) -> dict[str, Tensor]:
    side: Padding | None = "right" if mapping == "sequence-classification" else None
    return tiny_inputs(model, mapping=mapping, padding=side)


def by_hand(model: Any, inputs: dict[str, Tensor], mapping: str) -> Any:
    """||x^0|| times all the logits of each token's state, for the largest logit."""
    with torch.no_grad():
        said = model(**inputs, output_hidden_states=True)
        if mapping == "sequence-classification":
            return _pooled_by_hand(model, inputs, said)
        if mapping == "seq2seq-lm":
            of_source = _decoded_by_hand(model, said.encoder_last_hidden_state)
            hot = torch.cat([of_source, said.logits], 1)
            zero = torch.cat([said.encoder_hidden_states[0], said.decoder_hidden_states[0]], 1)
        else:
            hot, zero = said.logits, said.hidden_states[0]
    own = said.logits[:, 1 if mapping == "masked-lm" else -1]
    of_target = hot.gather(-1, own.argmax(-1)[:, None, None].expand(-1, hot.shape[1], 1))[..., 0]
    return zero.norm(dim=-1) * of_target


def _decoded_by_hand(model: Any, states: Tensor) -> Any:
    if model.config.model_type == "bart":
        return model.lm_head(states) + model.final_logits_bias
    if model.config.scale_decoder_outputs:
        states = states * model.config.d_model**-0.5
    return model.lm_head(states)


def _pooled_by_hand(model: Any, inputs: dict[str, Tensor], said: Any) -> Any:
    states = said.get("hidden_states", said.get("decoder_hidden_states"))
    if model.config.model_type == "bert":
        pooled = torch.tanh(model.bert.pooler.dense(states[-1]))
        hot = model.classifier(pooled)
    elif model.config.model_type == "bart":
        hot = model.classification_head(states[-1])
    else:
        hot = model.score(states[-1])
    of_target = hot.gather(-1, said.logits.argmax(-1)[:, None, None].expand(-1, hot.shape[1], 1))
    scores = states[0].norm(dim=-1) * of_target[..., 0]
    return scores.masked_fill(inputs["attention_mask"] == 0, torch.nan)


def generated_by_hand(model: PreTrainedModel, ids: list[int], count: int) -> Tensor:
    """Scores of a causal language model for the last `count` ids, [count, ids]; nan after."""
    whole = torch.tensor([ids])
    with torch.no_grad():
        said = model(input_ids=whole, output_hidden_states=True)
    norms = said.hidden_states[0][0].norm(dim=-1)
    scores = torch.full((count, len(ids)), torch.nan)
    for row, position in enumerate(range(len(ids) - count, len(ids))):
        scores[row, :position] = norms[:position] * said.logits[0, :position, ids[position]]
    return scores


def everything(model: nn.Module) -> dict[str, Any]:
    """What can be told of a model without loading what is offloaded."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            where = f"{name}.{key}"
            if isinstance(value, (dict, set, list)):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                state[where] = [(k, id(v)) for k, v in items]
            else:
                state[where] = (type(value), value if isinstance(value, (int, str)) else id(value))
        for hook in _hooks(vars(module).get("_hf_hook")):
            state[f"{name} hook {id(hook)}"] = {
                key: _inside(value) for key, value in vars(hook).items() if key != "weights_map"
            }
        tensors = [*module._parameters.items(), *module._buffers.items()]
        for key, tensor in tensors:
            if tensor is not None:
                place = tensor.device
                seen = tensor.is_inference() or type(tensor.data) is not Tensor
                pointer = 0 if place.type == "meta" or seen else tensor.data_ptr()
                version = 0 if tensor.is_inference() else tensor._version
                state[f"tensor {name}.{key}"] = (id(tensor), place, version, pointer)
    state["config"] = copy.deepcopy(getattr(model, "config", nn.Module()).__dict__)
    return state


def _hooks(hook: Any) -> Iterator[Any]:
    if hook is not None:
        yield hook
        for inner in getattr(hook, "hooks", ()):
            yield from _hooks(inner)


def _inside(value: Any) -> Any:
    return {k: _inside(v) for k, v in value.items()} if isinstance(value, dict) else repr(value)


def assert_as_it_was(before: dict[str, Any], model: nn.Module) -> None:
    after = everything(model)
    assert {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == set()


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
    model = tiny(model_type, mapping)
    inputs = given(model, mapping)
    expected = by_hand(model, inputs, mapping)
    offloaded = way(model, tmp_path)
    assert any(p.is_meta for p in offloaded.parameters()) is (way is not hooked)
    before = everything(offloaded)
    for _ in range(2):
        found = nxl.attribute(offloaded, inputs, **asked(mapping))
        torch.testing.assert_close(found.scores, expected, equal_nan=True)
        assert_as_it_was(before, offloaded)
    with pytest.raises(nxl.OptionError):
        nxl.attribute(offloaded, inputs, target=10**6, **asked(mapping))
    with pytest.raises(ModelError, match="could not run"):
        nxl.attribute(offloaded, {**inputs, "input_ids": inputs["input_ids"] + 10**6})
    assert_as_it_was(before, offloaded)
    again = nxl.attribute(offloaded, inputs, **asked(mapping))
    torch.testing.assert_close(again.scores, expected, equal_nan=True)


@pytest.mark.parametrize("way", [on_cpu, in_parts, hooked])
@generating
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")  # of transformers 5.0
def test_offloaded_models_generate_with_the_scores_of_bare_ones(
    model_type: str, mapping: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    model = tiny(model_type, mapping)
    bare = nxl.Explainer(copy.deepcopy(model), WORDS).generate(PROMPT, max_new_tokens=4)
    offloaded = way(model, tmp_path)
    before = everything(offloaded)
    explainer = nxl.Explainer(offloaded, WORDS)
    found = explainer.generate(PROMPT, max_new_tokens=4)
    assert found.tokens == bare.tokens
    np.testing.assert_allclose(found.scores, bare.scores, rtol=1e-4, atol=1e-5)
    stream = explainer.generate_stream(PROMPT, max_new_tokens=4)
    assert len(list(stream)) == 4
    assert stream.result is not None
    np.testing.assert_allclose(stream.result.scores, bare.scores, rtol=1e-4, atol=1e-5)
    assert_as_it_was(before, offloaded)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_generating_against_the_scores_by_hand(model_type: str) -> None:
    model = tiny(model_type)
    result = nxl.Explainer(model, WORDS).generate(PROMPT, max_new_tokens=5)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    expected = generated_by_hand(model, ids, 5)
    np.testing.assert_allclose(result.scores, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "bart"])
@pytest.mark.parametrize("way", [on_disk, reloaded])
def test_offloaded_classifiers_explain_texts(
    model_type: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    model = tiny(model_type, "sequence-classification")
    expected = nxl.Explainer(copy.deepcopy(model), WORDS).explain(PROMPT, norm="word")
    found = nxl.Explainer(way(model, tmp_path), WORDS).explain(PROMPT, norm="word")
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_layers_of_an_offloaded_model(model_type: str, tmp_path: Path) -> None:
    model = tiny(model_type, "sequence-classification")
    inputs = given(model, "sequence-classification")
    expected = nxl.attribute(model, inputs, layer="all", target="all").scores
    found = nxl.attribute(in_parts(model, tmp_path), inputs, layer="all", target="all").scores
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("way", [on_cpu, on_disk])
def test_threads_with_one_offloaded_model(way: Callable[..., Any], tmp_path: Path) -> None:
    model = tiny("llama")
    batches = [tiny_inputs(model, seed=seed, padding=None) for seed in range(3)]
    expected = [by_hand(model, inputs, "causal-lm") for inputs in batches]
    offloaded = way(model, tmp_path)
    before = everything(offloaded)
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
    assert_as_it_was(before, offloaded)


def test_an_offloaded_model_in_training_mode(tmp_path: Path) -> None:
    """Dropout does not act, for the copy runs, and not the model that hooks were put on."""
    model = tiny("bert", "sequence-classification")
    inputs = given(model, "sequence-classification")
    expected = nxl.attribute(model, inputs).scores
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.5
    offloaded = on_disk(model, tmp_path).train()
    torch.testing.assert_close(nxl.attribute(offloaded, inputs).scores, expected, equal_nan=True)
    assert all(m.training for m in offloaded.modules())


def heads_used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Whether heads were sliced, used whole, or both, one after the other."""
    used: set[str] = set()
    only, each = Vocabulary.only, VocabularyHead.each

    def sliced(self: Vocabulary, *args: Any) -> Any:
        used.add("sliced")
        return only(self, *args)

    def whole(self: VocabularyHead, *args: Any) -> Any:
        used.add("whole")
        return each(self, *args)

    monkeypatch.setattr(Vocabulary, "only", sliced)
    monkeypatch.setattr(VocabularyHead, "each", whole)
    return used


@pytest.mark.parametrize(("way", "use"), [(hooked, "sliced"), (on_cpu, "whole")])
def test_a_head_with_hooks_is_sliced_and_one_that_is_elsewhere_is_not(
    way: Callable[..., Any],
    use: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = heads_used(monkeypatch)
    model = tiny("llama", tie_word_embeddings=False)
    inputs = given(model, "causal-lm")
    expected = by_hand(model, inputs, "causal-lm")
    torch.testing.assert_close(nxl.attribute(way(model, tmp_path), inputs).scores, expected)
    assert used == {use}


# --- torch.compile -----------------------------------------------------------------------------


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
    model = tiny(model_type, mapping)
    inputs = given(model, mapping)
    expected = by_hand(model, inputs, mapping)
    compiled = way(model)
    before = everything(compiled)
    for mode in (False, True):
        compiled.train(mode)
        found = nxl.attribute(compiled, inputs, **asked(mapping))
        torch.testing.assert_close(found.scores, expected, equal_nan=True)
    compiled.eval()
    assert_as_it_was(before, compiled)


@pytest.mark.parametrize("way", COMPILED)
def test_compiled_models_generate(way: Callable[..., Any]) -> None:
    model = tiny("llama")
    bare = nxl.Explainer(copy.deepcopy(model), WORDS).generate(PROMPT, max_new_tokens=3)
    explainer = nxl.Explainer(way(model), WORDS)
    found = explainer.generate(PROMPT, max_new_tokens=3)
    np.testing.assert_allclose(found.scores, bare.scores, rtol=1e-4, atol=1e-5)
    stream = explainer.generate_stream(PROMPT, max_new_tokens=3)
    assert [token.targets[0].id for token in stream] == [target.id for target in bare.targets]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_a_static_cache(model_type: str) -> None:
    explainer = nxl.Explainer(tiny(model_type), WORDS)
    expected = explainer.generate(PROMPT, max_new_tokens=4)
    found = explainer.generate(PROMPT, max_new_tokens=4, cache_implementation="static")
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


def test_generating_is_not_compiled() -> None:
    """transformers compiles decoding with a static cache on a GPU, and on a CPU if told to."""
    explainer = nxl.Explainer(tiny("llama"), WORDS)
    expected = explainer.generate(PROMPT, max_new_tokens=4)
    told: Any = CompileConfig(backend="aot_eager", fullgraph=True)
    told._compile_all_devices = True
    found = explainer.generate(
        PROMPT, max_new_tokens=4, cache_implementation="static", compile_config=told
    )
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


# --- PEFT --------------------------------------------------------------------------------------


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
    model = tiny("llama", tie_word_embeddings=tied)
    inputs = given(model, "causal-lm")
    bare = by_hand(model, inputs, "causal-lm")
    with_adapter = adapted(model, ADAPTERS[adapter])
    inner = with_adapter.get_base_model()
    expected = by_hand(inner, inputs, "causal-lm")
    assert (expected - bare).abs().max() > 1e-2
    before = everything(with_adapter)
    torch.testing.assert_close(nxl.attribute(with_adapter, inputs).scores, expected)
    assert_as_it_was(before, with_adapter)
    result = nxl.Explainer(with_adapter, WORDS).generate(PROMPT, max_new_tokens=3)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    by_oracle = generated_by_hand(inner, ids, 3).numpy()
    np.testing.assert_allclose(result.scores, by_oracle, rtol=1e-4, atol=1e-5)
    if adapter != "some tokens":
        with with_adapter.disable_adapter():
            torch.testing.assert_close(nxl.attribute(with_adapter, inputs).scores, bare)
    assert_as_it_was(before, with_adapter)
    merged = with_adapter.merge_and_unload()
    torch.testing.assert_close(nxl.attribute(merged, inputs).scores, expected)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_each_of_several_adapters() -> None:
    model = tiny("llama", tie_word_embeddings=False)
    inputs = given(model, "causal-lm")
    with_adapter = adapted(model, ADAPTERS["lora"])
    with_adapter.add_adapter("second", lora("k_proj", "lm_head", init_lora_weights=False))
    found = []
    for name in ("default", "second"):
        with_adapter.set_adapter(name)
        expected = by_hand(with_adapter.get_base_model(), inputs, "causal-lm")
        found.append(nxl.attribute(with_adapter, inputs).scores)
        torch.testing.assert_close(found[-1], expected)
    assert (found[0] - found[1]).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("mapping", ["sequence-classification", "masked-lm"])
def test_adapters_of_a_bert(mapping: str) -> None:
    model = tiny("bert", mapping)
    inputs = given(model, mapping)
    saved = ["classifier"] if mapping == "sequence-classification" else ["decoder"]
    with_adapter = adapted(model, lora("query", modules_to_save=saved))
    expected = by_hand(with_adapter.get_base_model(), inputs, mapping)
    found = nxl.attribute(with_adapter, inputs, **asked(mapping)).scores
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    ],
)
def test_virtual_tokens_are_refused(config: peft.PeftConfig) -> None:
    with_prompt: Any = peft.get_peft_model(tiny("llama"), config)
    with pytest.raises(UnsupportedHeadError, match="virtual tokens"):
        nxl.attribute(with_prompt, given(tiny("llama"), "causal-lm"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapted_model_that_is_offloaded_and_compiled(tmp_path: Path) -> None:
    model = tiny("llama", tie_word_embeddings=False)
    inputs = given(model, "causal-lm")
    with_adapter = adapted(model, ADAPTERS["lora on the head"])
    expected = by_hand(with_adapter.get_base_model(), inputs, "causal-lm")
    offloaded = accelerate.disk_offload(with_adapter, str(tmp_path), offload_buffers=True)
    torch.testing.assert_close(nxl.attribute(offloaded, inputs).scores, expected)
    torch.testing.assert_close(nxl.attribute(wrapped(offloaded), inputs).scores, expected)


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
    used = heads_used(monkeypatch)
    model = tiny(model_type, tie_word_embeddings=False)
    inputs = given(model, "causal-lm")
    bare = by_hand(model, inputs, "causal-lm")
    quantised = int8(model, head=head)
    expected = by_hand(quantised, inputs, "causal-lm")
    before = everything(quantised)
    found = nxl.attribute(quantised, inputs).scores
    assert used == {"whole" if head else "sliced"}
    assert_as_it_was(before, quantised)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if head or model_type == "llama":  # GPT-2's other layers are no nn.Linear
        assert (found - bare).abs().max() > 1e-3
    result = nxl.Explainer(quantised, WORDS).generate(PROMPT, max_new_tokens=3)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    by_oracle = generated_by_hand(quantised, ids, 3).numpy()
    np.testing.assert_allclose(result.scores, by_oracle, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mapping", ["sequence-classification", "masked-lm"])
def test_int8_weights_of_a_bert(mapping: str) -> None:
    model = tiny("bert", mapping)
    inputs = given(model, mapping)
    quantised = int8(model, head=True)
    expected = by_hand(quantised, inputs, mapping)
    found = nxl.attribute(quantised, inputs, **asked(mapping)).scores
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


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
        full = tiny(model_type, seed=seed, **config)
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
        model: Any = tiny(model_type, mapping, seed=seed)
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
    models: list[Any] = [tiny(model_type, seed=seed, vocab_size=1200) for seed in range(4)]
    inputs = tiny_inputs(models[0], length=64, padding=None)
    for model in models:
        nxl.attribute(model.to(dtype), inputs)
    monkeypatch.setattr(Replay, "alone", lambda self, vectors: alone(self, vectors) * 0.9)
    for model in models:
        with pytest.raises(UnsupportedHeadError, match="does not give"):
            nxl.attribute(model, inputs)


# --- what stands between the head and the logits -----------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("granite", {"logits_scaling": 7.0}),
        ("cohere", {"logit_scale": 0.3}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False}),
        ("phi", {}),
        ("gptj", {}),
    ],
)
def test_heads_of_causal_models_are_sliced(
    model_type: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = heads_used(monkeypatch)
    model = tiny(model_type, **config)
    inputs = given(model, "causal-lm")
    expected = by_hand(model, inputs, "causal-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, expected)
    assert used == {"sliced"}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_heads_of_encoder_decoders_are_sliced(
    model_type: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = heads_used(monkeypatch)
    model: Any = tiny(model_type, "seq2seq-lm", tie_word_embeddings=tied)
    inputs = given(model, "seq2seq-lm")
    if model_type == "bart":
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    expected = by_hand(model, inputs, "seq2seq-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, expected)
    assert used == {"sliced"}


@pytest.mark.parametrize("vocab_size", [32, 37])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_masked_heads_with_a_bias_as_long_as_another_dimension(
    model_type: str, vocab_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head's own layer norm and dense layer have 32 numbers as well, and are not to be sliced;
    then the sliced head does not agree, and the whole one is used.
    """
    used = heads_used(monkeypatch)
    width = {"dim": 32} if model_type == "distilbert" else {"hidden_size": 32}
    model = tiny(model_type, "masked-lm", vocab_size=vocab_size, **width)
    ids = torch.randint(5, vocab_size, (2, 7), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = by_hand(model, inputs, "masked-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs, position=1).scores, expected)
    assert used == ({"sliced", "whole"} if vocab_size == 32 else {"sliced"})


class Odd(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """A language model whose forward does something to its logits, [batch, sequence, outputs]."""

    odd: Callable[[Tensor], Tensor]

    def forward(self, **inputs: Any) -> Any:
        output: Any = super().forward(**inputs)
        output.logits = self.odd(output.logits)
        return output


def masks_the_first(logits: Tensor) -> Tensor:
    logits[..., :5] = -1e4
    return logits


def masks_some(logits: Tensor) -> Tensor:
    masked = torch.tensor([0, 3, 150])
    logits[..., masked[masked < logits.shape[-1]]] = torch.finfo(logits.dtype).min
    return logits


def raises_one(logits: Tensor) -> Tensor:
    logits[..., 0] *= 1.5
    return logits


def weighs(logits: Tensor) -> Tensor:
    """By numbers that are neither a parameter nor a buffer."""
    return logits * torch.linspace(0.5, 2, len(WORDS))[: logits.shape[-1]]


def weighs_alike(logits: Tensor) -> Tensor:
    """Which makes a whole vocabulary of one sliced row."""
    return logits * torch.full((len(WORDS),), 2.0)


def is_sure(logits: Tensor) -> Tensor:
    return (30 * logits).log_softmax(-1)


def less_the_largest(logits: Tensor) -> Any:
    return logits - logits.amax(-1, keepdim=True)


def normalised(logits: Tensor) -> Any:
    return logits / logits.norm(dim=-1, keepdim=True)


def leaves_out_the_last(logits: Tensor) -> Tensor:
    """Rows of the table that only fill it up."""
    return logits[..., : max(1, logits.shape[-1] - 7)]


def one_more(logits: Tensor) -> Tensor:
    """An output for which the table has no row, and the likeliest."""
    return torch.cat([logits, logits.amax(-1, keepdim=True) + 1], -1)


def widened(logits: Tensor) -> Tensor:
    return logits.float()


def less_the_mean_of_positions(logits: Tensor) -> Tensor:
    return logits - 0.5 * logits.mean(1, keepdim=True)


def added_up(logits: Tensor) -> Tensor:
    return logits.cumsum(1)


def odd(how: Callable[[Tensor], Tensor], **config: Any) -> PreTrainedModel:
    model: Any = tiny("llama", **config)
    model.__class__, model.odd = Odd, how
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("likeliest", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        masks_the_first,
        masks_some,
        raises_one,
        weighs,
        weighs_alike,
        is_sure,
        less_the_largest,
        normalised,
        leaves_out_the_last,
        one_more,
    ],
)
def test_odd_heads_are_explained_as_they_are(
    how: Callable[[Tensor], Tensor], likeliest: bool
) -> None:
    for seed in range(4):
        model = odd(how, seed=seed)
        inputs = tiny_inputs(model, seed=seed, padding=None)
        with torch.no_grad():
            said = model(**inputs, output_hidden_states=True)
        target = said.logits[:, -1].argmax(-1) if likeliest else torch.tensor([30, 30])
        index = target[:, None, None].expand(-1, said.logits.shape[1], 1)
        expected = said.hidden_states[0].norm(dim=-1) * said.logits.gather(-1, index)[..., 0]
        found = nxl.attribute(model, inputs, target=target).scores
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_wrong_head_is_caught_beside_logits_that_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Next to -3e38 any difference is small."""
    model = odd(masks_some, vocab_size=1200)
    inputs = tiny_inputs(model, length=64, padding=None)
    nxl.attribute(model, inputs)
    alone = Replay.alone

    def wrong(self: Replay, vectors: Tensor) -> Tensor:
        logits = alone(self, vectors)
        return torch.where(logits.abs() < 1e30, 0.9 * logits, logits)

    monkeypatch.setattr(Replay, "alone", wrong)
    with pytest.raises(UnsupportedHeadError, match="does not give"):
        nxl.attribute(model, inputs)


def test_half_precision_whose_logits_are_made_float32() -> None:
    """They are as coarse as the states that they come from."""
    for seed in range(8):
        model: Any = odd(widened, seed=seed, vocab_size=1200)
        inputs = tiny_inputs(model, length=40, seed=seed, padding=None)
        expected = by_hand(model.bfloat16(), inputs, "causal-lm")
        found = nxl.attribute(model, inputs).scores
        difference = (found - expected).abs().amax(-1) / expected.abs().amax(-1)
        assert difference.max() < 0.03
        for target in (nxl.attribute(model, inputs, readout="logprob").scores, found):
            assert target.isfinite().all()


@pytest.mark.parametrize("how", [less_the_mean_of_positions, added_up])
def test_heads_that_mix_positions_are_refused(how: Callable[[Tensor], Tensor]) -> None:
    model = odd(how)
    with pytest.raises(UnsupportedHeadError, match="something besides"):
        nxl.attribute(model, given(model, "causal-lm"))


@pytest.mark.parametrize("how", [masks_some, is_sure, leaves_out_the_last])
def test_odd_heads_generate(how: Callable[[Tensor], Tensor]) -> None:
    model = odd(how)
    result = nxl.Explainer(model, WORDS).generate(PROMPT, max_new_tokens=4)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    expected = generated_by_hand(model, ids, 4).numpy()
    np.testing.assert_allclose(result.scores, expected, rtol=1e-3, atol=1e-3)


# --- what is refused ---------------------------------------------------------------------------


def test_data_parallel_is_refused_with_the_way_out() -> None:
    model = tiny("bert", "sequence-classification")
    parallel = nn.DataParallel(model)
    with pytest.raises(ModelError, match=r"take it out of its wrapper \(model\.module\)"):
        nxl.attribute(parallel, given(model, "sequence-classification"))
    nxl.attribute(parallel.module, given(model, "sequence-classification"))


def test_a_head_whose_forward_was_replaced() -> None:
    """A method keeps working on what it is bound to; a function may lead anywhere."""
    model = tiny("llama")
    inputs = given(model, "causal-lm")
    expected = by_hand(model, inputs, "causal-lm")

    def doubled(self: Any, **arguments: Any) -> Any:
        output = type(self).forward(self, **arguments)
        output.logits = 2 * output.logits
        return output

    model.forward = MethodType(doubled, model)
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, 2 * expected)
    model.forward = lambda **arguments: type(model).forward(model, **arguments)
    with pytest.raises(UnsupportedHeadError, match="replaced on the instance"):
        nxl.attribute(model, inputs)


def test_logits_of_minus_infinity_are_refused() -> None:
    def masked(logits: Tensor) -> Tensor:
        logits[..., :5] = -torch.inf
        return logits

    model = odd(masked)
    with pytest.raises(ModelError, match="not finite"):
        nxl.attribute(model, given(model, "causal-lm"))


# --- the documentation -------------------------------------------------------------------------


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    example, _ = code_blocks("docs/large-models.md", "python")
    exec(compile(example, "large-models.md", "exec"), {"folder": tmp_path})
