"""Models that people write on trunks of transformers: served if HoT is defined, else refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertModel,
    DetrConfig,
    DetrForObjectDetection,
    PreTrainedModel,
    ResNetConfig,
    RobertaModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    MultipleChoiceModelOutput,
    SequenceClassifierOutput,
)

import normxlogit as nxl
from tests.helpers.zoo import tiny_config, tiny_inputs, tiny_model

Outputs = Callable[[Any, Any, Any], Any]
"""Takes the model, what its trunk returned, and numbers beside the text; returns its output."""


def custom(outputs: Outputs, num_labels: int = 3, **trunk_options: Any) -> Any:
    """A random BERT whose forward takes no `return_dict` and returns what `outputs` gives."""
    model: Any = tiny_model("bert", num_labels=num_labels, seed=1)

    class Custom(type(model)):  # type: ignore[misc]
        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, numbers: Tensor | None = None
        ) -> Any:
            trunk = self.bert(input_ids, attention_mask=attention_mask, **trunk_options)
            return outputs(self, trunk, numbers)

    model.__class__ = Custom
    return model


def scores_of_first(model: Any, inputs: dict[str, Tensor], offset: Any = 0.0) -> Tensor:
    """||x^0|| times the first output of the classifier on each token's state, plus an offset."""
    with torch.no_grad():
        states = model.bert(**inputs, output_hidden_states=True).hidden_states
        values: Tensor = model.classifier(states[-1])[..., 0] + offset
        norms: Tensor = states[0].norm(dim=-1)
        return norms * values


RETURNED: dict[str, Outputs] = {
    "a tuple": lambda m, t, _: (m.classifier(t.last_hidden_state[:, 0]), t.last_hidden_state),
    "a dict": lambda m, t, _: {"logits": m.classifier(t.last_hidden_state[:, 0])},
    "a tensor": lambda m, t, _: m.classifier(t.last_hidden_state[:, 0]),
    "of the last of all states": lambda m, t, _: SequenceClassifierOutput(
        logits=m.classifier(t.hidden_states[-1][:, 0]), hidden_states=t.hidden_states
    ),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_a_forward_may_return(name: str) -> None:
    model = custom(RETURNED[name], output_hidden_states="states" in name)
    inputs = tiny_inputs(model, padding=None)
    result = nxl.attribute(model, inputs, target=0)
    torch.testing.assert_close(result.scores, scores_of_first(model, inputs))
    assert result.read_position is not None
    assert result.read_position.tolist() == [0, 0]


def test_a_trunk_that_returns_a_tuple() -> None:
    model = custom(lambda m, t, _: (m.classifier(t[0][:, 0]),), return_dict=False)
    inputs = tiny_inputs(model, padding=None)
    scores = nxl.attribute(model, inputs, target=0).scores
    torch.testing.assert_close(scores, scores_of_first(model, inputs))


def test_a_regression_that_gives_one_number_a_row() -> None:
    model = custom(lambda m, t, _: m.classifier(t.last_hidden_state[:, 0]).squeeze(-1), 1)
    inputs = tiny_inputs(model, padding=None)
    result = nxl.attribute(model, inputs, readout="value")
    torch.testing.assert_close(result.scores, scores_of_first(model, inputs))
    assert result.prediction.shape == (2, 1)


def test_numbers_beside_the_text_are_held_fixed() -> None:
    def with_numbers(model: Any, trunk: Any, numbers: Tensor) -> Tensor:
        logits: Tensor = model.classifier(trunk.last_hidden_state[:, 0])
        return logits + numbers.sum(-1, keepdim=True)

    model = custom(with_numbers)
    inputs = tiny_inputs(model, padding=None)
    numbers = torch.tensor([[0.5, 1.0, -3.0], [2.0, 2.0, 4.0]])
    result = nxl.attribute(model, inputs | {"numbers": numbers}, target=0)
    expected = scores_of_first(model, inputs, numbers.sum(-1)[:, None])
    torch.testing.assert_close(result.scores, expected)


def test_a_number_that_is_no_rows_is_given_as_it_is() -> None:
    model = custom(
        lambda m, t, n: m.classifier(t.last_hidden_state[:, 0]) + (0 if n is None else 1)
    )
    inputs = tiny_inputs(model, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError):
        nxl.attribute(model, inputs | {"numbers": torch.tensor(2.0)}, target=0)
    model = custom(lambda m, t, _: m.classifier(t.last_hidden_state[:, 0]))
    scores = nxl.attribute(model, inputs | {"numbers": torch.tensor(2.0)}, target=0).scores
    torch.testing.assert_close(scores, scores_of_first(model, inputs))


def test_a_text_that_is_read_in_several_positions_beside_one_that_is_not() -> None:
    """The head reads two positions of the rows whose second token is 7, one of the others."""
    model: Any = tiny_model("bert", seed=1)

    class Choosy(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
            reads_two = (input_ids[:, 1:2] == 7).any(1, keepdim=True)
            other = torch.where(reads_two, states[:, -1], 0)
            return self.classifier(states[:, 0] + other)

    model.__class__ = Choosy
    inputs = tiny_inputs(model, 3, padding=None)
    scores = nxl.attribute(model, inputs, target=0).scores
    torch.testing.assert_close(scores, scores_of_first(model, inputs))
    for row in range(3):
        ids = inputs["input_ids"].clone()
        ids[row, 1] = 7
        with pytest.raises(nxl.UnsupportedHeadError, match="several positions"):
            nxl.attribute(model, inputs | {"input_ids": ids}, target=0)


class ChoicesByPool(BertForMultipleChoice):  # type: ignore[no-untyped-call]
    """Multiple choice by the mean of a choice's tokens."""

    def pool(self, states: Tensor, _mask: Tensor) -> Tensor:
        return states.mean(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        ids, mask = (value.flatten(0, 1) for value in (input_ids, attention_mask))
        states = self.bert(ids, attention_mask=mask).last_hidden_state
        logits = self.classifier(self.pool(states, mask))
        return MultipleChoiceModelOutput(logits=logits.view(len(input_ids), -1))


class ChoicesByLast(ChoicesByPool):  # type: ignore[no-untyped-call]
    """Multiple choice by a choice's last token."""

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        return states[torch.arange(len(mask)), mask.sum(1) - 1]


@pytest.mark.parametrize(
    ("kind", "positions"),
    [(ChoicesByPool, [[-1, -1]] * 2), (ChoicesByLast, [[6, 4], [2, 2]])],
)
def test_choices_by_heads_of_ones_own(kind: Any, positions: list[list[int]]) -> None:
    model: Any = tiny_model("bert", mapping="multiple-choice")
    padding: Any = None if kind is ChoicesByPool else "right"
    inputs = tiny_inputs(model, padding=padding, mapping="multiple-choice")
    model.__class__ = kind
    result = nxl.attribute(model, inputs, target="all")
    with torch.no_grad():
        flat = {key: value.flatten(0, 1) for key, value in inputs.items()}
        states = model.bert(**flat, output_hidden_states=True).hidden_states
        expected = states[0].norm(dim=-1) * model.classifier(states[-1])[..., 0]
    expected = expected.masked_fill(flat["attention_mask"] == 0, torch.nan)
    torch.testing.assert_close(result.scores, expected.reshape(2, 2, 7), equal_nan=True)
    assert result.read_position is not None
    assert result.read_position.tolist() == positions


def test_a_classifier_whose_logits_are_over_its_vocabulary() -> None:
    """It gives one output for a text, so there are no positions to restrict it to."""
    model = custom(lambda m, t, _: m.classifier(t.last_hidden_state[:, 0]))
    type(model).get_output_embeddings = lambda self: self.classifier
    inputs = tiny_inputs(model, 1, padding=None)
    torch.testing.assert_close(
        nxl.attribute(model, inputs, target=0).scores, scores_of_first(model, inputs)
    )
    scores = nxl.attribute(model, inputs, target=0, method="occlusion", replacement=9).scores
    changed = inputs["input_ids"].clone()
    changed[0, 2] = 9
    with torch.no_grad():
        lost = model(**inputs) - model(changed, inputs["attention_mask"])
    torch.testing.assert_close(scores[0, 2], lost[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (
            lambda m, t, _: m.classifier(torch.stack(t.hidden_states[-4:]).mean(0)[:, 0]),
            r"hidden_states\[-4:\]",
        ),
        (lambda m, t, _: m.classifier(t.hidden_states[-2][:, 0]), r"hidden_states\[-2\]"),
        (lambda m, t, _: m.classifier(sum(t.hidden_states)[:, 0]), r"hidden_states\[:\]"),
        (lambda m, t, _: m.classifier(t.last_hidden_state[:, 0]).argmax(-1), "decisions"),
    ],
)
def test_heads_that_are_refused_by_name(outputs: Outputs, reason: str) -> None:
    model = custom(outputs, output_hidden_states=True)
    with pytest.raises(nxl.UnsupportedHeadError, match=reason):
        nxl.attribute(model, tiny_inputs(model, padding=None))


def test_pools_of_padding_are_refused() -> None:
    model = custom(lambda m, t, _: m.classifier(t.last_hidden_state.mean(1)))
    nxl.attribute(model, tiny_inputs(model, padding=None))
    with pytest.raises(nxl.InputError, match="pools padding"):
        nxl.attribute(model, tiny_inputs(model, padding="right"))


class Ensemble(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Two trunks that read the text, whose states or logits are added."""

    config_class = BertConfig

    def __init__(self, config: Any, other: Any) -> None:
        super().__init__(config)
        self.first, self.second = BertModel(config), RobertaModel(other)
        self.classifier = nn.Linear(config.hidden_size, 3)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        first, second = (
            trunk(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
            for trunk in (self.first, self.second)
        )
        return SequenceClassifierOutput(logits=self.classifier(first + second))


@pytest.mark.parametrize("batch", [1, 2])
def test_several_trunks_are_refused(batch: int) -> None:
    torch.manual_seed(0)
    config: Any = tiny_config("bert")
    other: Any = tiny_config("roberta", hidden_size=config.hidden_size)
    model: Any = Ensemble(config, other)
    model.eval()
    inputs = tiny_inputs(model, batch, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError):
        nxl.attribute(model, inputs)


def test_a_trunk_whose_states_are_not_read_is_no_reason_to_refuse() -> None:
    class Second(Ensemble):  # type: ignore[no-untyped-call]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            self.first(input_ids, attention_mask=attention_mask)
            states = self.second(input_ids, attention_mask=attention_mask).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(states[:, 0]))

    torch.manual_seed(0)
    config: Any = tiny_config("bert")
    model: Any = Second(config, tiny_config("roberta", hidden_size=config.hidden_size))
    inputs = tiny_inputs(model.eval(), padding=None)
    scores = nxl.attribute(model, inputs, target=0).scores
    with torch.no_grad():
        states = model.second(**inputs, output_hidden_states=True).hidden_states
        expected = states[0].norm(dim=-1) * model.classifier(states[-1])[..., 0]
    torch.testing.assert_close(scores, expected)


def test_several_trunks_are_named_where_one_row_hides_them() -> None:
    torch.manual_seed(0)
    config: Any = tiny_config("bert")
    other: Any = tiny_config("roberta", hidden_size=config.hidden_size)
    model: Any = Ensemble(config, other)
    model.eval()
    with pytest.raises(nxl.UnsupportedHeadError, match="BertModel, RobertaModel"):
        nxl.attribute(model, tiny_inputs(model, 1, padding=None))


class TimeFirst(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A trunk whose blocks work on [sequence, batch, hidden], on embeddings looked up otherwise."""

    config_class = BertConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, 16)
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0) for _ in range(2)]
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        states = self.embeddings(input_ids).transpose(0, 1)
        for block in self.blocks:
            states = block(states)
        return BaseModelOutput(last_hidden_state=states.transpose(0, 1))


class TimeFirstClassifier(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Its head."""

    config_class = BertConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.trunk, self.classifier = TimeFirst(config), nn.Linear(16, 3)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.trunk.embeddings

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        states = self.trunk(input_ids).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(states[:, 0]))


@pytest.mark.parametrize("batch", [3, 5])
def test_norms_of_blocks_that_work_time_first(batch: int) -> None:
    """Also where a batch is as large as its texts are long, so that shapes do not tell."""
    torch.manual_seed(0)
    model: Any = TimeFirstClassifier(tiny_config("bert"))
    model.eval()
    ids = torch.randint(5, 50, (batch, 5), generator=torch.Generator().manual_seed(0))
    norms = nxl.attribute(model, {"input_ids": ids}).norms
    with torch.no_grad():
        expected = model.trunk.embeddings(ids).norm(dim=-1)
    torch.testing.assert_close(norms, expected)


def test_as_many_choices_as_tokens() -> None:
    model: Any = tiny_model("bert", mapping="multiple-choice")
    inputs = tiny_inputs(model, 1, 3, padding=None, mapping="multiple-choice")
    wide = {key: value[:, :1].expand(-1, 3, -1).contiguous() for key, value in inputs.items()}
    wide["input_ids"][0, 1, 1], wide["input_ids"][0, 2, 1] = 7, 9
    norms = nxl.attribute(model, wide).norms
    with torch.no_grad():
        flat = {key: value.flatten(0, 1) for key, value in wide.items()}
        expected = model.bert(**flat, output_hidden_states=True).hidden_states[0].norm(dim=-1)
    assert norms is not None
    torch.testing.assert_close(norms[0], expected)


def test_queries_for_objects_are_no_parts_of_an_image() -> None:
    resnet: Any = ResNetConfig
    detr: Any = DetrConfig
    backbone = resnet(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, out_features=["stage4"]
    )
    sizes: dict[str, Any] = {
        f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "ffn_dim")
    }
    config = detr(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        d_model=16,
        num_queries=5,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        **sizes,
    )
    model: Any = DetrForObjectDetection(config)
    with pytest.raises(nxl.UnsupportedHeadError, match="queries for objects"):
        nxl.attribute(model.eval(), {"pixel_values": torch.randn(1, 3, 64, 64)}, position=2)
