"""The inputs that a head is given when it is put on other states."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from normxlogit.model.heads.replay import Replay


class Root:
    """A model, as far as inputs go by it."""

    def __init__(self, main: str, eos: Any) -> None:
        self.main_input_name = main
        text = SimpleNamespace(eos_token_id=eos)
        self.config = SimpleNamespace(get_text_config=lambda: text)


def replay(
    inputs: dict[str, Any],
    rows: int = 2,
    choices: int | None = None,
    main: str = "input_ids",
    eos: Any = 2,
) -> Replay:
    captured: Any = SimpleNamespace(
        clone=SimpleNamespace(root=Root(main, eos)),
        inputs=inputs,
        choices=choices,
        states=SimpleNamespace(raw=torch.ones(rows, 5, 4)),
    )
    return Replay(captured)


@pytest.mark.parametrize(
    ("key", "value", "is_feature"),
    [
        ("numbers", torch.ones(2, 3), True),
        ("numbers", torch.ones(2, 3, 4), True),
        ("groups", torch.ones(2).long(), True),
        ("token_type_ids", torch.ones(2, 5).long(), False),
        ("numbers", torch.tensor(2.0), False),
        ("numbers", torch.ones(3, 3), False),
        ("pixel_values", torch.ones(2, 3, 4, 4), False),
        ("input_ids", torch.ones(2, 3), False),  # the main input, as of sounds
        ("attention_mask", torch.ones(2, 3), False),
        ("inputs_embeds", torch.ones(2, 5, 4), False),
        ("name", "text", False),
    ],
)
def test_numbers_beside_the_text(key: str, value: Any, is_feature: bool) -> None:
    assert replay({key: value}).features == [key] * is_feature
    assert replay({key: value}, rows=4, choices=2).features == [key] * is_feature


def test_inputs_of_variants() -> None:
    ids, beside = torch.arange(10).reshape(2, 5), torch.ones(3, 2)
    pixels = torch.arange(48.0).reshape(2, 3, 2, 4)
    inputs = {"input_ids": ids, "beside": beside, "pixel_values": pixels, "use_cache": False}
    rows = torch.tensor([1, 0, 1])
    of_rows = replay(inputs)._inputs_of(rows)
    assert of_rows["input_ids"].tolist() == ids[rows].tolist()
    assert of_rows["beside"] is beside
    assert of_rows["use_cache"] is False
    assert torch.equal(of_rows["pixel_values"], pixels[[0, 0, 0]])  # the trunk alone reads them


def test_inputs_of_variants_of_choices() -> None:
    """A row is a choice; an input of an example is that of each of its choices."""
    ids, numbers = torch.arange(12).reshape(2, 3, 2), torch.tensor([7.0, 8.0])
    rows = torch.tensor([4, 0, 5])
    of_rows = replay({"input_ids": ids, "numbers": numbers}, 6, 3)._inputs_of(rows)
    assert of_rows["input_ids"].tolist() == [[ids[1, 1].tolist()], [[0, 1]], [[10, 11]]]
    assert of_rows["numbers"].tolist() == [8, 7, 8]


@pytest.mark.parametrize(("eos", "number"), [(2, 2), ([7, 8], 7), (None, 0)])
@pytest.mark.parametrize("choices", [None, 2])
def test_stand_ins(eos: Any, number: int, choices: int | None) -> None:
    shape = (3, 4) if choices is None else (3, 1, 4)
    given: dict[str, Any] = {
        "input_ids": torch.ones(2, 5).long(),
        "decoder_input_ids": torch.ones(2, 5).long(),
        "global_attention_mask": torch.ones(2, 5).long(),
        "numbers": torch.ones(2, 3),
        "use_cache": False,
    }
    inputs = replay(given, choices=choices, eos=eos).stand_ins(3, 4)
    assert inputs.pop("use_cache") is False
    expected = {
        "input_ids": number,
        "attention_mask": 1,
        "decoder_input_ids": number,
        "decoder_attention_mask": 1,
        "global_attention_mask": 0,
    }
    assert inputs.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(inputs[key], torch.full(shape, value))
    pixels: Tensor = torch.arange(6.0).reshape(2, 3)
    of_image = replay({"pixel_values": pixels}, main="pixel_values").stand_ins(3, 4)
    assert of_image["pixel_values"].tolist() == [[0, 1, 2]] * 3
