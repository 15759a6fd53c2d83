"""What a forward pass returns, counts and keeps, whatever it is wrapped in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from normxlogit.model.outputs import (
    LayerError,
    OnlyLast,
    PassCounter,
    counting,
    logits_of,
    maker_of,
    named_outputs,
    named_states,
    run_model,
)
from normxlogit.model.readings import Readings, tokens_of

LOGITS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
STATES = torch.arange(12.0).reshape(2, 3, 2)


class Doubling:
    """A model whose logits are a number of each row, times two."""

    def forward(
        self, values: Tensor | None = None, scale: float = 2, return_dict: bool = False
    ) -> Any:
        logits = scale * (torch.ones(1) if values is None else values)
        assert return_dict
        return {"logits": logits}

    __call__ = forward


class Taking:
    """One that takes any argument."""

    def forward(self, values: Tensor, **flags: Any) -> Any:
        assert flags == {"return_dict": True}
        return (values,)

    __call__ = forward


class Bare:
    """One that takes no argument but its input."""

    def forward(self, values: Tensor) -> Any:
        return values

    __call__ = forward


def test_passes_are_counted_by_rows() -> None:
    told: list[int] = []
    counter = PassCounter(told.append)
    values = torch.ones(3, 5, requires_grad=True)
    with counting(counter):
        run_model(Doubling(), {"scale": 2, "values": values.detach()})
        with counting(None):
            run_model(Doubling(), {"values": values})
        outputs = run_model(Doubling(), {"values": values})
        run_model(Doubling(), {})
    run_model(Doubling(), {"values": values})
    assert (counter.forward, counter.backward, counter.tokens, told) == (7, 0, 30, [3, 3, 1])
    assert counter.passes == 7
    outputs["logits"].sum().backward()
    assert (counter.backward, counter.passes) == (3, 13)


def test_a_forward_is_given_what_it_takes() -> None:
    for model in (Doubling(), Taking(), Bare()):
        assert "logits" in run_model(model, {"values": LOGITS})


def test_outputs_are_named() -> None:
    loss = SequenceClassifierOutput(logits=LOGITS)
    assert named_outputs(loss) is loss
    for outputs in ({"logits": LOGITS}, (LOGITS, STATES), [LOGITS], LOGITS, (None, LOGITS)):
        assert named_outputs(outputs)["logits"] is LOGITS
    for nothing in (None, (), ("x",)):
        assert list(named_outputs(nothing)) == []


def test_states_are_named_and_made_into_what_they_came_in() -> None:
    output = BaseModelOutput(last_hidden_state=STATES)
    assert named_states(output) is output
    assert maker_of(output) is BaseModelOutput
    returned = (STATES, LOGITS, None, "cache")
    states = named_states(returned)
    assert states is not None
    assert states["last_hidden_state"] is STATES
    assert maker_of(states)(last_hidden_state=LOGITS)[0] is LOGITS
    others = [LOGITS, STATES.long(), STATES[None]]
    for other in (*others, *((other,) for other in others), (), None, BaseModelOutput(), [STATES]):
        assert named_states(other) is None


def test_logits_have_two_or_three_dimensions() -> None:
    def of(choices: int | None = None, **fields: Any) -> Any:
        return logits_of(named_outputs(fields), choices)

    assert of(logits=LOGITS) is LOGITS
    assert of(logits=STATES) is STATES
    assert of(logits=LOGITS[0]).tolist() == [[1], [2]]
    assert of(logits=torch.tensor(5.0)).tolist() == [[5]]
    assert of(2, logits=LOGITS).tolist() == [[1], [2], [3], [4]]
    assert of() is of(logits="x") is of(start_logits=LOGITS) is of(end_logits=LOGITS) is None
    span = of(start_logits=LOGITS, end_logits=10 * LOGITS)
    assert span[1].tolist() == [[3, 30, 33], [4, 40, 44]]


def test_of_all_layers_only_the_last_is_known() -> None:
    known = OnlyLast("hidden_states", 4, LOGITS)
    assert len(known) == 4
    assert known[-1] is known[3] is LOGITS
    assert known[3:] == (LOGITS,)
    reads: list[tuple[Callable[[], Any], str]] = [
        (lambda: known[0], "0"),
        (lambda: known[-2], "-2"),
        (lambda: known[-2:], "-2:"),
        (lambda: known[1:3], "1:3"),
        (lambda: list(known), ":"),
        (lambda: OnlyLast("hidden_states", 4, None)[-1], "-1"),
    ]
    for read, index in reads:
        with pytest.raises(LayerError) as caught:
            read()
        assert str(caught.value) == f"hidden_states[{index}]"


# --- what is read of a layer ------------------------------------------------------------------


def readings(mask: Tensor | None) -> Readings:
    return Readings({1: lambda states, mask: ((states * mask[..., None]).sum(1),)}, mask)


def test_a_layer_is_read_rows_first() -> None:
    """Early if its shape tells which dimension the rows are, and of tokens alone."""
    mask = torch.tensor([[True, True, True], [True, False, False]])
    expected = torch.stack([STATES[0].sum(0), STATES[1, 0]]).tolist()
    for states, time_first in ((STATES, False), (STATES.transpose(0, 1), True)):
        for read in (
            readings(mask).early(1, states),
            readings(mask).late(1, states, time_first=time_first),
        ):
            assert read is not None
            assert read[0].tolist() == expected
    late = readings(None).late(1, STATES, time_first=False)
    assert late is not None
    assert late[0].tolist() == STATES.sum(1).tolist()
    one = readings(mask[:1, :1]).early(1, STATES[:1, :1])
    assert one is not None
    assert one[0].tolist() == STATES[:1, 0].tolist()


def test_a_layer_that_cannot_be_read() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert readings(None).early(1, STATES) is None
    assert readings(mask[:, :2]).early(1, STATES[:, :2]) is None  # rows or time first?
    for states in (STATES[:, :2], STATES[..., None], STATES[0], torch.ones(3, 3, 2)):
        assert readings(mask).early(1, states) is None
    assert readings(mask).late(1, STATES, time_first=True) is None


def test_tokens_are_told_by_the_inputs_of_their_part() -> None:
    ids, mask = torch.tensor([[[5, 6], [7, 8]]]), torch.tensor([[[1, 1], [1, 0]]])
    tokens = tokens_of({"input_ids": ids, "attention_mask": mask})
    assert tokens is not None
    assert [part.tolist() for part in tokens] == [[[5, 6], [7, 8]], [[1, 1], [1, 0]]]
    unmasked = tokens_of({"decoder_input_ids": ids[0], "attention_mask": mask}, "decoder_")
    assert unmasked is not None
    assert unmasked[1].tolist() == [[1, 1], [1, 1]]
    assert tokens_of({"input_ids": None}) is tokens_of({"inputs_embeds": STATES}) is None
