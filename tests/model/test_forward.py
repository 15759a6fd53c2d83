"""A forward pass against what the model itself gives."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.targets import Problem, TargetIds
from tests.helpers.zoo import tiny_inputs, tiny_model


@pytest.fixture(autouse=True)
def inferring() -> Iterator[None]:
    """Heads are replayed when they are asked for, in inference mode as all of a call."""
    with inference():
        yield


def run(model: Any, inputs: dict[str, Tensor], **options: Any) -> ForwardPass:
    return ForwardPass.run(model, inputs, **options)


def passed(model_type: str, mapping: str, **options: Any) -> tuple[Any, dict[str, Tensor], Any]:
    """A model, its inputs, of which the second row is padded on the right, and a pass over them."""
    model = tiny_model(model_type, mapping=mapping)
    inputs = tiny_inputs(model, mapping=mapping)
    return model, inputs, run(model, inputs, **options)


def test_which_layers_are_read() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, padding=None)
    depth = model.config.num_hidden_layers
    for layer, layers in ((None, [depth]), ("all", [1, 2]), (1, [1]), (depth, [depth])):
        forward = run(model, inputs, layer=layer)
        assert forward.layers == layers
        assert forward.names_layers is (layer is not None)
    for layer in (0, -1, depth + 1):
        with pytest.raises(nxl.OptionError, match=f"no layer {layer}: layers go from 1 to {depth}"):
            run(model, inputs, layer=layer)


@pytest.mark.parametrize("padding", [None, "left", "right"])
def test_logits_of_tokens_at_positions(padding: Any) -> None:
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, mapping="causal-lm", padding=padding)
    forward = run(model, inputs)
    with torch.no_grad():
        logits = model(**inputs).logits
    last = inputs["attention_mask"].shape[1] - 1 - inputs["attention_mask"].flip(1).argmax(1)
    rows = torch.arange(2)
    torch.testing.assert_close(forward.prediction, logits[rows, last], rtol=1e-4, atol=1e-5)
    positions, ids = torch.stack([last - 1, last, last], 1), torch.tensor([[5, 6, 7], [7, 7, 5]])
    at = logits[rows[:, None], positions]
    expected = at.gather(2, ids[..., None])[..., 0]
    torch.testing.assert_close(forward.logits_at(positions, ids), expected, rtol=1e-4, atol=1e-5)
    totals = forward.totals_at(positions)
    torch.testing.assert_close(totals, at.logsumexp(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mapping", ["sequence-classification", "token-classification"])
def test_hot_of_every_token(mapping: str) -> None:
    options = {"position": torch.tensor([1, 2])} if mapping.startswith("token") else {}
    model, inputs, forward = passed("bert", mapping, **options)
    states = model.bert(**inputs).last_hidden_state.detach()
    if mapping.startswith("token"):
        expected = model.classifier(states)
        assert forward.read_position.tolist() == [[1], [2]]
        at = expected[torch.arange(2), torch.tensor([1, 2])]
        torch.testing.assert_close(forward.prediction, at, rtol=1e-4, atol=1e-5)
    else:
        expected = model.classifier(model.bert.pooler.dense(states).tanh())
        assert forward.read_position.tolist() == [0, 0]
    expected[inputs["attention_mask"] == 0] = torch.nan
    torch.testing.assert_close(forward.hot, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert run(*tokens_of("gpt2")).hot is None


def tokens_of(model_type: str) -> tuple[Any, dict[str, Tensor]]:
    model = tiny_model(model_type, mapping="causal-lm")
    return model, tiny_inputs(model, mapping="causal-lm")


def test_a_position_has_to_be_named_where_each_has_an_output() -> None:
    _, _, forward = passed("bert", "token-classification")
    assert forward.read_position is None
    with pytest.raises(nxl.InputError, match="say with position which of them"):
        forward.prediction  # noqa: B018
    forward.read_at(torch.tensor([[2, 1]] * 2))
    assert forward.at_positions.shape == (2, 2, 3)


def test_norms_of_embeddings() -> None:
    model, inputs, forward = passed("bert", "sequence-classification")
    zero = model.bert(**inputs, output_hidden_states=True).hidden_states[0].detach()
    words = model.get_input_embeddings()(inputs["input_ids"]).detach()
    for kind, vectors in (("embedding", zero), ("word", words)):
        expected = vectors.norm(dim=-1).masked_fill(inputs["attention_mask"] == 0, torch.nan)
        torch.testing.assert_close(forward.norms(kind), expected, equal_nan=True)
    with pytest.raises(nxl.OptionError, match="norm must be one of embedding, word; got 'l2'"):
        forward.norms("l2")
    assert forward.has_norms


def test_norms_that_take_a_second_pass_count_once_it_was_made() -> None:
    _, _, forward = passed("squeezebert", "sequence-classification")
    assert not forward.has_norms
    assert forward.norms().shape == forward.mask.shape
    assert forward.has_norms


def test_what_a_head_reads_of_positions() -> None:
    targets = TargetIds(torch.zeros(2, 1).long())
    _, inputs, forward = passed("bert", "sequence-classification")
    mask = inputs["attention_mask"].float()
    assert not mask.all()
    assert forward.read_weights(targets)[:, 0, 0].tolist() == [1, 1]
    assert forward.read_weights(targets).sum(-1).tolist() == [[1], [1]]
    _, _, pooled = passed("distilbert", "question-answering")
    start, end = pooled.read.T.tolist()
    ids = TargetIds(torch.tensor([[0, 1, 2]] * 2))
    for row, weights in enumerate(pooled.read_weights(ids).tolist()):
        for number, places in enumerate(([start], [end], [start, end])):
            expected = torch.zeros(mask.shape[1])
            for place in places:
                expected[place[row]] += 1 / len(places)
            assert weights[number] == expected.tolist()
    model: Any = tiny_model("bert")

    class Mean(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states = self.bert(input_ids, attention_mask).last_hidden_state
            kept = states * attention_mask[..., None]
            return (self.classifier(kept.sum(1) / attention_mask.sum(1, keepdim=True)),)

    model.__class__ = Mean
    weights = run(model, inputs).read_weights(targets)
    torch.testing.assert_close(weights[:, 0], mask / mask.sum(1, keepdim=True))


def test_tokens_whose_states_are_far_larger_are_sinks() -> None:
    """Of causal models alone, and of tokens."""
    model, inputs = tokens_of("gpt2")
    assert not run(model, inputs).sinks.any()
    model.transformer.wpe.weight.data[1] *= 1000
    expected = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    expected[:, 1] = True
    assert torch.equal(run(model, inputs).sinks, expected)
    classifier: Any = tiny_model("gpt2")
    classifier.transformer.wpe.weight.data[1] *= 1000
    assert not run(classifier, tiny_inputs(classifier, padding=None)).sinks.any()
    decoder = tiny_model("t5", mapping="seq2seq-lm")
    sinks = run(decoder, tiny_inputs(decoder, mapping="seq2seq-lm", padding=None)).sinks
    assert not sinks.any()


def test_methods_that_change_tokens_need_tokens() -> None:
    model = tiny_model("vit", mapping="image-classification")
    inputs = tiny_inputs(model, mapping="image-classification")
    for method in ("occlusion", "gradient_norm"):
        with pytest.raises(nxl.UnsupportedHeadError, match="reads no tokens"):
            nxl.attribute(model, inputs, method=method)


def test_every_choice_is_a_row_with_one_output() -> None:
    model, inputs, forward = passed("bert", "multiple-choice")
    batch, choices, length = inputs["input_ids"].shape
    with torch.no_grad():
        expected = model(**inputs).logits
    assert forward.problem is Problem.CHOICE
    assert list(forward.labels) == [f"choice {n}" for n in range(choices)]
    torch.testing.assert_close(forward.prediction, expected, rtol=1e-4, atol=1e-5)
    assert forward.read_position.tolist() == [[0] * choices] * batch
    assert forward.mask.shape == forward.ids.shape == (batch, choices, length)
    hot = forward.hot
    assert hot.shape == (batch, length, choices)
    torch.testing.assert_close(hot[:, 0], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(hot.isnan(), ~forward.mask.transpose(1, 2))
    targets = TargetIds(torch.tensor([[1], [0]]))
    rows = torch.arange(batch)
    assert torch.equal(forward.seen(targets)[:, 0], forward.mask[rows, targets.ids[:, 0]])
    norms = forward.norms()
    chosen = norms[rows, targets.ids[:, 0]]
    assert torch.equal(forward.of_targets(norms, targets)[:, 0].nan_to_num(), chosen.nan_to_num())


def test_norms_of_a_source_without_those_of_the_target_are_undefined() -> None:
    _, _, forward = passed("t5", "seq2seq-lm")
    assert forward.sources
    assert forward.norms().shape == forward.mask.shape
    vars(forward.captured.states)["norms"] = None
    with pytest.raises(nxl.UnsupportedHeadError, match="do not stand one to a position"):
        forward.norms()
    with pytest.raises(nxl.UnsupportedHeadError, match="word vectors do not stand one"):
        forward.norms("word")
