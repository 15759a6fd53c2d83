"""Which positions hold tokens and are read: padding never, and in every row."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

import normxlogit as nxl
from normxlogit.model.forward import ForwardPass
from tests.helpers.zoo import tiny_inputs, tiny_model


@pytest.mark.parametrize("mapping", ["token-classification", "masked-lm"])
def test_a_position_that_is_padding_in_one_row_is_refused(mapping: str) -> None:
    model = tiny_model("bert", mapping=mapping)
    inputs = tiny_inputs(model, batch=2, mapping=mapping)  # the second row has five tokens
    for read in ([5, 4], [[5, 4], [4, -1]]):
        assert nxl.attribute(model, inputs, position=torch.tensor(read)).scores.dim() >= 2
    for read in ([5, 5], [1, 6], [[5, 4], [4, 5]]):
        with pytest.raises(nxl.InputError, match="padding"):
            nxl.attribute(model, inputs, position=torch.tensor(read))


@pytest.mark.parametrize("read", [[99, 0], [-1, 0], [[0, 99], [0, 1]], [[0, -2], [0, 1]]])
def test_positions_outside_of_the_text(read: list[Any]) -> None:
    model = tiny_model("bert", mapping="token-classification")
    inputs = tiny_inputs(model, batch=2, mapping="token-classification")
    with pytest.raises(nxl.InputError, match="position must be numbers from 0 to"):
        nxl.attribute(model, inputs, position=torch.tensor(read))


def test_a_sound_that_is_padded_is_refused() -> None:
    """Also where the mask leaves something in every row."""
    model = tiny_model("wav2vec2", mapping="audio-classification")
    inputs = tiny_inputs(model, mapping="audio-classification")
    mask = torch.ones(2, 4000, dtype=torch.long)
    assert nxl.attribute(model, inputs | {"attention_mask": mask}).scores.isfinite().all()
    mask[1, 2000:] = 0
    with pytest.raises(nxl.InputError, match="parts of the input are padding"):
        nxl.attribute(model, inputs | {"attention_mask": mask})


def test_a_model_is_given_no_input_that_it_does_not_take() -> None:
    """A forward of its own takes these two, and no decoder's."""
    model: Any = tiny_model("bert")

    class Strict(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states = self.bert(input_ids, attention_mask).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(states[:, 0]))

    inputs = tiny_inputs(model, batch=1, padding=None)
    model.__class__ = Strict
    scores = nxl.attribute(model, inputs, target=1, method="occlusion", replacement=9).scores[0]
    for token in range(1, 6):
        changed = inputs["input_ids"].clone()
        changed[0, token] = 9
        with torch.no_grad():
            lost = model(**inputs).logits - model(changed, inputs["attention_mask"]).logits
        torch.testing.assert_close(scores[token], lost[0, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_only_the_logits_that_are_read_are_computed(model_type: str) -> None:
    model = tiny_model(model_type, mapping="causal-lm")
    inputs = tiny_inputs(model, padding=None, mapping="causal-lm")
    forward = ForwardPass.run(model, inputs)
    with torch.no_grad():
        expected = model(**inputs).logits[:, -1:]
    torch.testing.assert_close(forward.captured.logits, expected)
