"""Methods, readouts, targets and layers against plain algebra on what the model itself gives."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

import normxlogit as nxl
from normxlogit.methods import METHODS, register
from normxlogit.methods.head_on_top import logat
from normxlogit.model.numerics import probability
from tests.helpers.zoo import tiny_config, tiny_inputs, tiny_model


class Bert:
    """A tiny BERT, a padded batch, and what the notebook's way computes from its hidden states."""

    def __init__(self, num_labels: int = 3, **config: Any) -> None:
        self.model = tiny_model("bert", num_labels, **config)
        self.inputs = tiny_inputs(self.model, batch=3)
        self.mask = self.inputs["attention_mask"].bool()
        with torch.no_grad():
            output = self.model(**self.inputs, output_hidden_states=True)
        self.prediction: Tensor = output.logits
        self.states: tuple[Tensor, ...] = output.hidden_states
        self.norms = self.states[0].norm(dim=-1)
        self.hot = self.head(self.states[-1])

    @torch.no_grad()
    def head(self, states: Tensor) -> Tensor:
        """Every token where [CLS] stands, one by one: [batch, sequence, classes]."""
        model: Any = self.model
        return torch.stack(
            [model.classifier(model.bert.pooler(states[:, i : i + 1])) for i in range(7)], 1
        )

    def check(self, actual: Tensor, expected: Tensor) -> None:
        mask = self.mask.reshape(3, *[1] * (actual.dim() - 2), 7).expand(actual.shape)
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual[mask], expected.expand(actual.shape)[mask])
        assert actual[~mask].isnan().all()

    def attribute(self, **question: Any) -> nxl.TensorAttribution:
        return nxl.attribute(self.model, self.inputs, **question)


@pytest.fixture(scope="module")
def bert() -> Bert:
    return Bert()


@pytest.fixture(scope="module")
def regression() -> Bert:
    return Bert(num_labels=1)


@pytest.fixture(scope="module")
def multi_label() -> Bert:
    return Bert(num_labels=4, problem_type="multi_label_classification")


def test_the_methods(bert: Bert) -> None:
    rows, predicted = torch.arange(3), bert.prediction.argmax(-1)
    logit = bert.hot[rows, :, predicted]
    bert.check(bert.attribute().scores, bert.norms * logit)
    bert.check(bert.attribute(method="logat").scores, logit)
    bert.check(bert.attribute(method="norm").scores, bert.norms)
    words = bert.model.get_input_embeddings()(bert.inputs["input_ids"]).norm(dim=-1).detach()
    bert.check(bert.attribute(method="norm", norm="word").scores, words)
    bert.check(bert.attribute(norm="word").scores, words * logit)


def test_what_comes_beside_the_scores(bert: Bert) -> None:
    result = bert.attribute(target="all")
    bert.check(result.norms, bert.norms)  # type: ignore[arg-type]
    torch.testing.assert_close(result.prediction, bert.prediction)
    assert result.read_position is not None
    assert result.read_position.tolist() == [0, 0, 0]
    assert result.targets.tolist() == [[0, 1, 2]] * 3
    assert result.layers == [2]
    assert result.logits is not None
    torch.testing.assert_close(result.logits[bert.mask], bert.hot[bert.mask])
    assert result.logits[~bert.mask].isnan().all()
    result.scores[0, 0, 0] = 1.0
    assert bert.attribute(method="norm").values is None


def test_the_readouts(bert: Bert) -> None:
    for target in range(3):
        others = [c for c in range(3) if c != target]
        expected = {
            "logit": bert.hot[..., target],
            "margin": bert.hot[..., target] - bert.hot[..., others].amax(-1),
            "logprob": bert.hot.softmax(-1)[..., target].log(),
            "centered": bert.hot[..., target] - bert.hot.mean(-1),
        }
        for readout, value in expected.items():
            result = bert.attribute(target=target, readout=readout, method="logat")
            bert.check(result.scores, value)
            result = bert.attribute(target=target, readout=readout)
            bert.check(result.scores, bert.norms * value)


def test_margin_and_its_like_do_not_see_a_constant_added_to_all_logits(bert: Bert) -> None:
    shifted = Bert()
    model: Any = shifted.model
    with torch.no_grad():
        model.classifier.bias += 5.0
    for readout in ("margin", "logprob", "centered"):
        torch.testing.assert_close(
            shifted.attribute(readout=readout).scores,
            bert.attribute(readout=readout).scores,
            equal_nan=True,
            rtol=1e-4,
            atol=1e-4,
        )
    assert (shifted.attribute().scores - bert.attribute().scores).nan_to_num().abs().max() > 1


def test_contrast(bert: Bert) -> None:
    result = bert.attribute(target=2, contrast="label_0")
    bert.check(result.scores, bert.norms * (bert.hot[..., 2] - bert.hot[..., 0]))
    result = bert.attribute(target=[2, 1], contrast=0)
    bert.check(result.scores[:, 1], bert.norms * (bert.hot[..., 1] - bert.hot[..., 0]))


def test_targets(bert: Bert) -> None:
    every = bert.attribute(target="all").scores
    assert every.shape == (3, 3, 7)
    bert.check(every, bert.norms[:, None] * bert.hot.transpose(1, 2))
    for target in ("LABEL_1", "label_1", 1, "1"):
        torch.testing.assert_close(
            bert.attribute(target=target).scores, every[:, 1], equal_nan=True
        )
    several = bert.attribute(target=["LABEL_2", 0])
    assert several.targets.tolist() == [[2, 0]] * 3
    torch.testing.assert_close(several.scores, every[:, [2, 0]], equal_nan=True)
    each = bert.attribute(target=torch.tensor([2, 0, 1]))
    torch.testing.assert_close(each.scores, every[torch.arange(3), [2, 0, 1]], equal_nan=True)


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "modernbert", "distilbert"])
def test_layers(model_type: str) -> None:
    """The head on `hidden_states` of each layer, the final norm applied where the trunk has one."""
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, padding=None)
    every = nxl.attribute(model, inputs, target=0, method="logat", layer="all")
    assert every.layers == [1, 2]
    assert every.scores.shape == (2, 2, 7)
    final = nxl.attribute(model, inputs, target=0, method="logat").scores
    torch.testing.assert_close(every.scores[:, -1], final)
    for layer in every.layers:
        alone = nxl.attribute(model, inputs, target=0, method="logat", layer=layer)
        assert alone.layers == [layer]
        torch.testing.assert_close(alone.scores, every.scores[:, layer - 1])
    with torch.no_grad():
        middle = model(**inputs, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(every.scores[:, 0], _head_on(model, model_type, middle)[..., 0])


@torch.no_grad()
def _head_on(model: Any, model_type: str, states: Tensor) -> Any:
    if model_type == "bert":
        pooled = torch.stack([model.bert.pooler(states[:, i : i + 1]) for i in range(7)], 1)
        return model.classifier(pooled)
    if model_type == "llama":
        return model.score(model.model.norm(states))
    if model_type == "gpt2":
        return model.score(model.transformer.ln_f(states))
    if model_type == "modernbert":
        return model.classifier(model.head(model.model.final_norm(states)))
    return model.classifier(model.pre_classifier(states).relu())


def test_layers_of_several_targets(bert: Bert) -> None:
    result = bert.attribute(target=[2, 0], layer="all")
    assert result.scores.shape == (3, 2, 2, 7)
    first = bert.head(bert.states[1])
    bert.check(result.scores[:, 1, 0], bert.norms * first[..., 0])
    bert.check(result.scores[:, 0, 1], bert.norms * bert.hot[..., 2])


def test_regression(regression: Bert) -> None:
    distance = (regression.hot[..., 0] - regression.prediction).abs()
    regression.check(regression.attribute(readout="distance").scores, regression.norms * distance)
    largest = distance.masked_fill(~regression.mask, 0).amax(-1, keepdim=True)
    closeness = regression.norms * (largest - distance)
    regression.check(regression.attribute(readout="closeness").scores, closeness)
    regression.check(regression.attribute().scores, closeness)
    with pytest.raises(nxl.OptionError, match="closeness, distance"):
        regression.attribute(readout="margin")
    with pytest.raises(nxl.OptionError, match="value, not a label"):
        regression.attribute(contrast=0)


def test_several_labels_at_once(multi_label: Bert) -> None:
    probability = multi_label.prediction.sigmoid()
    threshold = float(probability.flatten().sort().values[5])
    result = multi_label.attribute(threshold=threshold)
    for row in range(3):
        above = (probability[row] > threshold).nonzero().flatten().tolist()
        above = above or [int(probability[row].argmax())]
        explained = [t for t in result.targets[row].tolist() if t >= 0]
        assert sorted(explained) == sorted(above)
        assert explained == sorted(above, key=lambda t: -probability[row, t])
        for index, target in enumerate(explained):
            expected = (multi_label.norms * multi_label.hot[..., target])[row]
            kept = multi_label.mask[row]
            torch.testing.assert_close(result.scores[row, index][kept], expected[kept])
        assert result.scores[row, len(explained) :].isnan().all()
    log = multi_label.attribute(target=1, readout="logprob", method="logat").scores
    multi_label.check(log, multi_label.hot[..., 1].sigmoid().log())
    with pytest.raises(nxl.OptionError, match="margin"):
        multi_label.attribute(readout="margin")
    none = multi_label.attribute(threshold=1.0)
    assert none.targets.tolist() == probability.argmax(-1, keepdim=True).tolist()


def test_random_draws(bert: Bert) -> None:
    first = bert.attribute(method="random").scores
    torch.testing.assert_close(first, bert.attribute(method="random").scores, equal_nan=True)
    assert not torch.equal(
        first[bert.mask], bert.attribute(method="random", seed=1).scores[bert.mask]
    )
    alone = {key: value[2:, :3] for key, value in bert.inputs.items()}
    assert alone["attention_mask"].all()
    torch.testing.assert_close(
        nxl.attribute(bert.model, alone, method="random").scores, first[2:, :3]
    )
    many = [bert.attribute(method="random", seed=s).scores[bert.mask] for s in range(200)]
    assert abs(float(torch.stack(many).mean()) - 0.5) < 0.02


def test_a_method_of_ones_own(bert: Bert) -> None:
    @register("twice", family="test", source="-", reads="head")
    def twice(context: Any, factor: float = 2.0) -> Tensor:
        return factor * logat(context)

    try:
        scores = bert.attribute(method="twice", target=0).scores
        bert.check(scores, 2 * bert.hot[..., 0])
        bert.check(
            bert.attribute(method="twice", target=0, factor=3.0).scores, 3 * bert.hot[..., 0]
        )
        with pytest.raises(nxl.OptionError, match="already"):
            register("twice", family="test", source="-")(twice)
    finally:
        del METHODS["twice"]


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"target": "LABEL_9"}, "no label 'LABEL_9'.*LABEL_0"),
        ({"target": 3}, "no label 3.*from 0 to 2"),
        ({"target": -1}, "no label -1"),
        ({"target": True}, "no label True"),
        ({"target": []}, "at least one"),
        ({"target": torch.tensor([0, 1])}, r"shape \[3\]"),
        ({"target": torch.tensor([0, 1, 7])}, "no label 7"),
        ({"contrast": "nothing"}, "no label 'nothing'"),
        ({"target": 1, "contrast": 1}, "both 'LABEL_1'"),
        ({"target": 1, "contrast": 0, "readout": "margin"}, "margin"),
        ({"method": "lime"}, "no method 'lime'.*normxlogit"),
        ({"steps": 3}, "no option 'steps'.*norm"),
        ({"norm": "l1"}, "norm must be one of embedding, word"),
        ({"readout": "closeness"}, "readout 'closeness'.*logit, margin"),
        ({"layer": 3}, "no layer 3: layers go from 1 to 2"),
        ({"layer": 0}, "layer must be"),
        ({"layer": "last"}, "layer must be"),
        ({"layer": True}, "layer must be"),
    ],
)
def test_wrong_questions_are_one_clear_error(
    bert: Bert, question: dict[str, Any], says: str
) -> None:
    with pytest.raises(nxl.OptionError, match=says):
        bert.attribute(**question)


def test_models_that_cannot_be_explained(bert: Bert) -> None:
    model: Any = bert.model
    with pytest.raises(nxl.ModelError, match="AutoModelForSequenceClassification"):
        nxl.attribute(model.bert, bert.inputs)
    with pytest.raises(nxl.ModelError, match="Linear"):
        nxl.attribute(model.classifier, bert.inputs)
    with pytest.raises(nxl.InputError, match="input_ids"):
        nxl.attribute(model, {"inputs_embeds": bert.states[0]})


def test_nan_weights() -> None:
    broken: PreTrainedModel = tiny_model("bert")
    with torch.no_grad():
        next(broken.parameters())[:] = torch.nan
    with pytest.raises(nxl.ModelError, match="not finite"):
        nxl.attribute(broken, tiny_inputs(broken, padding=None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pool", ["sum", "first and last", "first plus last", "mean", "last"])
def test_which_pooling_is_a_function_of_one_token(pool: str, dtype: torch.dtype) -> None:
    """Pooling all alike and reading one position are; sums and fixed pairs of positions are not."""
    refused = 0
    for seed in range(5):
        model: Any = tiny_model("bert", seed=seed)

        class Pooling(type(model)):  # type: ignore[misc]
            def forward(self, **inputs: Any) -> Any:
                inputs.pop("return_dict", None)
                output = self.bert(**inputs, return_dict=True)
                hidden = output.last_hidden_state
                pooled = {
                    "sum": hidden.sum(1),
                    "first and last": hidden[:, 0] + 2 * hidden[:, -1],
                    "first plus last": hidden[:, 0] + hidden[:, -1],
                    "mean": hidden.mean(1),
                    "last": hidden[:, -1],
                }[pool]
                return SequenceClassifierOutput(logits=self.classifier(pooled))

        model.__class__ = Pooling
        inputs = tiny_inputs(model, length=24, padding=None)
        try:
            result = nxl.attribute(model.to(dtype), inputs)
        except nxl.UnsupportedHeadError:
            refused += 1
        else:
            assert result.read_position is not None
            assert result.read_position.tolist() == [23 if pool == "last" else -1] * 2
    assert refused == (0 if pool in ("mean", "last") else 5)


def test_float64(bert: Bert) -> None:
    full = nxl.attribute(copy.deepcopy(bert.model).double(), bert.inputs, layer="all")
    assert full.scores.dtype == torch.float32
    torch.testing.assert_close(
        full.scores, bert.attribute(layer="all").scores, equal_nan=True, rtol=1e-4, atol=1e-4
    )


def test_a_head_for_every_token_must_be_told_which() -> None:
    config: Any = tiny_config("bert")
    model = BertForTokenClassification(config)
    with pytest.raises(nxl.InputError, match="position"):
        nxl.attribute(model, tiny_inputs(model))


def test_a_head_that_reads_more_than_one_representation_is_refused() -> None:
    model: Any = tiny_model("bert")

    class Positional(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, **inputs: Any) -> Any:
            output = super().forward(input_ids, **inputs)
            output.logits = output.logits + input_ids[:, 1:2].float()
            return output

    model.__class__ = Positional
    inputs = tiny_inputs(model, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError):
        nxl.attribute(model, inputs)


def test_no_probability_is_above_one() -> None:
    logits = 400 + torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    logits[::2, 0] += 40
    total = logits.nextafter(torch.tensor(0.0)).logsumexp(-1, keepdim=True)
    assert (logits - total).exp().max() > 1
    probabilities = probability(logits, total)
    assert probabilities.max() == 1
    torch.testing.assert_close(
        probabilities, logits.double().softmax(-1).float(), rtol=1e-3, atol=0
    )
