"""One gradient half way from the masked text, against models written out and what is conserved."""

import copy
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import normxlogit as nxl
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.conservative import Divided, bert_block, divided, llama_block, secant
from tests.helpers.zoo import Padding, tiny_inputs, tiny_model

MASK = 3


def masked(ids: Tensor) -> Tensor:
    return torch.full_like(ids, MASK)


def first_states(model: Any, ids: Tensor) -> Tensor:
    """[tokens, width]."""
    with torch.no_grad():
        states: Tensor = model(input_ids=ids, output_hidden_states=True).hidden_states[0][0]
    return states


def products(model: Any, ids: Tensor, target: int) -> Tensor:
    """Gradients times differences of a row without padding, [tokens, width]."""
    end, start = first_states(model, ids), first_states(model, masked(ids))
    leaf = states = ((start + end) / 2).requires_grad_()
    if model.config.model_type == "bert":
        for layer in model.bert.encoder.layer:
            states = bert_block(layer, states, secant)
        logits = model.classifier(secant(model.bert.pooler.dense(states[0]), torch.tanh))
    else:
        for layer in model.model.layers:
            states = llama_block(layer, states, model.model.rotary_emb, secant)
        logits = model.score(divided(states, model.model.norm, centred=False)[-1])
    (gradient,) = torch.autograd.grad(logits[target], leaf)
    return gradient * (end - start)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_models_written_out(model_type: str) -> None:
    model = tiny_model(model_type, num_hidden_layers=3)
    inputs = tiny_inputs(model, batch=1, padding=None)
    result = nxl.attribute(model, inputs, target="all", method="midpoint", baseline=MASK)
    for target in range(3):
        expected = products(model, inputs["input_ids"], target).sum(-1)
        torch.testing.assert_close(result.scores[0, target], expected, rtol=1e-4, atol=1e-6)


def test_scores_add_up_to_what_half_of_the_states_give() -> None:
    """Without biases every part of a model scales with its input, and then so does the whole.

    The masked text is at zero here, so the way is twice the midpoint.
    """
    model: Any = copy.deepcopy(tiny_model("bert", num_hidden_layers=3))
    for name, weight in model.named_parameters():
        if name.endswith("bias") or "position" in name or "token_type" in name:
            nn.init.zeros_(weight)
    nn.init.zeros_(model.get_input_embeddings().weight[MASK])
    inputs = tiny_inputs(model, batch=3)
    result = nxl.attribute(model, inputs, target="all", method="midpoint", baseline=MASK)
    first = model.bert.encoder.layer[0]
    handle = first.register_forward_pre_hook(lambda _, args: (args[0] / 2, *args[1:]))
    with torch.no_grad():
        logits = model(**inputs).logits
    handle.remove()
    torch.testing.assert_close(result.scores.nansum(-1), 2 * logits, rtol=1e-4, atol=1e-6)
    plain = nxl.attribute(model, inputs, target="all", method="gradient_x_input").scores
    assert not torch.allclose(plain.nansum(-1), 2 * logits, rtol=0.1)


class Secant(nn.Module):
    """An activation as its secant."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, states: Tensor) -> Tensor:
        return secant(states, self.activation)


@pytest.mark.parametrize(
    ("model_type", "mapping", "position"),
    [
        ("roberta", "sequence-classification", None),
        ("distilbert", "sequence-classification", None),
        ("gpt2", "causal-lm", 6),
        ("qwen3", "causal-lm", 6),
        ("gpt_neox", "causal-lm", 6),
        ("bert", "masked-lm", 3),
        ("roberta", "token-classification", 2),
    ],
)
def test_models_that_are_changed_by_hand(
    model_type: str, mapping: Any, position: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = tiny_model(model_type, mapping=mapping)
    inputs = tiny_inputs(model, batch=1, padding=None, mapping=mapping)
    result = nxl.attribute(model, inputs, position=position, method="midpoint", baseline=MASK)
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("Norm"):
                setattr(module, name, Divided(child))
            elif type(child).__module__.endswith((".activation", ".activations")):
                setattr(module, name, Secant(child))
    model.set_attn_implementation("eager")
    softmax, tanh = functional.softmax, torch.tanh
    monkeypatch.setattr(functional, "softmax", lambda *x, **more: softmax(*x, **more).detach())
    monkeypatch.setattr(torch, "tanh", lambda states: secant(states, tanh))
    first = next(m for m in model.modules() if isinstance(m, nn.ModuleList))[0]
    entered = list[Tensor]()

    def note(_module: Any, args: Any, kwargs: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        entered.append(states.detach())
        if len(entered) < 3:
            return None
        # The third pass is that half way between the first two.
        entered[2] = ((entered[0] + entered[1]) / 2).requires_grad_()
        if args:
            return (entered[2], *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": entered[2]}

    first.register_forward_pre_hook(note, with_kwargs=True)
    model(**{**inputs, "input_ids": masked(inputs["input_ids"])})
    model(**inputs)
    logits = model(**inputs).logits
    target = result.targets[0, 0]
    value = logits[0, target] if position is None else logits[0, position, target]
    (gradient,) = torch.autograd.grad(value, entered[2])
    expected = (gradient * (entered[1] - entered[0])).sum(-1).detach()
    torch.testing.assert_close(result.scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "side"),
    [("bert", "right"), ("modernbert", "right"), ("llama", "right"), ("llama", "left")],
)
def test_padding_changes_nothing(model_type: str, side: Padding) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=2, padding=side)
    scores = nxl.attribute(model, inputs, target=0, method="midpoint", baseline=MASK).scores
    for row, kept in enumerate(inputs["attention_mask"].bool()):
        alone = {"input_ids": inputs["input_ids"][row : row + 1, kept]}
        expected = nxl.attribute(model, alone, target=0, method="midpoint", baseline=MASK).scores
        torch.testing.assert_close(scores[row, kept], expected[0], rtol=1e-4, atol=1e-6)
        assert scores[row, ~kept].isnan().all()


@pytest.mark.parametrize("mapping", ["multiple-choice", "question-answering"])
def test_heads_that_read_more_than_one_place(mapping: Any) -> None:
    model = tiny_model("bert", mapping=mapping)
    inputs = tiny_inputs(model, batch=2, padding=None, mapping=mapping)
    scores = nxl.attribute(model, inputs, method="midpoint", baseline=MASK).scores
    assert scores.isfinite().all()
    for row in range(2):
        inputs_of_row = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, inputs_of_row, method="midpoint", baseline=MASK).scores[0]
        torch.testing.assert_close(scores[row], alone, rtol=1e-4, atol=1e-6)


def test_without_the_sign() -> None:
    """Absolute values are summed over the width, before which parts for and against cancel."""
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=1, padding=None)
    options: dict[str, Any] = {"target": 0, "method": "midpoint", "baseline": MASK}
    result = nxl.attribute(model, inputs, reduce="l1", **options)
    expected = products(model, inputs["input_ids"], 0).abs().sum(-1)
    torch.testing.assert_close(result.scores[0], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(nxl.OptionError, match="reduce must be one of sum, l1; got 'abs'"):
        nxl.attribute(model, inputs, reduce="abs", **options)


def test_a_contrast_is_a_difference() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=2)
    options: dict[str, Any] = {"method": "midpoint", "baseline": MASK}
    of_target, of_foil = (nxl.attribute(model, inputs, target=n, **options).scores for n in (1, 2))
    scores = nxl.attribute(model, inputs, target=1, contrast=2, **options).scores
    torch.testing.assert_close(scores, of_target - of_foil, equal_nan=True)


@pytest.mark.parametrize(
    ("model_type", "says"),
    [
        ("deberta-v2", "not every one of the last 2 blocks of DebertaV2.* calls transformers'"),
        ("xlnet", "their states are not one per token"),
        ("bart", "BartForSequenceClassification has no single list of blocks"),
        ("gpt_oss", "computes an activation in a way that is not known .SigmoidBackward"),
    ],
)
def test_models_that_it_does_not_serve(model_type: str, says: str) -> None:
    model = tiny_model(model_type)
    with pytest.raises(nxl.UnsupportedHeadError, match=says):
        nxl.attribute(model, tiny_inputs(model), method="midpoint", baseline=MASK)


class Formula(nn.Module):
    """GELU by its formula, with a child, so that it is no activation by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor = self.scale(states * (1 + torch.erf(states / 2**0.5)) / 2)
        return output


class InPlace(Formula):
    """SiLU that overwrites its input."""

    def forward(self, states: Tensor) -> Tensor:
        return functional.silu(self.scale(states), inplace=True)


@pytest.mark.parametrize(("kind", "step"), [(Formula, "ErfBackward"), (InPlace, "CopySlices")])
def test_activations_that_are_not_found_are_refused(kind: Any, step: str) -> None:
    model: Any = copy.deepcopy(tiny_model("bert"))
    model.bert.encoder.layer[-1].intermediate.intermediate_act_fn = kind()
    with pytest.raises(nxl.UnsupportedHeadError, match=f"an activation in a way .*{step}"):
        nxl.attribute(model, tiny_inputs(model), method="midpoint", baseline=MASK)


class RootedNorm(nn.LayerNorm):
    """No norm: it takes the square root of what one gives."""

    def forward(self, states: Tensor) -> Tensor:
        normed: Tensor = super().forward(states)
        return normed.abs().sqrt()


def test_norms_of_another_kind_are_refused() -> None:
    """Wherever they are between the first block and the output."""
    model: Any = copy.deepcopy(tiny_model("bert", num_hidden_layers=3))
    model.bert.encoder.layer[0].output.LayerNorm = RootedNorm(model.config.hidden_size)
    with pytest.raises(
        nxl.UnsupportedHeadError, match="normalises or attends in a way that is not"
    ):
        nxl.attribute(model, tiny_inputs(model), method="midpoint", baseline=MASK)


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        ("zero", "baseline must be 'mask', 'pad' or a token's id; got 'zero'"),
        (1.5, "baseline must be 'mask', 'pad' or a token's id; got 1.5"),
        (True, "baseline must be"),
        (10**6, "there is no token 1000000"),
        (None, "the token 'pad' needs a tokenizer"),
    ],
)
def test_baselines_that_there_are_not(baseline: Any, says: str) -> None:
    model = tiny_model("bert")
    with pytest.raises(nxl.OptionError, match=says):
        nxl.attribute(model, tiny_inputs(model), method="midpoint", baseline=baseline)


def test_the_tokenizers_mask_token_is_the_baseline_if_there_is_one() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    scores = explainer.explain("good bad", method="midpoint").scores
    for baseline in ("mask", words.mask_token_id):
        given = explainer.explain("good bad", method="midpoint", baseline=baseline).scores
        np.testing.assert_array_equal(scores, given)
    padded = explainer.explain("good bad", method="midpoint", baseline="pad").scores
    assert not np.allclose(scores, padded)
    explainer = nxl.Explainer(explainer.model, tokenizer())
    scores = explainer.explain("good bad", method="midpoint").scores
    np.testing.assert_array_equal(scores, padded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("model_type", ["bert", "llama", "gemma2"])
def test_precisions(model_type: str, dtype: torch.dtype) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=1, padding=None)
    options: dict[str, Any] = {"target": 0, "method": "midpoint", "baseline": MASK}
    expected = nxl.attribute(model, inputs, **options).scores
    other: Any = nn.Module.to(copy.deepcopy(model), dtype)
    scores = nxl.attribute(other, inputs, **options).scores
    near = 0.05 if dtype.itemsize == 2 else 1e-4
    assert (scores - expected).abs().amax() < near * expected.abs().amax()


def test_eager_attention_that_says_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = copy.deepcopy(tiny_model("bert"))
    model.set_attn_implementation("sdpa")
    code = sys.modules[type(model).__module__]
    eager = code.eager_attention_forward

    def other(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        mixed, weights = eager(*args, **kwargs)
        return -3 * mixed, weights

    monkeypatch.setattr(code, "eager_attention_forward", other)
    with pytest.raises(nxl.UnsupportedHeadError, match=r"where it gave .* before, for the same"):
        nxl.attribute(model, tiny_inputs(model), target=0, method="midpoint", baseline=MASK)


def test_the_model_stays_as_it_was() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model)
    attention = model.config._attn_implementation
    with torch.no_grad():
        before = model(**inputs).logits
    nxl.attribute(model, inputs, method="midpoint", baseline=MASK)
    assert model.config._attn_implementation == attention
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    with torch.no_grad():
        assert model(**inputs).logits.equal(before)
