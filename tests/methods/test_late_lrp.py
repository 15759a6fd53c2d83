"""Relevance through the last blocks, against blocks written out and what conservation demands."""

import copy
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import normxlogit as nxl
from tests.helpers.zoo import Padding, tiny_inputs, tiny_model


def divided(states: Tensor, norm: Any, *, centred: bool = True) -> Tensor:
    """LayerNorm, or RMSNorm, by a divisor that is constant to autograd."""
    if centred:
        states = states - states.mean(-1, keepdim=True)
    eps = norm.eps if centred else norm.variance_epsilon
    spread = (states.square().mean(-1, keepdim=True) + eps).sqrt()
    normed: Tensor = states / spread.detach() * norm.weight
    if centred:
        normed = normed + norm.bias
    return normed


def of_heads(states: Tensor, heads: int) -> Tensor:
    """[tokens, width] -> [heads, tokens, width of a head]."""
    return states.reshape(len(states), heads, -1).transpose(0, 1)


def weights(query: Tensor, key: Tensor, *, causal: bool) -> Tensor:
    """Those of attention, constant to autograd."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if causal:
        scores = scores + torch.full(scores.shape[1:], -torch.inf).triu(1)
    attention: Tensor = scores.softmax(-1)
    return attention.detach()


def bert_block(layer: Any, states: Tensor) -> Tensor:
    attention, heads = layer.attention.self, layer.attention.self.num_attention_heads
    query, key, value = (
        of_heads(f(states), heads) for f in (attention.query, attention.key, attention.value)
    )
    mixed = (weights(query, key, causal=False) @ value).transpose(0, 1).flatten(1)
    out = layer.attention.output
    states = divided(out.dense(mixed) + states, out.LayerNorm)
    inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(states))
    return divided(layer.output.dense(inner) + states, layer.output.LayerNorm)


def llama_block(layer: Any, states: Tensor, rotary: Any) -> Tensor:
    attention, normed = layer.self_attn, divided(states, layer.input_layernorm, centred=False)
    width = attention.head_dim
    query, key, value = (
        f(normed).unflatten(-1, (-1, width)).transpose(0, 1)
        for f in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    places = torch.arange(len(states))[None]
    cos, sin = (part[0] for part in rotary(states[None], places))
    query, key = (
        x * cos + torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1) * sin
        for x in (query, key)
    )
    shared = len(query) // len(value)
    key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
    mixed = (weights(query, key, causal=True) @ value).transpose(0, 1).flatten(1)
    states = states + attention.o_proj(mixed)
    output: Tensor = states + layer.mlp(
        divided(states, layer.post_attention_layernorm, centred=False)
    )
    return output


def relevance(model: Any, ids: Tensor, blocks: int, target: int) -> Tensor:
    """Of a row without padding, [tokens]."""
    with torch.no_grad():
        before = model(input_ids=ids, output_hidden_states=True).hidden_states[-1 - blocks][0]
    leaf = states = before.clone().requires_grad_()
    if model.config.model_type == "bert":
        for layer in model.bert.encoder.layer[-blocks:]:
            states = bert_block(layer, states)
        logits = model.classifier(model.bert.pooler(states[None]))[0]
    else:
        for layer in model.model.layers[-blocks:]:
            states = llama_block(layer, states, model.model.rotary_emb)
        logits = model.score(divided(states, model.model.norm, centred=False)[-1])
    (gradient,) = torch.autograd.grad(logits[target], leaf)
    products: Tensor = (gradient * before).sum(-1)
    return products


@pytest.mark.parametrize("model_type", ["bert", "llama"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_blocks_written_out(model_type: str, blocks: int) -> None:
    model = tiny_model(model_type, num_hidden_layers=4)
    inputs = tiny_inputs(model, batch=1, padding=None)
    result = nxl.attribute(model, inputs, target="all", method="late_lrp", blocks=blocks)
    for target in range(3):
        expected = relevance(model, inputs["input_ids"], blocks, target)
        torch.testing.assert_close(result.scores[0, target], expected, rtol=1e-4, atol=1e-6)
    if blocks == 3:
        usual = nxl.attribute(model, inputs, target="all", method="late_lrp")
        torch.testing.assert_close(usual.scores, result.scores)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_all_that_is_predicted_is_handed_on(blocks: int) -> None:
    """Without biases, and with a nonlinearity that scales, scores add up to the output."""
    model: Any = copy.deepcopy(tiny_model("distilbert", n_layers=4, activation="relu"))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
    inputs = tiny_inputs(model, batch=3)
    result = nxl.attribute(model, inputs, target="all", method="late_lrp", blocks=blocks)
    with torch.no_grad():
        logits = model(**inputs).logits
    torch.testing.assert_close(result.scores.nansum(-1), logits, rtol=1e-4, atol=1e-6)
    plain = nxl.attribute(model, inputs, target="all", method="gradient_x_input").scores
    assert not torch.allclose(plain.nansum(-1), logits, rtol=0.1)


@pytest.mark.parametrize(
    ("model_type", "side"),
    [("bert", "right"), ("modernbert", "right"), ("llama", "right"), ("llama", "left")],
)
def test_padding_changes_nothing(model_type: str, side: Padding) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=2, padding=side)
    scores = nxl.attribute(model, inputs, target=0, method="late_lrp").scores
    for row, kept in enumerate(inputs["attention_mask"].bool()):
        alone = {"input_ids": inputs["input_ids"][row : row + 1, kept]}
        expected = nxl.attribute(model, alone, target=0, method="late_lrp").scores[0]
        torch.testing.assert_close(scores[row, kept], expected, rtol=1e-4, atol=1e-6)
        assert scores[row, ~kept].isnan().all()


class Divided(nn.Module):
    """A norm by a divisor that is constant to autograd."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor) -> Tensor:
        return divided(states, self.norm, centred=isinstance(self.norm, nn.LayerNorm))


@pytest.mark.parametrize(
    ("model_type", "mapping", "position"),
    [
        ("llama", "causal-lm", 6),
        ("gpt2", "causal-lm", 6),
        ("qwen3", "causal-lm", 6),
        ("doge", "causal-lm", 6),
        ("bert", "masked-lm", 3),
        ("roberta", "token-classification", 2),
    ],
)
def test_heads_of_models_that_are_changed_by_hand(
    model_type: str, mapping: str, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = tiny_model(model_type, mapping=mapping)
    inputs = tiny_inputs(model, batch=1, padding=None, mapping=mapping)
    result = nxl.attribute(model, inputs, position=position, method="late_lrp", blocks=1)
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("Norm"):
                setattr(module, name, Divided(child))
    model.set_attn_implementation("eager")
    softmax = nn.functional.softmax
    monkeypatch.setattr(nn.functional, "softmax", lambda *x, **more: softmax(*x, **more).detach())
    output = model(**inputs, output_hidden_states=True)
    states = output.hidden_states[-2]
    value = output.logits[0, position, result.targets[0, 0]]
    (gradient,) = torch.autograd.grad(value, states)
    expected = (gradient * states).sum(-1).detach()
    torch.testing.assert_close(result.scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mapping", ["multiple-choice", "question-answering"])
def test_heads_that_read_more_than_one_place(mapping: str) -> None:
    """Of the sum of a span's logits, or of one choice; other rows have no part in it."""
    model = tiny_model("bert", mapping=mapping)
    inputs = tiny_inputs(model, batch=2, padding=None, mapping=mapping)
    scores = nxl.attribute(model, inputs, method="late_lrp").scores
    assert scores.isfinite().all()
    for row in range(2):
        inputs_of_row = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, inputs_of_row, method="late_lrp").scores[0]
        torch.testing.assert_close(scores[row], alone, rtol=1e-4, atol=1e-6)


def test_without_the_sign() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=2)
    signed, actual = (
        nxl.attribute(model, inputs, target="all", method="late_lrp", reduce=reduce)
        for reduce in ("sum", "abs")
    )
    torch.testing.assert_close(actual.scores, signed.scores.abs(), equal_nan=True)
    assert (signed.scores < 0).any()
    with pytest.raises(nxl.OptionError, match="reduce must be one of sum, abs; got 'l1'"):
        nxl.attribute(model, inputs, method="late_lrp", reduce="l1")


def test_a_contrast_is_a_difference() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=2)
    of_target, of_foil = (
        nxl.attribute(model, inputs, target=n, method="late_lrp").scores for n in (1, 2)
    )
    scores = nxl.attribute(model, inputs, target=1, contrast=2, method="late_lrp").scores
    torch.testing.assert_close(scores, of_target - of_foil, equal_nan=True)


@pytest.mark.parametrize("blocks", [0, 3, True, 1.0, "2"])
def test_blocks_that_there_are_not(blocks: object) -> None:
    model = tiny_model("bert", num_hidden_layers=2)
    with pytest.raises(nxl.OptionError, match="blocks must be a whole number from 1 to 2, got"):
        nxl.attribute(model, tiny_inputs(model), method="late_lrp", blocks=blocks)


@pytest.mark.parametrize(
    ("model_type", "says"),
    [
        (
            "deberta-v2",
            "not every one of the last 2 blocks of DebertaV2.* calls transformers'",
        ),
        ("jamba", "not every one of the last 2 blocks of Jamba.* calls transformers'"),
        ("xlnet", "their states are not one per token"),
        ("bart", "BartForSequenceClassification has no single list of blocks"),
        ("reformer", "ReformerForSequenceClassification has no single list of blocks"),
    ],
)
def test_models_that_it_does_not_serve(model_type: str, says: str) -> None:
    model = tiny_model(model_type)
    for blocks in (None, 1) if model_type == "reformer" else (None,):
        with pytest.raises(nxl.UnsupportedHeadError, match=f"{says}.*'normxlogit' no gradients"):
            nxl.attribute(model, tiny_inputs(model), method="late_lrp", blocks=blocks)


class Doubtful(nn.LayerNorm):
    """No norm: it takes the square root of what one gives."""

    def forward(self, states: Tensor) -> Tensor:
        normed: Tensor = super().forward(states)
        return normed.abs().sqrt()


class Nameless(nn.Module):
    """RMSNorm by other names."""

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(gain.clone())

    def forward(self, states: Tensor) -> Tensor:
        return self.root(states) * states * self.scale

    def root(self, states: Tensor) -> Tensor:
        return (states.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


class Power(Nameless):
    def root(self, states: Tensor) -> Tensor:
        return (states.square().mean(-1, keepdim=True) + 1e-6) ** -0.5


class Length(Nameless):
    def root(self, states: Tensor) -> Tensor:
        inverse: Tensor = 1 / states.norm(dim=-1, keepdim=True)
        return inverse


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (Doubtful, "SqrtBackward|NativeLayerNormBackward"),
        (Nameless, "RsqrtBackward"),
        (Power, "PowBackward"),
        (Length, "LinalgVectorNormBackward"),
    ],
)
def test_norms_of_another_kind_are_refused(kind: Any, step: str) -> None:
    model: Any = copy.deepcopy(tiny_model("bert" if kind is Doubtful else "llama"))
    if kind is Doubtful:
        norm = model.bert.encoder.layer[-1].output.LayerNorm
        model.bert.encoder.layer[-1].output.LayerNorm = doubtful = Doubtful(norm.weight.shape)
        doubtful.load_state_dict(norm.state_dict())
    else:
        layer = model.model.layers[-1]
        layer.post_attention_layernorm = kind(layer.post_attention_layernorm.weight.data)
    with pytest.raises(nxl.UnsupportedHeadError, match=f"not known \\(({step})"):
        nxl.attribute(model, tiny_inputs(model), method="late_lrp")


@pytest.mark.parametrize(
    ("model_type", "blocks", "overrides"),
    [
        ("hrm_text", 1, {}),
        ("blt", 1, {}),
        (
            "gemma4_unified_text",
            2,
            {
                "num_hidden_layers": 6,
                "num_kv_shared_layers": 4,
                "layer_types": ["sliding_attention", "full_attention"] * 3,
            },
        ),
    ],
)
def test_attention_to_what_was_there_before_is_refused(
    model_type: str, blocks: int, overrides: Any
) -> None:
    model = tiny_model(model_type, mapping="causal-lm", **overrides)
    inputs = tiny_inputs(model, batch=1, padding=None, mapping="causal-lm")
    with pytest.raises(nxl.UnsupportedHeadError, match="attends outside of the last blocks, or to"):
        nxl.attribute(model, inputs, method="late_lrp", blocks=blocks)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("model_type", ["bert", "llama", "gemma2"])
def test_precisions(model_type: str, dtype: torch.dtype) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=1, padding=None)
    expected = nxl.attribute(model, inputs, target=0, method="late_lrp").scores
    other: Any = nn.Module.to(copy.deepcopy(model), dtype)
    scores = nxl.attribute(other, inputs, target=0, method="late_lrp").scores
    near = 0.05 if dtype.itemsize == 2 else 1e-4
    assert (scores - expected).abs().amax() < near * expected.abs().amax()


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        (torch.bfloat16, "with eager attention where it gave .* Load it with dtype=float32"),
        (torch.float32, "where it gave .* before, for the same inputs"),
    ],
)
def test_eager_attention_that_says_something_else_is_refused(
    dtype: torch.dtype, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = nn.Module.to(copy.deepcopy(tiny_model("bert")), dtype)
    model.set_attn_implementation("sdpa")
    code = sys.modules[type(model).__module__]
    eager = code.eager_attention_forward

    def other(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        mixed, weights = eager(*args, **kwargs)
        return -3 * mixed, weights

    monkeypatch.setattr(code, "eager_attention_forward", other)
    with pytest.raises(nxl.UnsupportedHeadError, match=says):
        nxl.attribute(model, tiny_inputs(model), target=0, method="late_lrp")


def test_the_model_stays_as_it_was() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model)
    attention = model.config._attn_implementation
    with torch.no_grad():
        before = model(**inputs).logits
    nxl.attribute(model, inputs, method="late_lrp")
    assert model.config._attn_implementation == attention
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    with torch.no_grad():
        assert model(**inputs).logits.equal(before)
