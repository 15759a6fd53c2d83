"""What holds for every method that runs the model again."""

import copy
from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

import normxlogit as nxl
from tests.helpers.assertions import succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.rerunning import RERUNNING, row_of_distinct_tokens
from tests.helpers.zoo import tiny_inputs, tiny_model


class _Linear(PreTrainedModel):  # type: ignore[no-untyped-call]
    """w . mean(x) + b of the word embeddings x."""

    config_class = PretrainedConfig

    class Trunk(PreTrainedModel):  # type: ignore[no-untyped-call]
        config_class = PretrainedConfig

        def __init__(self, config: PretrainedConfig) -> None:
            super().__init__(config)
            self.words = nn.Embedding(60, 8)
            self.layers = nn.ModuleList([nn.Identity()])

        def get_input_embeddings(self) -> nn.Module:
            return self.words

        def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
            return BaseModelOutput(last_hidden_state=self.layers[0](self.words(input_ids)))

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.trunk, self.head = self.Trunk(config), nn.Linear(8, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.trunk.words

    def forward(self, input_ids: Tensor, **_: Any) -> SequenceClassifierOutput:
        states = self.trunk(input_ids).last_hidden_state
        return SequenceClassifierOutput(logits=self.head(states.mean(1)))


def test_a_linear_model_is_explained_exactly() -> None:
    torch.manual_seed(0)
    model: Any = _Linear(PretrainedConfig()).train(False)
    ids = torch.tensor([[5, 6, 7, 8]])
    words, weight = model.trunk.words.weight.detach(), model.head.weight.detach()
    expected = words[ids[0]] @ weight[1] / 4
    for method in ("gradient_x_input", "integrated_gradients"):
        scores = nxl.attribute(model, {"input_ids": ids}, target=1, method=method).scores[0]
        torch.testing.assert_close(scores, expected)
    replaced = nxl.attribute(
        model, {"input_ids": ids}, target=1, method="occlusion", replacement=9
    ).scores[0]
    torch.testing.assert_close(replaced, expected - words[9] @ weight[1] / 4)


@pytest.mark.parametrize("method", RERUNNING)
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "t5"])
def test_alone_equals_batched_on_either_side(method: str, model_type: str) -> None:
    texts = ["A great movie with poor performers.", "Good.", "The plot is not bad at all; a mess."]
    options = {"n_steps": 8} if method == "integrated_gradients" else {}
    for side in ("left", "right"):
        words = tokenizer(padding_side=side)
        explainer = nxl.Explainer(classifier(words, model_type), words)
        together = succeeded(explainer.explain(texts, method=method, **options))
        for text, result in zip(texts, together, strict=True):
            alone = explainer.explain(text, method=method, **options)
            np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", RERUNNING)
def test_the_users_model_is_the_same_after_a_call_and_a_failure(method: str) -> None:
    model: Any = tiny_model("bert").train()
    inputs = tiny_inputs(model)
    calls = []

    def fails(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:  # the first is the forward pass that tells the prediction
            raise RuntimeError("broken")

    model.bert.encoder.layer[1].register_forward_pre_hook(fails)
    before = [(name, id(p), p.requires_grad, p.clone()) for name, p in model.named_parameters()]
    keys = [sorted(vars(module)) for module in model.modules()]
    ids = {key: value.clone() for key, value in inputs.items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    with pytest.raises(nxl.ModelError, match="broken"):
        nxl.attribute(model, inputs, method=method)
    nxl.attribute(model, inputs, method=method)
    assert all(torch.equal(value, ids[key]) for key, value in inputs.items())
    assert all(module.training for module in model.modules())
    assert keys == [sorted(vars(module)) for module in model.modules()]
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    for (name, number, wants, value), (own, p) in zip(
        before, model.named_parameters(), strict=True
    ):
        assert (name, number, wants) == (own, id(p), p.requires_grad)
        assert torch.equal(value, p)
        assert p.grad is None


@pytest.mark.parametrize("method", RERUNNING)
def test_generated_text_is_explained_as_a_given_one_is(method: str) -> None:
    words = tokenizer("bpe", add_eos=False)
    model = tiny_model("gpt2", mapping="causal-lm", vocab_size=len(words))
    llm = nxl.Explainer(model, words)
    generated = llm.generate("A great movie", max_new_tokens=3, do_sample=False, method=method)
    ids = [target.id for target in generated.targets]
    given = llm.explain("A great movie", target=ids, method=method)
    np.testing.assert_allclose(generated.scores, given.scores, rtol=1e-3, atol=1e-5)
    with_gradient = llm.explain("A great movie", method=method)
    np.testing.assert_allclose(
        given.scores[0, : len(with_gradient)], with_gradient.scores, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "gradient_norm", "layer": 1}, "has no layers"),
        ({"method": "gradient_norm", "norm": "l3"}, "l1, l2"),
        ({"method": "gradient_x_input", "reduce": "max"}, "sum, l1"),
        ({"method": "integrated_gradients", "n_steps": 0}, "n_steps"),
        ({"method": "integrated_gradients", "baseline": "mask"}, "tensors only"),
        ({"method": "integrated_gradients", "baseline": "nothing"}, "'nothing'"),
        ({"method": "integrated_gradients", "baseline": torch.zeros(3)}, r"\[32\]"),
        ({"method": "occlusion", "replacement": "mask"}, "tensors only"),
        ({"method": "occlusion", "unit": "word"}, "tensors only"),
        ({"method": "occlusion", "unit": torch.zeros(2, 3)}, "integer"),
        ({"method": "occlusion", "units": 1}, "no option 'units'"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], match: str) -> None:
    model = tiny_model("bert")
    with pytest.raises(nxl.OptionError, match=match):
        nxl.attribute(model, tiny_inputs(model), **options)


def test_pictures_have_no_tokens() -> None:
    model = tiny_model("vit", mapping="image-classification")
    inputs = tiny_inputs(model, mapping="image-classification")
    with pytest.raises(nxl.UnsupportedHeadError, match="no tokens"):
        nxl.attribute(model, inputs, method="gradient_norm")


def test_offloaded_weights_and_half_precision(tmp_path: Path) -> None:
    model = tiny_model("llama")
    inputs = row_of_distinct_tokens(model)
    offloaded = accelerate.disk_offload(
        copy.deepcopy(model), tmp_path / "weights", execution_device="cpu"
    )
    for method in RERUNNING:
        expected = nxl.attribute(model, inputs, method=method).scores
        torch.testing.assert_close(nxl.attribute(offloaded, inputs, method=method).scores, expected)
    half: Any = copy.deepcopy(model)
    half.to(torch.float16)
    expected = nxl.attribute(model, inputs, method="gradient_norm").scores
    scores = nxl.attribute(half, inputs, method="gradient_norm").scores
    torch.testing.assert_close(scores, expected, rtol=0.02, atol=0.02)
    with pytest.raises(nxl.ModelError, match="float32"):  # its gradients near 0 are over 65,504
        nxl.attribute(half, inputs, method="integrated_gradients")


@pytest.mark.parametrize("method", [*RERUNNING, "attention", "value_zeroing"])
def test_generated_texts_of_several_lengths_are_explained_as_alone(method: str) -> None:
    words = tokenizer("bpe", add_eos=False)
    llm = nxl.Explainer(tiny_model("gpt2", mapping="causal-lm", vocab_size=len(words)), words)
    prompts = ["Good", "The plot is not bad at all; the acting"]
    options: Any = {"max_new_tokens": 2, "do_sample": False, "method": method}
    if method == "integrated_gradients":
        options["n_steps"] = 5
    for prompt, result in zip(prompts, llm.generate(prompts, **options), strict=True):
        alone = llm.generate(prompt, **options)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-3, atol=1e-5)
        if method == "integrated_gradients":
            assert alone.provenance.options == {"n_steps": 5}


class _Drifting(nn.Module):
    """Adds to what a head gives, more at every call."""

    calls: Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, states: Tensor) -> Any:
        self.calls += 1
        return self.inner(states) + self.calls


@pytest.mark.parametrize("method", RERUNNING)
def test_a_model_that_says_something_else_the_second_time_is_refused(method: str) -> None:
    model: Any = tiny_model("bert")
    model.classifier = _Drifting(model.classifier)
    with pytest.raises(nxl.UnsupportedHeadError, match="before"):
        nxl.attribute(model, tiny_inputs(model), method=method, target=0)


@pytest.mark.parametrize("method", ["norm", "random", "position", "attention", "value_zeroing"])
def test_readouts_and_contrasts_that_would_do_nothing_are_refused(method: str) -> None:
    model = tiny_model("bert")
    for question in ({"readout": "margin"}, {"target": 0, "contrast": 1}):
        with pytest.raises(nxl.OptionError, match="neither readout nor contrast"):
            nxl.attribute(model, tiny_inputs(model), method=method, **question)


def test_the_norm_of_a_layer_is_that_of_its_states() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model)
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    mask = inputs["attention_mask"].bool()
    every = nxl.attribute(model, inputs, method="norm", layer="all").scores
    for layer, state in enumerate(states[1:]):
        torch.testing.assert_close(every[:, layer][mask], state.norm(dim=-1)[mask])
    final = nxl.attribute(model, inputs, method="norm").scores
    torch.testing.assert_close(final[mask], states[0].norm(dim=-1)[mask])


def test_batches_as_long_as_wide() -> None:
    model = tiny_model("xlnet")
    inputs = tiny_inputs(model, batch=7, padding=None)
    scores = nxl.attribute(model, inputs, method="gradient_x_input").scores
    for row in range(7):
        own = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, own, method="gradient_x_input").scores[0]
        torch.testing.assert_close(scores[row], alone, rtol=1e-4, atol=1e-6)


class _Scaled(nn.Parameter):
    """Weights that know something of themselves, as quantised ones do."""


def test_parameters_of_other_classes_stay_what_they_are() -> None:
    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            weight: Any = self.weight
            return nn.functional.linear(x, weight * weight.factor, self.bias)

    model: Any = tiny_model("bert")
    plain = copy.deepcopy(model)
    for layer in model.bert.encoder.layer:
        dense = layer.output.dense
        dense.__class__ = Linear
        dense.weight = _Scaled(dense.weight.data / 2, requires_grad=False)
        dense.weight.factor = 2.0
    inputs = tiny_inputs(model)
    for method in RERUNNING:
        expected = nxl.attribute(plain, inputs, method=method).scores
        found = nxl.attribute(model, inputs, method=method).scores
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_decoder_positions_are_named_only_where_they_are_scored() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words, "bart"), words)
    counts = explainer.token_counts(["the plot is good", "the plot", "the"])
    rare = explainer.explain("the plot is good", method="frequency", counts=counts)
    assert rare.tokens == ("<s>", "the", "plot", "is", "good", "</s>")
    assert np.all(np.diff(rare.scores[1:4]) > 0)
    assert explainer.explain("the plot", method="logat").tokens == ("<s>", "<s>", "the", "plot")


def test_tensors_are_not_for_texts() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    wide = torch.zeros(2, 5, 32)
    for options in (
        {"method": "integrated_gradients", "baseline": wide},
        {"method": "occlusion", "unit": torch.zeros(2, 5, dtype=torch.long)},
    ):
        with pytest.raises(nxl.OptionError, match=r"without text|tensors without"):
            explainer.explain(["The plot.", "Good."], **options)
    vector = explainer.explain("Good.", method="integrated_gradients", baseline=torch.zeros(32))
    zero = explainer.explain("Good.", method="integrated_gradients")
    np.testing.assert_allclose(vector.scores, zero.scores, rtol=1e-5)
