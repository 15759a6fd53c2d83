"""Methods that run the model again, against loops and algebra on the model itself."""

import copy
import json
from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    BertForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    RobertaForSequenceClassification,
)
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

import normxlogit as nxl
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.paths import REFERENCES
from tools.coverage.zoo import tiny_inputs, tiny_model

GRADIENTS = ["gradient_norm", "gradient_x_input", "integrated_gradients"]
PASSES = [*GRADIENTS, "occlusion"]
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


def one_row(model: PreTrainedModel, mapping: str = "sequence-classification") -> dict[str, Tensor]:
    """A row in which every token occurs once."""
    inputs = tiny_inputs(model, batch=1, padding=None, mapping=mapping)
    ids = inputs["input_ids"]
    ids[0, 1:-1] = torch.arange(10, 10 + ids.shape[1] - 2)
    return inputs


@pytest.mark.parametrize("model_type", CLASSIFIERS)
def test_gradient_x_input_is_what_scaling_an_embedding_does(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = one_row(model)
    scores = nxl.attribute(model, inputs, target="all", method="gradient_x_input").scores[0]
    for target in range(3):
        expected, compared = derivatives(model, inputs, None, target), slice(None)
        if model_type in ("bart", "t5"):
            compared = slice(1, -1)  # the decoder begins with the id of one of the others, too
        np.testing.assert_allclose(
            scores[target, compared], expected[compared], rtol=1e-3, atol=1e-6
        )


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
        one_row(model, mapping)
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
        outputs = self.model(**inputs)
        logits = outputs.end_logits if self.output else outputs.start_logits
        return SequenceClassifierOutput(logits=logits[..., None])


def _span(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[int, int]:
    with torch.no_grad():
        outputs = model(**inputs)
    sums: Tensor = (outputs.start_logits[0][:, None] + outputs.end_logits[0]).triu()
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
    result = nxl.attribute(model, inputs, target=0, readout=readout, method="gradient_x_input")
    torch.testing.assert_close(result.scores, (gradient * embeds).sum(-1).detach())


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


@pytest.mark.parametrize("model_type", ["bert", "roberta", "llama"])
@pytest.mark.parametrize("baseline", ["zero", 4])
def test_integrated_gradients_are_complete(model_type: str, baseline: Any) -> None:
    model = tiny_model(model_type)
    inputs = one_row(model)
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


def test_integrated_gradients_with_too_few_steps_say_so() -> None:
    model = tiny_model("bert")
    result = nxl.attribute(
        model, tiny_inputs(model), method="integrated_gradients", n_steps=1, target="all"
    )
    assert result.notes["completeness_gap"].shape == (2, 3)
    assert result.notes["completeness_gap"].max() > 0.05


@pytest.mark.parametrize("model_type", ["bert", "llama", "t5"])
@pytest.mark.parametrize("replacement", ["remove", 4])
def test_occlusion_is_a_loop(model_type: str, replacement: Any) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=3)
    mask = inputs["attention_mask"].bool()
    if model_type == "t5":  # which must have an end
        mask &= inputs["input_ids"] != 2
    unit = torch.where(mask, torch.arange(7), -1)
    result = nxl.attribute(
        model, inputs, target="all", method="occlusion", replacement=replacement, unit=unit
    )
    for row in range(3):
        for token in mask[row].nonzero().flatten().tolist():
            changed = {key: value[row : row + 1].clone() for key, value in inputs.items()}
            if replacement == "remove":
                changed["attention_mask"][0, token] = 0
            else:
                changed["input_ids"][0, token] = replacement
            with torch.no_grad():
                whole = model(**{key: value[row : row + 1] for key, value in inputs.items()}).logits
                lost = (whole - model(**changed).logits)[0]
            torch.testing.assert_close(result.scores[row, :, token], lost, rtol=1e-4, atol=1e-5)
    assert result.scores[~mask[:, None].expand_as(result.scores)].isnan().all()


def test_occlusion_of_units_that_are_given() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=1, padding=None)
    unit = torch.tensor([[-1, 0, 0, 1, 1, 1, -1]])
    scores = nxl.attribute(model, inputs, method="occlusion", unit=unit, replacement=4).scores[0]
    with torch.no_grad():
        whole = model(**inputs).logits[0]
        changed = inputs["input_ids"].masked_fill(unit == 1, 4)
        lost = (whole - model(input_ids=changed).logits[0])[whole.argmax()]
    torch.testing.assert_close(scores[3:6], (lost / 3).expand(3), rtol=1e-4, atol=1e-6)
    assert scores[1] == scores[2]
    assert scores.isnan().tolist() == [True] + [False] * 5 + [True]


def test_occlusion_of_words_sentences_and_parts() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    text = "The plot is unbelievably good. Don't watch it!"
    result = explainer.explain(text, method="occlusion")
    ids = words(text, return_tensors="pt")["input_ids"]
    target = result.target.id
    for name, index in (("unbelievably", 3), ("Don't", 6)):
        word = result.words()
        number = word.tokens.index(name)
        changed = ids.masked_fill(torch.from_numpy(result.word_numbers == index)[None], 4)
        with torch.no_grad():
            lost = (
                explainer.model(ids).logits[0, target] - explainer.model(changed).logits[0, target]
            )
        assert word.scores[number] == pytest.approx(float(lost), rel=1e-4, abs=1e-6)
    sentences = explainer.explain(text, method="occlusion", unit="sentence").sentences()
    assert len(sentences) == 4  # with the special tokens, which have no score
    assert np.isnan(sentences.scores).tolist() == [True, False, False, True]
    part = explainer.explain(text, method="occlusion", unit=[(4, 8)])
    assert part.by([(4, 8)]).scores[0] == pytest.approx(
        explainer.explain(text, method="occlusion").words().scores[2], rel=1e-4
    )


def test_occlusion_that_is_not_heeded_is_refused() -> None:
    model = tiny_model("fnet")
    inputs = tiny_inputs(model, batch=1, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError, match="does not heed"):
        nxl.attribute(model, inputs, method="occlusion")
    assert nxl.attribute(model, inputs, method="occlusion", replacement=9).scores.isfinite().all()


def test_progressive_inference_reads_the_text_word_by_word() -> None:
    model = tiny_model("llama")
    inputs = tiny_inputs(model, batch=1, padding=None)
    ids = inputs["input_ids"]
    with torch.no_grad():
        prefixes = torch.cat([model(input_ids=ids[:, : i + 1]).logits for i in range(ids.shape[1])])
    expected = torch.cat([prefixes[:1], prefixes.diff(dim=0)]).mT
    scores = nxl.attribute(model, inputs, target="all", method="progressive_inference").scores[0]
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.sum(-1), prefixes[-1], rtol=1e-4, atol=1e-5)


def test_progressive_inference_with_padding_on_the_left() -> None:
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, batch=2, padding=None)
    scores = nxl.attribute(model, inputs, method="progressive_inference").scores
    padded = {key: torch.nn.functional.pad(value, (2, 0)) for key, value in inputs.items()}
    padded["position_ids"] = torch.nn.functional.pad(torch.arange(7)[None].expand(2, -1), (2, 0))
    beside = nxl.attribute(model, padded, method="progressive_inference").scores
    torch.testing.assert_close(beside[:, 2:], scores, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        last = model(**inputs).logits[:, -1].max(-1).values
    torch.testing.assert_close(scores.sum(-1), last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["bert", "bart", "xlnet"])
def test_progressive_inference_needs_a_causal_model(model_type: str) -> None:
    model = tiny_model(model_type)
    with pytest.raises(nxl.UnsupportedHeadError, match="causal"):
        nxl.attribute(model, tiny_inputs(model), method="progressive_inference")


def test_position_and_frequency() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=2, padding="left")
    scores = nxl.attribute(model, inputs, method="position").scores
    assert scores[1].nan_to_num(-1).tolist() == [-1, -1, 0, 1, 2, 3, 4]
    scores = nxl.attribute(model, inputs, method="position", first=True).scores
    assert scores[1].nan_to_num(-1).tolist() == [-1, -1, 4, 3, 2, 1, 0]
    counts = {int(inputs["input_ids"][0, 1]): 7, 0: 2}
    scores = nxl.attribute(model, inputs, method="frequency", counts=counts).scores
    assert float(scores[0, 1]) == pytest.approx(-np.log(8 / 12))
    assert float(scores[0, 0]) == pytest.approx(-np.log(3 / 12))
    with pytest.raises(nxl.OptionError, match="token_counts"):
        nxl.attribute(model, inputs, method="frequency")


def test_counts_of_a_corpus(explainer: nxl.Explainer) -> None:
    texts = ["the plot is the plot", "the end " * 60]
    counts = explainer.token_counts(texts)
    ids = [explainer.tokenizer(text)["input_ids"] for text in texts]
    assert counts.total() == sum(map(len, ids))
    rare = explainer.explain("the plot", method="frequency", counts=counts)
    assert rare.tokens[1:-1] == ("the", "plot")
    assert rare.scores[1] < rare.scores[2]
    assert rare.provenance.options["counts"] == f"Counter of {len(counts)}"


@pytest.mark.parametrize("method", PASSES)
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "t5"])
def test_alone_equals_batched_on_either_side(method: str, model_type: str) -> None:
    texts = ["A great movie with poor performers.", "Good.", "The plot is not bad at all; a mess."]
    options = {"n_steps": 8} if method == "integrated_gradients" else {}
    for side in ("left", "right"):
        words = tokenizer(padding_side=side)
        explainer = nxl.Explainer(classifier(words, model_type), words)
        together = explainer.explain(texts, method=method, **options)
        for text, result in zip(texts, together, strict=True):
            alone = explainer.explain(text, method=method, **options)
            np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", PASSES)
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
    for (name, number, wants, value), (name_after, p) in zip(
        before, model.named_parameters(), strict=True
    ):
        assert (name, number, wants) == (name_after, id(p), p.requires_grad)
        assert torch.equal(value, p)
        assert p.grad is None


@pytest.mark.parametrize("method", PASSES)
def test_generated_text_is_explained_as_a_given_one_is(method: str) -> None:
    words = tokenizer("bpe", add_eos=False)
    model = tiny_model("gpt2", mapping="causal-lm", vocab_size=len(words))
    llm = nxl.Explainer(model, words)
    generated = llm.generate("A great movie", max_new_tokens=3, do_sample=False, method=method)
    ids = [target.id for target in generated.targets]
    explained = llm.explain("A great movie", target=ids, method=method)
    np.testing.assert_allclose(generated.scores, explained.scores, rtol=1e-3, atol=1e-5)
    with_gradient = llm.explain("A great movie", method=method)
    np.testing.assert_allclose(
        explained.scores[0, : len(with_gradient)], with_gradient.scores, rtol=1e-3, atol=1e-5
    )


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


def test_a_regression_is_explained_by_its_value() -> None:
    model = tiny_model("bert", 1)
    inputs = one_row(model)
    result = nxl.attribute(model, inputs, method="gradient_x_input")
    assert result.readout == "value"
    np.testing.assert_allclose(
        result.scores[0], derivatives(model, inputs, None, 0), rtol=1e-3, atol=1e-6
    )
    with pytest.raises(nxl.OptionError, match="closeness"):
        nxl.attribute(model, inputs, method="gradient_x_input", readout="closeness")


def test_pictures_have_no_tokens() -> None:
    model = tiny_model("vit", mapping="image-classification")
    inputs = tiny_inputs(model, mapping="image-classification")
    with pytest.raises(nxl.UnsupportedHeadError, match="no tokens"):
        nxl.attribute(model, inputs, method="gradient_norm")


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("gradient_norm", "gradient_norm"),
        ("gradient_x_input", "input_x_gradient"),
        ("integrated_gradients", "integrated_gradients"),
    ],
)
def test_the_papers_way_gives_what_its_notebook_gave(number: int, method: str, key: str) -> None:
    references = load_file(REFERENCES / "notebook.safetensors")
    tensors = load_file(REFERENCES / "inputs.safetensors")
    inputs = {
        "input_ids": tensors[f"bert/{number}/input_ids"][None],
        "token_type_ids": tensors[f"bert/{number}/token_type_ids"][None],
    }
    model = reference_model("bert")
    result = nxl.attribute(model, inputs, method=method, compat="paper")
    assert result.targets[0].tolist() == references[f"bert/{number}/notebook/prediction"].tolist()
    expected = references[f"bert/{number}/notebook/{key}"]
    torch.testing.assert_close(result.scores[0].double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_normxlogit_gives_what_the_notebook_gave(kind: str) -> None:
    references = load_file(REFERENCES / "notebook.safetensors")
    tensors = load_file(REFERENCES / "inputs.safetensors")
    names = ("input_ids", "token_type_ids") if kind == "bert" else ("input_ids",)
    for number in range(4):
        inputs = {name: tensors[f"{kind}/{number}/{name}"][None] for name in names}
        result = nxl.attribute(reference_model(kind), inputs)
        expected = references[f"{kind}/{number}/notebook/normxlogit"]
        torch.testing.assert_close(result.scores[0].double(), expected, rtol=1e-4, atol=1e-5)


def reference_model(kind: str) -> PreTrainedModel:
    """The model that the references are of."""
    config = json.loads((REFERENCES / f"{kind}.json").read_text())
    model_class: Any = (
        BertForSequenceClassification if kind == "bert" else RobertaForSequenceClassification
    )
    model: PreTrainedModel = model_class(model_class.config_class.from_dict(config)).train(False)
    model.load_state_dict(load_file(REFERENCES / f"{kind}.safetensors"))
    return model


def test_offloaded_weights_and_half_precision(tmp_path: Path) -> None:
    model = tiny_model("llama")
    inputs = one_row(model)
    offloaded = accelerate.disk_offload(
        copy.deepcopy(model), tmp_path / "weights", execution_device="cpu"
    )
    for method in PASSES:
        expected = nxl.attribute(model, inputs, method=method).scores
        torch.testing.assert_close(nxl.attribute(offloaded, inputs, method=method).scores, expected)
    half: Any = copy.deepcopy(model)
    half.to(torch.float16)
    expected = nxl.attribute(model, inputs, method="gradient_norm").scores
    scores = nxl.attribute(half, inputs, method="gradient_norm").scores
    torch.testing.assert_close(scores, expected, rtol=0.02, atol=0.02)
    with pytest.raises(nxl.ModelError, match="float32"):  # its gradients near 0 are over 65,504
        nxl.attribute(half, inputs, method="integrated_gradients")


@pytest.mark.parametrize("method", [*PASSES, "attention", "value_zeroing"])
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


@pytest.mark.parametrize("method", PASSES)
def test_a_model_that_says_something_else_the_second_time_is_refused(method: str) -> None:
    model: Any = tiny_model("bert")
    model.classifier = _Drifting(model.classifier)
    with pytest.raises(nxl.UnsupportedHeadError, match="before"):
        nxl.attribute(model, tiny_inputs(model), method=method, target=0)


def test_variants_that_are_not_finite_are_refused() -> None:
    model: Any = tiny_model("bert")
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[9] = torch.inf
    inputs = one_row(model)
    inputs["input_ids"][inputs["input_ids"] == 9] = 30
    with pytest.raises(nxl.ModelError, match="not finite"):
        nxl.attribute(model, inputs, method="occlusion", replacement=9)


def test_progressive_inference_ends_where_the_head_reads() -> None:
    model = tiny_model("llama", pad_token_id=2)
    ids = torch.tensor([[1, 30, 31, 32, 2]])  # the last one counts as padding
    result = nxl.attribute(model, {"input_ids": ids}, method="progressive_inference")
    assert result.scores[0].isnan().tolist() == [False] * 4 + [True]
    output = result.prediction[0, int(result.targets[0, 0])]
    assert float(result.scores[0].nansum()) == pytest.approx(float(output), rel=1e-4)


def test_progressive_inference_of_a_regression_adds_up_to_its_value() -> None:
    model = tiny_model("llama", 1)
    inputs = tiny_inputs(model, batch=1, padding=None)
    result = nxl.attribute(model, inputs, method="progressive_inference")
    assert result.readout == "value"
    assert float(result.scores.sum()) == pytest.approx(float(result.prediction), rel=1e-4)
    with pytest.raises(nxl.OptionError, match="closeness"):
        nxl.attribute(model, inputs, method="progressive_inference", readout="closeness")


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
        inputs_of_row = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, inputs_of_row, method="gradient_x_input").scores[0]
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
    for method in PASSES:
        expected = nxl.attribute(plain, inputs, method=method).scores
        scores = nxl.attribute(model, inputs, method=method).scores
        torch.testing.assert_close(scores, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


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


def test_the_papers_way_is_of_one_row_at_a_time() -> None:
    words = tokenizer("bpe", add_eos=False)
    explainer = nxl.Explainer(classifier(words, "gpt2"), words)
    texts = ["Good", "The plot is not bad at all"]
    many = explainer.explain(texts, method="gradient_norm", compat="paper")
    for text, result in zip(texts, many, strict=True):
        alone = explainer.explain(text, method="gradient_norm", compat="paper")
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-4)
    with pytest.raises(nxl.OptionError, match="begins at zero"):
        explainer.explain("Good", method="integrated_gradients", compat="paper", baseline=3)
    bart = tiny_model("bart")
    with pytest.raises(nxl.UnsupportedHeadError, match="compat='paper'"):
        nxl.attribute(bart, tiny_inputs(bart, padding=None), method="gradient_norm", compat="paper")


def test_parts_of_texts_that_cannot_be_left_out() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    for unit in ([1, 2], [None], [(0, 2), (1, 4)], "letter", [(0, 99)], True):
        with pytest.raises((nxl.OptionError, nxl.InputError), match=r"unit|text|part"):
            explainer.explain("The plot is good", method="occlusion", unit=unit)
    for replacement in (10**6, -1, True, [1], "nonsense words"):
        with pytest.raises(nxl.OptionError):
            explainer.explain("The plot", method="occlusion", replacement=replacement)
    bare = tokenizer(pad_token=None)
    explainer = nxl.Explainer(classifier(words), bare)
    for token in ("pad", "mask"):
        with pytest.raises(nxl.OptionError, match=f"no {token} token"):
            explainer.explain("The plot", method="occlusion", replacement=token)
    model = tiny_model("fnet")
    with pytest.raises(nxl.InputError, match="nothing to read"):
        nxl.attribute(model, {"input_ids": torch.tensor([[5]])}, method="occlusion")


def test_parts_in_one_of_several_windows() -> None:
    words = tokenizer(mask_token="<mask>", model_max_length=16)
    explainer = nxl.Explainer(classifier(words, max_position_embeddings=16), words)
    text = "Good plot. " + "the acting is a mess " * 8
    result = explainer.explain(text, method="occlusion", unit=[(0, 4)], long="window")
    assert np.flatnonzero(~np.isnan(result.scores)).tolist() == [1]


def test_sentences_of_a_chat_stay_within_messages() -> None:
    words = tokenizer("bpe", add_eos=False)
    words.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    llm = nxl.Explainer(tiny_model("gpt2", mapping="causal-lm", vocab_size=len(words)), words)
    chat: Any = [
        {"role": "user", "content": "It is bad. Is it?"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Good"},
    ]
    result = llm.explain(chat, method="occlusion", unit="sentence", replacement=5).sentences()
    shown = [t.strip() for t, s in zip(result.tokens, result.special, strict=True) if not s]
    assert shown == ["It is bad.", "Is it?", "Yes", "Good"]
