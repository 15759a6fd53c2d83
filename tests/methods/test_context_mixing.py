"""Attention, its rollout and value zeroing against loops over what the model itself computes."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
)

import normxlogit as nxl
from tests.helpers.references import (
    REFERENCE_INPUTS,
    reference_inputs,
    reference_model,
    reference_numbers,
)
from tests.helpers.state import model_state
from tests.helpers.zoo import tiny_inputs, tiny_model

METHODS = ("attention", "attention_rollout", "value_zeroing")


def stacked(maps: list[Tensor]) -> np.ndarray[Any, Any]:
    stack: np.ndarray[Any, Any] = torch.stack(maps).numpy()
    return stack


@torch.no_grad()
def attentions(model: PreTrainedModel, ids: Tensor) -> np.ndarray[Any, Any]:
    """The mean over heads of a model's attentions to one text, [layers, tokens, tokens]."""
    eager: Any = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    outputs = eager(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True)
    maps = [attention[0].double().mean(0) for attention in outputs.attentions]
    return stacked(maps)


def rolled_out(maps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Their products up to each layer, [layers, tokens, tokens]."""
    products = [maps[0]]
    for attention in maps[1:]:
        products.append(attention @ products[-1])
    return np.stack(products)


def zeroes(width: slice) -> Callable[[nn.Module, int], Any]:
    """Zeroes what a linear map gives for a token in these of its outputs."""

    def add(linear: nn.Module, token: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, token, width] = 0
            return output

        return linear.register_forward_hook(hook)

    return add


ALL = zeroes(slice(None))


def bert_parts(model: Any) -> Any:
    layers = model.bert.encoder.layer
    return layers, [layer.attention.self.value for layer in layers], ALL


def gpt2_parts(model: Any) -> Any:
    blocks = model.transformer.h
    width = model.config.n_embd
    return blocks, [b.attn.c_attn for b in blocks], zeroes(slice(2 * width, 3 * width))


def llama_parts(model: Any) -> Any:
    return model.model.layers, [layer.self_attn.v_proj for layer in model.model.layers], ALL


def modernbert_parts(model: Any) -> Any:
    layers = model.model.layers
    width = model.config.hidden_size
    return layers, [layer.attn.Wqkv for layer in layers], zeroes(slice(2 * width, 3 * width))


def distilbert_parts(model: Any) -> Any:
    layers = model.distilbert.transformer.layer
    return layers, [layer.attention.v_lin for layer in layers], ALL


def bert_like_parts(model: Any) -> Any:
    layers = model.base_model.encoder.layer
    return layers, [layer.attention.self.value for layer in layers], ALL


def deberta_parts(model: Any) -> Any:
    layers = model.deberta.encoder.layer
    return layers, [layer.attention.self.value_proj for layer in layers], ALL


def gptj_parts(model: Any) -> Any:
    return model.transformer.h, [block.attn.v_proj for block in model.transformer.h], ALL


def gpt_neo_parts(model: Any) -> Any:
    return model.transformer.h, [b.attn.attention.v_proj for b in model.transformer.h], ALL


def mpnet_parts(model: Any) -> Any:
    layers = model.mpnet.encoder.layer
    return layers, [layer.attention.attn.v for layer in layers], ALL


PARTS: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "bert": (bert_parts, 0, {}),
    "electra": (bert_like_parts, 0, {}),
    "roberta": (bert_like_parts, 0, {}),
    "distilbert": (distilbert_parts, 0, {}),
    "modernbert": (modernbert_parts, 0, {}),
    "gpt2": (gpt2_parts, -1, {}),
    "llama": (llama_parts, -1, {"num_attention_heads": 4, "num_key_value_heads": 2}),
    "qwen3": (llama_parts, -1, {"num_attention_heads": 4, "num_key_value_heads": 1}),
    "mistral": (llama_parts, -1, {}),
    "gemma2": (llama_parts, -1, {}),
    "gemma3_text": (llama_parts, -1, {}),
    # These compute their attention by themselves.
    "deberta-v2": (deberta_parts, 0, {}),
    "gptj": (gptj_parts, -1, {}),
    "gpt_neo": (gpt_neo_parts, -1, {}),
    "mpnet": (mpnet_parts, 0, {}),
    **{
        name: (bert_like_parts, 0, {})
        for name in ("big_bird", "layoutlmv3", "lilt", "luke", "rembert", "roformer", "tapas")
    },
}


@torch.no_grad()
def mixing(model: Any, ids: Tensor, parts: Any) -> np.ndarray[Any, Any]:
    """C of every layer, one token and layer after the other, each by a pass over all of a model in
    float64, [layers, tokens, tokens].
    """
    model = copy.deepcopy(model).double()
    blocks, values, zero = parts(model)
    length = ids.shape[1]

    def outputs() -> list[Tensor]:
        states: list[Tensor] = []

        def note(_module: nn.Module, _args: Any, output: Any) -> None:
            while isinstance(output, tuple):
                output = output[0]
            states.append(output[0])

        handles = [block.register_forward_hook(note) for block in blocks]
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
        for handle in handles:
            handle.remove()
        return states

    whole, maps = outputs(), np.zeros((len(blocks), length, length))
    for layer, value in enumerate(values):
        for token in range(length):
            handle = zero(value, token)
            altered = outputs()[layer]
            handle.remove()
            cosine = torch.cosine_similarity(altered, whole[layer], -1)
            maps[layer, :, token] = 1 - cosine.numpy()
    maps /= maps.sum(-1, keepdims=True)
    return maps


def rows(model: PreTrainedModel, inputs: dict[str, Tensor], **question: Any) -> list[Any]:
    """The scores of every row's tokens, [layers, tokens]."""
    scores = nxl.attribute(model, inputs, target=0, layer="all", **question).scores
    mask = inputs["attention_mask"].bool()
    assert scores[~mask[:, None].expand(scores.shape)].isnan().all()
    return [scores[row][:, mask[row]].numpy() for row in range(len(mask))]


def texts(inputs: dict[str, Tensor]) -> list[Tensor]:
    """The ids of every row without padding, [1, tokens]."""
    mask = inputs["attention_mask"].bool()
    return [ids[mask[row]][None] for row, ids in enumerate(inputs["input_ids"])]


@pytest.mark.parametrize("model_type", ["bert", "albert", "deberta-v2", "gpt2", "llama", "gemma2"])
def test_attention(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=3)
    read = -1 if model_type in ("gpt2", "llama", "gemma2") else 0
    last = nxl.attribute(model, inputs, target=0, method="attention").scores
    scores = rows(model, inputs, method="attention")
    rollout = rows(model, inputs, method="attention_rollout")
    for row, ids in enumerate(texts(inputs)):
        maps = attentions(model, ids)
        np.testing.assert_allclose(scores[row], maps[:, read], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            last[row][~last[row].isnan()].numpy(), maps[-1, read], rtol=1e-4, atol=1e-6
        )
        expected = rolled_out((maps + np.eye(ids.shape[1])) / 2)[:, read]
        np.testing.assert_allclose(rollout[row], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", PARTS)
def test_value_zeroing(model_type: str) -> None:
    parts, read, config = PARTS[model_type]
    model = tiny_model(model_type, **config)
    inputs = tiny_inputs(model)
    layers = rows(model, inputs, method="value_zeroing", rollout=False)
    rollout = rows(model, inputs, method="value_zeroing")
    for row, ids in enumerate(texts(inputs)):
        maps = mixing(model, ids, parts)
        np.testing.assert_allclose(layers[row], maps[:, read], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(rollout[row], rolled_out(maps)[:, read], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["megatron-bert", "nystromformer"])
def test_value_zeroing_without_padding_through_all_layers(model_type: str) -> None:
    """Of models whose single layers, or padded rows, are refused."""
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, padding=None)
    scores = nxl.attribute(model, inputs, target=0, method="value_zeroing").scores
    for row, ids in enumerate(texts(inputs)):
        expected = rolled_out(mixing(model, ids, bert_like_parts))[-1, 0]
        np.testing.assert_allclose(scores[row].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_value_zeroing_where_layers_share_a_block() -> None:
    """ALBERT's one block, called by hand on the states that the model gives between layers."""
    model: Any = tiny_model("albert")
    inputs = tiny_inputs(model, padding=None)
    scores = rows(model, inputs, method="value_zeroing", rollout=False)
    full = copy.deepcopy(model).double()
    block = full.albert.encoder.albert_layer_groups[0]
    for row, ids in enumerate(texts(inputs)):
        with torch.no_grad():
            states = full(input_ids=ids, output_hidden_states=True).hidden_states
            for layer in range(len(states) - 1):
                distances = []
                for token in range(ids.shape[1]):
                    handle = ALL(block.albert_layers[0].attention.value, token)
                    altered = block(states[layer], None)[0]
                    handle.remove()
                    cosine = torch.cosine_similarity(altered[0], states[layer + 1][0, 0], -1)
                    distances.append(1 - float(cosine))
                expected = np.array(distances) / sum(distances)
                np.testing.assert_allclose(scores[row][layer], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_what_the_authors_code_gives(model_type: str) -> None:
    """Value zeroing by Mohebbi et al.'s code, attention rollout by Ferrando et al.'s."""
    model = reference_model(model_type, torch.float32)
    zeroing, alti = reference_numbers("value_zeroing"), reference_numbers("alti")
    numbers = [number for kind, number in REFERENCE_INPUTS if kind == model_type]
    assert len(numbers) > 3
    for number in numbers:
        text = f"{model_type}/{number}"
        query: Any = {"inputs": reference_inputs(model_type, number), "layer": "all"}
        layers = nxl.attribute(model, **query, method="value_zeroing", rollout=False)
        rollout = nxl.attribute(model, **query, method="value_zeroing")
        attention = nxl.attribute(model, **query, method="attention_rollout")
        for actual, expected in (
            (layers, zeroing[f"{text}/value_zeroing/scores"]),
            (rollout, zeroing[f"{text}/value_zeroing/rollout"]),
            (attention, alti[f"{text}/alti/attention_rollout"]),
        ):
            torch.testing.assert_close(actual.scores[0], expected[:, 0].float(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "modernbert"])
def test_neither_padding_nor_batch_changes_scores(model_type: str, method: str) -> None:
    model = tiny_model(model_type)
    padded = tiny_inputs(model, batch=3)
    alone = [
        nxl.attribute(model, {"input_ids": ids}, method=method, layer="all").scores[0]
        for ids in texts(padded)
    ]
    for side in ("right", "left") if model_type == "llama" else ("right",):
        inputs = tiny_inputs(model, batch=3, padding=side)
        together = nxl.attribute(model, inputs, method=method, layer="all").scores
        for row, expected in enumerate(alone):
            kept = inputs["attention_mask"][row].bool()
            torch.testing.assert_close(together[row][:, kept], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_padding_changes_is_refused(method: str) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(nxl.UnsupportedHeadError, match=r"row 1 without padding.*position_ids"):
        nxl.attribute(model, tiny_inputs(model, padding="left"), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_targets_and_layers(method: str) -> None:
    """Every output of a head that reads one position has the same scores."""
    model = tiny_model("bert")
    inputs = tiny_inputs(model, padding=None)
    every = nxl.attribute(model, inputs, target="all", method=method, layer="all")
    assert every.scores.shape == (2, 3, 2, 7)
    assert every.scores.dtype == torch.float32
    assert every.layers == [1, 2]
    assert every.unsigned is not None
    torch.testing.assert_close(every.scores.sum(-1), torch.ones(2, 3, 2))
    for layer in (1, 2, None):
        alone = nxl.attribute(model, inputs, target=1, method=method, layer=layer).scores
        torch.testing.assert_close(alone, every.scores[:, 1, (layer or 2) - 1])


@pytest.mark.parametrize("method", METHODS)
def test_a_tagger_reads_the_token_that_it_tags(method: str) -> None:
    model = tiny_model("bert", mapping="token-classification")
    inputs = tiny_inputs(model, padding=None, mapping="token-classification")
    scores = nxl.attribute(model, inputs, position=3, method=method, layer=1).scores
    for row, ids in enumerate(texts(inputs)):
        expected = {
            "attention": attentions(model, ids)[0, 3],
            "attention_rollout": (attentions(model, ids)[0, 3] + np.eye(7)[3]) / 2,
            "value_zeroing": mixing(model, ids, bert_parts)[0, 3],
        }[method]
        np.testing.assert_allclose(scores[row].numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_language_models(method: str) -> None:
    causal = tiny_model("llama", mapping="causal-lm")
    inputs = tiny_inputs(causal, mapping="causal-lm")
    actual = nxl.attribute(causal, inputs, method=method, layer=1).scores
    for row, ids in enumerate(texts(inputs)):
        maps = {
            "attention": lambda i: attentions(causal, i)[0],
            "attention_rollout": lambda i: (attentions(causal, i)[0] + np.eye(i.shape[1])) / 2,
            "value_zeroing": lambda i: mixing(causal, i, llama_parts)[0],
        }[method](ids)
        np.testing.assert_allclose(
            actual[row, : ids.shape[1]].numpy(), maps[-1], rtol=1e-4, atol=1e-6
        )
    middle = nxl.attribute(causal, inputs, position=2, method=method)
    assert middle.scores[:, 3:].isnan().all()
    masked = tiny_model("bert", mapping="masked-lm")
    inputs = tiny_inputs(masked, padding=None, mapping="masked-lm")
    scores = nxl.attribute(masked, inputs, position=1, method=method).scores
    torch.testing.assert_close(scores.sum(-1), torch.ones(2))


@pytest.mark.parametrize("method", METHODS)
def test_multiple_choice(method: str) -> None:
    """A choice is a row of its own."""
    model = tiny_model("bert", mapping="multiple-choice")
    inputs = tiny_inputs(model, mapping="multiple-choice")
    scores = nxl.attribute(model, inputs, target="all", method=method, layer="all").scores
    assert scores.shape == (2, 2, 2, 7)
    for row in range(2):
        for choice in range(2):
            alone = {
                key: value[row : row + 1, choice : choice + 1] for key, value in inputs.items()
            }
            kept = alone["attention_mask"][0, 0].bool()
            expected = nxl.attribute(model, alone, method=method, layer="all").scores[0]
            torch.testing.assert_close(
                scores[row, choice][:, kept], expected.reshape(2, -1)[:, kept], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "mixtral", "albert", "deberta-v2"])
def test_the_model_is_as_it_was(model_type: str, method: str) -> None:
    model = tiny_model(model_type).train()
    inputs = tiny_inputs(model, padding=None)
    before = model_state(model)
    nxl.attribute(model, inputs, method=method)
    assert model_state(model) == before


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_as_it_was_after_an_error(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, padding=None)
    before = model_state(model)

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("transformers.models.bert.modeling_bert.eager_attention_forward", fail)
    with pytest.raises(nxl.UnsupportedHeadError, match="no such thing"):
        nxl.attribute(model, inputs, method=method)
    assert model_state(model) == before


@pytest.mark.parametrize(
    ("model_type", "mapping", "method", "says"),
    [
        ("mamba", "causal-lm", "attention", "a map of .* for each layer.*normxlogit"),
        ("mamba", "causal-lm", "value_zeroing", "0 times.*normxlogit"),
        ("longformer", "sequence-classification", "attention_rollout", "map of .* for each layer"),
        ("gpt_oss", "sequence-classification", "attention", "rows sum to one"),
        ("deberta", "sequence-classification", "value_zeroing", "0 times.*not one projection"),
        ("falcon", "sequence-classification", "value_zeroing", "0 times.*not one projection"),
        ("diffllama", "sequence-classification", "value_zeroing", "times.*not one projection"),
        ("fnet", "sequence-classification", "value_zeroing", "0 times.*not one projection"),
        ("jamba", "sequence-classification", "value_zeroing", "0 times.*not one projection"),
        ("xlm", "sequence-classification", "value_zeroing", "0 times.*not what is read next"),
        ("flaubert", "sequence-classification", "value_zeroing", "0 times.*not what is read next"),
        ("deepseek_v32", "causal-lm", "value_zeroing", "another attention function"),
        *(
            (model_type, mapping, method, "an encoder and a decoder.*normxlogit")
            for model_type, mapping in (
                ("bart", "sequence-classification"),
                ("bart", "seq2seq-lm"),
                ("t5", "sequence-classification"),
                ("t5", "seq2seq-lm"),
                ("t5gemma", "sequence-classification"),
                ("t5gemma2", "sequence-classification"),
            )
            for method in ("attention", "value_zeroing")
        ),
    ],
)
def test_what_is_refused(model_type: str, mapping: str, method: str, says: str) -> None:
    model = tiny_model(model_type, mapping=mapping)
    inputs = tiny_inputs(model, padding=None, mapping=mapping)
    with pytest.raises(nxl.UnsupportedHeadError, match=says):
        nxl.attribute(model, inputs, method=method)


def test_wrong_options() -> None:
    model = tiny_model("bert")
    with pytest.raises(nxl.OptionError, match="rollout must be True or False"):
        nxl.attribute(model, tiny_inputs(model), method="value_zeroing", rollout="no")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "gemma2", "modernbert", "gptj"])
def test_a_single_token(model_type: str, method: str) -> None:
    model = tiny_model(model_type)
    scores = nxl.attribute(model, {"input_ids": torch.tensor([[30]])}, method=method).scores
    torch.testing.assert_close(scores, torch.ones(1, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["bert", "llama", "gptj"])
def test_half_precision(model_type: str, dtype: torch.dtype, method: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=3)
    full = nxl.attribute(model, inputs, target=0, method=method).scores
    half: Any = copy.deepcopy(model)
    half.to(dtype)
    scores = nxl.attribute(half, inputs, target=0, method=method).scores
    torch.testing.assert_close(scores, full, rtol=0.2, atol=0.02, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", ["llama", "gptj"])
def test_many_copies_in_few_batches_and_in_many(
    model_type: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model)
    expected = nxl.attribute(model, inputs, method=method).scores
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    monkeypatch.setattr("normxlogit.methods.context_mixing.value_zeroing.AT_ONCE", 14)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: nxl.attribute(model, inputs, method=method).scores, range(8))
        )
    for scores in results:
        torch.testing.assert_close(scores, expected, equal_nan=True, rtol=1e-4, atol=1e-6)
