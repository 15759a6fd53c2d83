"""Where x^0 and x^L are found in trunks of any build, against their own modules called by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

import normxlogit as nxl
from tests.helpers.zoo import tiny_config, tiny_inputs, tiny_model

LENGTH = WIDTH = 7
"""As long as it is wide, so that states and their transpose have one shape."""


class Block(nn.Module):
    """A step of a residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        mixed: Tensor = states + self.linear(states).tanh() + 0.1 * states.mean(1, keepdim=True)
        return mixed


def blocks(count: int) -> nn.ModuleList:
    return nn.ModuleList([Block() for _ in range(count)])


def run_all(modules: Any, states: Tensor) -> Tensor:
    for module in modules:
        states = module(states)
    return states


class Parts(nn.Module):
    """A small list of blocks, then the main one, then two norms."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, WIDTH)
        self.early, self.main = blocks(1), blocks(3)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(WIDTH) for name in ("first", "second")})
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def zero(self, ids: Tensor) -> Tensor:
        return run_all(self.early, self.embeddings(ids))

    def finish(self, states: Tensor) -> Tensor:
        return run_all(self.norms.values(), states)

    def states(self, ids: Tensor) -> Tensor:
        return self.finish(run_all(self.main, self.zero(ids)))


Returns = Callable[[Any, Tensor], Any]
"""Takes a trunk and its final states; returns what the trunk does."""


class Trunk(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A sub-model of transformers of these parts."""

    config_class = BertConfig

    def __init__(self, config: Any, returns: Returns) -> None:
        super().__init__(config)
        self.parts, self.returns = Parts(config.vocab_size), returns

    def get_input_embeddings(self) -> nn.Module:
        return self.parts.embeddings

    def forward(self, input_ids: Tensor) -> Any:
        return self.returns(self.parts, self.parts.states(input_ids))


class Classifier(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A head that reads what `read` takes from the trunk's output."""

    config_class = BertConfig

    def __init__(self, returns: Returns, read: Callable[[Any], Tensor]) -> None:
        super().__init__(tiny_config("bert"))
        self.trunk = Trunk(self.config, returns)
        self.classifier, self.read = nn.Linear(WIDTH, 3), read
        self.parts = self.trunk.parts

    def get_input_embeddings(self) -> nn.Module:
        return self.parts.embeddings

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        logits = self.classifier(self.read(self.trunk(input_ids)))
        return SequenceClassifierOutput(logits=logits)


def build(model: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model().eval()


def text() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(5, 60, (3, LENGTH), generator=generator)}


def check(model: Any, hot: Callable[[Tensor], Tensor], position: int = 0) -> None:
    """Scores are ||x^0|| times what `hot` gives for the final states of all tokens."""
    inputs = text()
    result = nxl.attribute(model, inputs, target=1)
    with torch.no_grad():
        norms = model.parts.zero(inputs["input_ids"]).norm(dim=-1)
        expected = norms * hot(model.parts.states(inputs["input_ids"]))[..., 1]
    torch.testing.assert_close(result.scores, expected)
    assert result.read_position is not None
    assert result.read_position.tolist() == [position] * 3


def of_first(output: Any) -> Tensor:
    states: Tensor = output.last_hidden_state[:, 0]
    return states


def plain(_parts: Any, states: Tensor) -> Any:
    return BaseModelOutputWithPooling(last_hidden_state=states)


def test_the_input_of_the_largest_list_of_blocks() -> None:
    model = build(lambda: Classifier(plain, of_first))
    check(model, model.classifier)


def test_layers_are_read_through_all_that_follows_the_last_block() -> None:
    model = build(lambda: Classifier(plain, of_first))
    inputs = text()
    scores = nxl.attribute(model, inputs, target=1, layer=1).scores
    with torch.no_grad():
        zero = model.parts.zero(inputs["input_ids"])
        hot = model.classifier(model.parts.finish(model.parts.main[0](zero)))
        expected = zero.norm(dim=-1) * hot[..., 1]
    torch.testing.assert_close(scores.reshape(expected.shape), expected)


@pytest.mark.parametrize("position", [0, 2, LENGTH - 1])
def test_a_pooler_of_any_position(position: int) -> None:
    def pooled(parts: Any, states: Tensor) -> Any:
        pooler_output = parts.pooler(states[:, position])
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooler_output)

    model = build(lambda: Classifier(pooled, lambda output: output.pooler_output))
    check(model, lambda states: model.classifier(model.parts.pooler(states)), position)


def test_states_under_another_name() -> None:
    def twice(_parts: Any, states: Tensor) -> Any:
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=states.view_as(states)
        )

    model = build(lambda: Classifier(twice, lambda output: output.pooler_output[:, 0]))
    check(model, model.classifier)


def test_a_sub_model_that_returns_a_tuple() -> None:
    model = build(lambda: Classifier(lambda _, states: (states, None), lambda out: out[0][:, 0]))
    check(model, model.classifier)


class PlainTrunk(Parts):
    """No sub-model of transformers, but it names its states."""

    def forward(self, input_ids: Tensor) -> Any:
        return plain(self, self.states(input_ids))


class PlainHead(nn.Linear):
    """A head that names its logits."""

    def forward(self, states: Tensor) -> Any:
        return SequenceClassifierOutput(logits=super().forward(states))


class OfPlainModules(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A model whose only sub-model of transformers is itself."""

    config_class = BertConfig

    def __init__(self) -> None:
        super().__init__(tiny_config("bert"))
        self.parts, self.head = PlainTrunk(self.config.vocab_size), PlainHead(WIDTH, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.parts.embeddings

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        return self.head(of_first(self.parts(input_ids)))


def test_a_trunk_and_a_head_that_are_plain_modules() -> None:
    model = build(OfPlainModules)
    check(model, lambda states: model.head(states).logits)


class Wrapper(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A model that returns what a whole classifier says."""

    config_class = BertConfig
    _supports_sdpa = True

    def __init__(self, inner: Any, return_dict: bool) -> None:
        super().__init__(inner.config)
        self.inner, self.return_dict = inner, return_dict

    def get_input_embeddings(self) -> Any:
        return self.inner.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        output = self.inner(input_ids, attention_mask, return_dict=self.return_dict)
        return SequenceClassifierOutput(logits=2 * output[0])


@pytest.mark.parametrize("return_dict", [True, False])
def test_sub_models_that_return_logits_hide_no_trunk(return_dict: bool) -> None:
    inner = tiny_model("bert")
    inputs = tiny_inputs(inner)
    wrapper: Any = Wrapper
    model = wrapper(inner, return_dict).eval()
    scores = nxl.attribute(model, inputs, target=1).scores
    expected = 2 * nxl.attribute(inner, inputs, target=1).scores
    torch.testing.assert_close(scores, expected, equal_nan=True)
