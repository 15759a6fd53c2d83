"""Final states, what is known of them, and the inputs that made them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import normxlogit as nxl
from normxlogit.model.capture import States, _one_row
from normxlogit.model.trace import Stack
from tests.helpers.zoo import tiny_inputs, tiny_model


def states_of(raw: Tensor, stack: Stack | None = None, *, time_first: bool = False) -> States:
    def again() -> Any:
        return {"hidden_states": (torch.full((2, 3, 4), 2.0), raw)}

    return States(raw, stack, time_first, "hidden_states", again)


def stack_of(norms: Tensor, trail: list[Tensor] | None = None) -> Stack:
    return Stack(nn.ModuleList(), torch.Size((*norms.shape, 4)), norms, 1, 1, trail=trail or [])


def test_peaks_are_multiples_of_the_median_of_tokens() -> None:
    mask = torch.tensor([[True, True, True, True], [True, True, True, False]])
    low = torch.tensor([[1.0, 2.0, 2.0, 9.0], [4.0, 8.0, 2.0, 99.0]])
    high = torch.tensor([[50.0, 5.0, 5.0, 10.0], [4.0, 4.0, 4.0, 0.0]])
    expected = [[10, 1, 1, 4.5], [1, 2, 1, 0]]
    raw = torch.ones(2, 4, 4)
    peaks = states_of(raw, stack_of(low, [low, high])).peaks(mask)
    assert peaks.tolist() == expected
    time_first = states_of(raw, stack_of(low.T, [low.T, high.T]), time_first=True)
    assert time_first.peaks(mask).tolist() == expected
    for unknown in (states_of(raw), states_of(raw, stack_of(low, [low[:, :2]]))):
        assert unknown.peaks(mask).tolist() == [[0] * 4] * 2


def test_norms_are_those_of_the_blocks_or_of_a_second_pass() -> None:
    norms = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    raw = torch.ones(2, 3, 4)
    for stack, time_first in ((stack_of(norms), False), (stack_of(norms.T), True)):
        states = states_of(raw, stack, time_first=time_first)
        assert states.norms is not None
        assert states.norms.tolist() == norms.tolist()
        second = states.rows(torch.tensor([1, 1]))
        assert second.norms is not None
        assert second.norms.tolist() == [[4, 5, 6]] * 2
        assert second.raw.shape == (2, 3, 4)
    again = states_of(raw).norms
    assert again is not None
    assert again.tolist() == [[4.0] * 3] * 2
    for other in (torch.ones(2, 4, 2, 2), torch.ones(2, 5, 4)):
        assert states_of(other).norms is None
    bare = States(raw, None, False, "hidden_states", dict)  # type: ignore[arg-type]
    assert bare.norms is None


def test_which_states_a_head_can_be_put_on() -> None:
    states = states_of(torch.ones(2, 3, 4))
    assert states.stands_beside(states_of(torch.ones(2, 7, 4)))
    assert not states.stands_beside(states_of(torch.ones(2, 7, 5)))
    assert not states.stands_beside(states_of(torch.ones(2, 4, 2, 2)))
    image = states_of(torch.ones(2, 4, 2, 4))
    assert not image.stands_beside(image)
    assert not states_of(torch.ones(2, 5, 4)).stands_beside(states)


def test_what_was_read_of_layers() -> None:
    stack = stack_of(torch.ones(2, 3))
    stack.read[1] = (torch.ones(2), torch.zeros(2))
    states = states_of(torch.ones(2, 3, 4), stack)
    layer = states.layer(1)
    assert layer is not None
    assert [part.tolist() for part in layer] == [[1, 1], [0, 0]]
    assert states.layer(2) is states_of(torch.ones(2, 3, 4)).layer(1) is None


def test_maps_are_read_row_by_row() -> None:
    raw = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert states_of(raw).tokens[1, 3].tolist() == raw[1, :, 1, 1].tolist()
    assert states_of(raw[..., 0]).tokens is not None


def test_one_row_of_inputs() -> None:
    ids, beside = torch.arange(24).reshape(2, 3, 4), torch.ones(3, 5)
    inputs = {"name": "x", "scale": torch.tensor(2.0), "input_ids": ids, "beside": beside}
    per_row, per_choice = torch.arange(2), torch.arange(6).reshape(2, 3)
    row = _one_row(inputs | {"numbers": per_row, "scores": per_choice})
    assert row["input_ids"].tolist() == [[[0, 1, 2, 3]]]
    assert row["numbers"].tolist() == [0]
    assert row["scores"].tolist() == [[0]]
    assert row["beside"] is beside
    assert row["name"] == "x"
    row = _one_row({"input_ids": ids[:, 0], "scores": per_choice})
    assert row["input_ids"].tolist() == [[0, 1, 2, 3]]
    assert row["scores"].tolist() == [[0, 1, 2]]
    assert _one_row({"pixel_values": ids})["pixel_values"].shape == (1, 3, 4)


@pytest.mark.parametrize("mapping", ["sequence-classification", "question-answering", "causal-lm"])
def test_arguments_that_change_what_is_returned_are_left_out(mapping: str) -> None:
    model: Any = tiny_model("gpt2", mapping=mapping)
    inputs = tiny_inputs(model, mapping=mapping, padding=None)
    expected = nxl.attribute(model, inputs).scores
    further: dict[str, Any] = {
        "labels": torch.zeros(2).long(),
        "start_positions": torch.zeros(2).long(),
        "end_positions": torch.zeros(2).long(),
        "logits_to_keep": 1,
        "return_dict": False,
        "output_hidden_states": True,
        "output_attentions": True,
    }
    assert torch.equal(nxl.attribute(model, {**inputs, **further}).scores, expected)
    assert model.config.problem_type is None
