"""Gradients and their integrals, against the model's own, taken by hand."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

import normxlogit as nxl
from tests.helpers.rerunning import row_of_distinct_tokens
from tests.helpers.zoo import tiny_inputs, tiny_model

CLASSIFIERS = ["bert", "roberta", "albert", "deberta-v2", "llama", "gpt2", "xlnet", "bart", "t5"]


def derivatives(
    model: Any, inputs: dict[str, Tensor], position: int | None, target: int
) -> list[float]:
    """What scaling each token's row of the embedding table does, the gradient being that of the
    model's own parameter; every token of the row occurs once.
    """
    model = copy.deepcopy(model)
    table: Any = model.get_input_embeddings().weight
    logits = model(**inputs).logits
    value = logits.flatten()[target] if position is None else logits[0, position, target]
    (gradient,) = torch.autograd.grad(value, table)
    ids = inputs["input_ids"].flatten()
    return [float(table[i].detach() @ gradient[i]) for i in ids]


@pytest.mark.parametrize("model_type", CLASSIFIERS)
def test_gradient_x_input_is_what_scaling_an_embedding_does(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = row_of_distinct_tokens(model)
    scores = nxl.attribute(model, inputs, target="all", method="gradient_x_input").scores[0]
    for target in range(3):
        expected, own = derivatives(model, inputs, None, target), slice(None)
        if model_type in ("bart", "t5"):
            own = slice(1, -1)  # the decoder begins with the id of one of the others, too
        np.testing.assert_allclose(scores[target, own], expected[own], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "mapping", "position"),
    [
        ("llama", "causal-lm", None),
        ("gpt2", "causal-lm", None),
        ("bert", "masked-lm", 2),
        ("roberta", "token-classification", 3),
        ("bert", "multiple-choice", None),
        ("bert", "question-answering", None),
    ],
)
def test_gradient_x_input_of_other_heads(
    model_type: str, mapping: str, position: int | None
) -> None:
    options = {} if "classification" in mapping else {"tie_word_embeddings": False}
    model = tiny_model(model_type, mapping=mapping, **options)
    inputs = (
        row_of_distinct_tokens(model, mapping)
        if mapping != "multiple-choice"
        else tiny_inputs(model, batch=1, padding=None, mapping=mapping)
    )
    result = nxl.attribute(model, inputs, position=position, method="gradient_x_input")
    target = int(result.targets[0, 0])
    if mapping == "multiple-choice":
        inputs = {key: value[:, target : target + 1] for key, value in inputs.items()}
        inputs["input_ids"][0, 0] = torch.arange(10, 10 + inputs["input_ids"].shape[-1])
        result = nxl.attribute(model, inputs, method="gradient_x_input")
        inputs = {key: value[0] for key, value in inputs.items()}
        expected = derivatives(_Only(model), inputs, None, 0)
    elif mapping == "question-answering":
        start, end = (
            result.read_position[0].tolist()
            if result.read_position is not None
            else _span(model, inputs)
        )
        parts = [derivatives(_Only(model, i), inputs, p, 0) for i, p in ((0, start), (1, end))]
        expected = [sum(pair) for pair in zip(*parts, strict=True)]
    else:
        place = inputs["input_ids"].shape[1] - 1 if position is None else position
        expected = derivatives(model, inputs, place, target)
    np.testing.assert_allclose(result.scores[0], expected, rtol=1e-3, atol=1e-6)


class _Only(nn.Module):
    """A model by one of its outputs, as logits [batch, ..., 1]."""

    def __init__(self, model: PreTrainedModel, output: int | None = None) -> None:
        super().__init__()
        self.model, self.output = model, output

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def forward(self, **inputs: Tensor) -> Any:
        if self.output is None:
            ids = {key: value[None] for key, value in inputs.items()}
            return SequenceClassifierOutput(logits=self.model(**ids).logits)
        found = self.model(**inputs)
        logits = found.end_logits if self.output else found.start_logits
        return SequenceClassifierOutput(logits=logits[..., None])


def _span(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[int, int]:
    with torch.no_grad():
        found = model(**inputs)
    sums: Tensor = (found.start_logits[0][:, None] + found.end_logits[0]).triu()
    sums = sums.masked_fill(~torch.ones_like(sums, dtype=torch.bool).triu(), -torch.inf)
    best = int(sums.argmax())
    return best // len(sums), best % len(sums)


def test_gradient_norms_by_the_models_own_inputs_embeds() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=3)
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeds, attention_mask=inputs["attention_mask"]).logits
    logits.max(-1).values.sum().backward()
    mask = inputs["attention_mask"].bool()
    for norm, order in (("l1", 1), ("l2", 2)):
        scores = nxl.attribute(model, inputs, method="gradient_norm", norm=norm).scores
        torch.testing.assert_close(scores[mask], embeds.grad.norm(p=order, dim=-1)[mask])
        assert scores[~mask].isnan().all()


def test_token_types_and_contrast_reach_the_gradients() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=1, padding=None)
    inputs["token_type_ids"] = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeds, token_type_ids=inputs["token_type_ids"]).logits[0]
    (gradient,) = torch.autograd.grad(logits[1] - logits[2], embeds)
    scores = nxl.attribute(model, inputs, target=1, contrast=2, method="gradient_x_input").scores
    torch.testing.assert_close(scores, (gradient * embeds).sum(-1).detach())


@pytest.mark.parametrize("readout", ["margin", "logprob", "centered"])
def test_readouts_are_of_the_models_own_output(readout: str) -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=1, padding=None)
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeds).logits[0]
    value = {
        "margin": lambda: logits[0] - logits[1:].max(),
        "logprob": lambda: logits.log_softmax(-1)[0],
        "centered": lambda: logits[0] - logits.mean(),
    }[readout]()
    (gradient,) = torch.autograd.grad(value, embeds)
    found = nxl.attribute(model, inputs, target=0, readout=readout, method="gradient_x_input")
    torch.testing.assert_close(found.scores, (gradient * embeds).sum(-1).detach())


@pytest.mark.parametrize("model_type", ["bert", "roberta", "llama"])
@pytest.mark.parametrize("baseline", ["zero", 4])
def test_integrated_gradients_are_complete(model_type: str, baseline: Any) -> None:
    model = tiny_model(model_type)
    inputs = row_of_distinct_tokens(model)
    result = nxl.attribute(
        model, inputs, target="all", method="integrated_gradients", n_steps=300, baseline=baseline
    )
    emptied: Any = copy.deepcopy(model)
    table = emptied.get_input_embeddings().weight.data
    table[inputs["input_ids"][0]] = 0 if baseline == "zero" else table[baseline].clone()
    with torch.no_grad():
        moved = (model(**inputs).logits - emptied(**inputs).logits)[0]
    gaps = ((result.scores[0].sum(-1) - moved) / moved).abs()
    assert (gaps < 0.01).all()
    torch.testing.assert_close(result.notes["completeness_gap"][0], gaps, rtol=0.1, atol=1e-4)


def test_integrated_gradients_leave_padding_as_it_is() -> None:
    """FNet reads padding like any other token, so where the path begins there changes scores."""
    model = tiny_model("fnet")
    inputs = tiny_inputs(model, batch=2, padding="right")
    result = nxl.attribute(model, inputs, target=1, method="integrated_gradients", n_steps=64)
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    assert not mask.all()
    table: Any = model.get_input_embeddings()
    embeddings = table(ids).detach()
    start = embeddings * ~mask[..., None]
    total = torch.zeros_like(embeddings)
    steps = 300
    for step in range(steps):
        point = (start + (step + 0.5) / steps * (embeddings - start)).requires_grad_()
        value = model(inputs_embeds=point).logits[:, 1].sum()
        total += torch.autograd.grad(value, point)[0]
    expected = ((embeddings - start) * total / steps).sum(-1)[mask]
    torch.testing.assert_close(result.scores[mask], expected, rtol=1e-2, atol=1e-5)


def test_integrated_gradients_with_too_few_steps_say_so() -> None:
    model = tiny_model("bert")
    result = nxl.attribute(
        model, tiny_inputs(model), method="integrated_gradients", n_steps=1, target="all"
    )
    assert result.notes["completeness_gap"].shape == (2, 3)
    assert result.notes["completeness_gap"].max() > 0.05


def test_a_source_and_its_prefix_have_gradients() -> None:
    model = tiny_model("t5", mapping="seq2seq-lm", tie_word_embeddings=False)
    inputs = tiny_inputs(model, batch=1, padding=None, mapping="seq2seq-lm")
    result = nxl.attribute(model, inputs, position=2, target=7, method="gradient_x_input")
    source = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    prefix = model.get_input_embeddings()(inputs["decoder_input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=source, decoder_inputs_embeds=prefix).logits[0, 2, 7]
    gradients = torch.autograd.grad(logits, (source, prefix))
    expected = torch.cat(
        [(g * e).sum(-1).detach() for g, e in zip(gradients, (source, prefix), strict=True)], 1
    )
    taken = ~result.scores[0].isnan()
    assert taken.tolist() == [True] * 7 + [True] * 3 + [False] * (len(taken) - 10)
    torch.testing.assert_close(result.scores[0, taken], expected[0, taken], rtol=1e-4, atol=1e-6)


def test_a_regression_is_explained_by_its_value() -> None:
    model = tiny_model("bert", 1)
    inputs = row_of_distinct_tokens(model)
    result = nxl.attribute(model, inputs, method="gradient_x_input")
    assert result.readout == "value"
    np.testing.assert_allclose(
        result.scores[0], derivatives(model, inputs, None, 0), rtol=1e-3, atol=1e-6
    )
    with pytest.raises(nxl.OptionError, match="closeness"):
        nxl.attribute(model, inputs, method="gradient_x_input", readout="closeness")
