"""Which tokens took part in what a causal model says, by changing x^0 of each."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from tests.helpers.image_text import IMAGE, image_text_inputs, image_text_model
from tests.helpers.zoo import tiny_inputs, tiny_model

CLASSES = pytest.mark.parametrize(
    "class_name",
    [
        "Gemma3ForConditionalGeneration",
        "PaliGemmaForConditionalGeneration",
        "LlavaForConditionalGeneration",
    ],
)


@torch.no_grad()
def took_part(model: Any, inputs: dict[str, Tensor], positions: list[int]) -> Tensor:
    """Whether each token's x^0 changes the model's own logits where its row is read."""
    block = model.model.language_model.layers[0]
    rows = torch.arange(len(positions))

    def logits(token: int | None) -> Tensor:
        def change(_block: Any, args: Any, kwargs: Any) -> Any:
            if token is None:
                return None
            hidden = args[0].clone()
            hidden[:, token] = -hidden[:, token].roll(1, -1)
            return (hidden, *args[1:]), kwargs

        handle = block.register_forward_pre_hook(change, with_kwargs=True)
        try:
            out: Tensor = model(**inputs).logits[rows, positions]
            return out
        finally:
            handle.remove()

    own = logits(None)
    changes = [
        (logits(token) - own).abs().amax(-1) for token in range(inputs["input_ids"].shape[1])
    ]
    return (torch.stack(changes, 1) > 1e-6 * own.abs().max()) & inputs["attention_mask"].bool()


@CLASSES
@pytest.mark.parametrize("positions", [[0, 4], [2, 5], [3, 7], [5, 8], [6, 3], [11, 11]])
def test_what_took_part_with_an_image(class_name: str, positions: list[int]) -> None:
    model = image_text_model(class_name)
    inputs = image_text_inputs(model)
    result = nxl.attribute(model, inputs, position=torch.tensor(positions))
    assert (~result.scores.isnan()).tolist() == took_part(model, inputs, positions).tolist()
    with torch.no_grad():
        own = model(**inputs).logits[[0, 1], positions]
    torch.testing.assert_close(result.prediction, own)


def test_each_of_several_positions_has_its_own() -> None:
    model = image_text_model("Gemma3ForConditionalGeneration")
    inputs = image_text_inputs(model)
    where = torch.tensor([[3, 7, 3], [6, -1, 1]])
    scored = ~nxl.attribute(model, inputs, position=where, target=[30]).scores.isnan()
    for column in range(3):
        expected = took_part(model, inputs, where[:, column].clamp_min(0).tolist())
        expected[where[:, column] < 0] = False
        assert scored[:, column].tolist() == expected.tolist()


@pytest.mark.parametrize("class_name", ["Gemma3", "PaliGemma"])
def test_types_of_tokens_lift_the_mask_without_an_image_too(class_name: str) -> None:
    model = image_text_model(f"{class_name}ForConditionalGeneration")
    inputs = image_text_inputs(model)
    del inputs["pixel_values"]
    inputs["input_ids"][inputs["input_ids"] == IMAGE] = 20
    scored = ~nxl.attribute(model, inputs, position=torch.tensor([3, 6])).scores.isnan()
    expected = took_part(model, inputs, [3, 6])
    assert scored.tolist() == expected.tolist()
    assert expected[0, 4:].any()
    assert not expected[0].all()


def test_progressive_inference_is_refused_where_a_part_is_read_in_both_directions() -> None:
    for class_name in ("Gemma3", "Llava"):
        model = image_text_model(f"{class_name}ForConditionalGeneration")
        inputs = image_text_inputs(model)
        options: Any = {"method": "progressive_inference", "position": torch.tensor([11, 11])}
        if class_name == "Gemma3":
            with pytest.raises(nxl.UnsupportedHeadError, match="depend on later tokens"):
                nxl.attribute(model, inputs, **options)
        else:
            scores = nxl.attribute(model, inputs, **options).scores
            with torch.no_grad():
                own = model(**inputs).logits[:, 11].amax(-1)
            torch.testing.assert_close(scores.nansum(-1), own, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_found_out_is_refused() -> None:
    model = image_text_model("LlavaForConditionalGeneration")
    inputs = image_text_inputs(model)

    class WithoutGradients(type(model)):  # type: ignore[misc]
        forward = functools.wraps(type(model).forward)(torch.no_grad()(type(model).forward))

    model.__class__ = WithoutGradients
    where = torch.tensor([3, 6])
    with pytest.raises(nxl.UnsupportedHeadError, match=r"pixel_values.*leaving position out"):
        nxl.attribute(model, inputs, position=where)
    row = {key: value[:1] for key, value in inputs.items()}
    assert not nxl.attribute(model, row).scores.isnan().any()  # nothing follows the last token


def test_states_that_are_others_the_second_time_are_refused() -> None:
    model = image_text_model("LlavaForConditionalGeneration")
    inputs = image_text_inputs(model)

    class Drifting(type(model.model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            # Gradients are on in the second pass.
            if torch.is_grad_enabled():
                output.last_hidden_state = 1.05 * output.last_hidden_state
            return output

    model.model.__class__ = Drifting
    with pytest.raises(nxl.UnsupportedHeadError, match="other states for the same inputs"):
        nxl.attribute(model, inputs, position=torch.tensor([3, 6]))


def test_a_text_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("llama", mapping="causal-lm")
    inputs = tiny_inputs(model, mapping="causal-lm")
    options: Any = {"position": torch.tensor([1, 1]), "target": 30}
    nxl.attribute(model, inputs, **options)  # tries the model
    passes: list[Any] = []
    forward = type(model.model).forward

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        passes.append(kwargs)
        return forward(*args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", watched)
    scores = nxl.attribute(model, inputs, method="norm", **options).scores
    assert len(passes) == 1
    assert scores[:, 2:].isnan().all()


def test_gradients_that_are_no_numbers_say_nothing() -> None:
    model = image_text_model("LlavaForConditionalGeneration")

    class Overflowing(type(model.model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            if output.last_hidden_state.requires_grad:
                output.last_hidden_state.register_hook(lambda gradient: gradient * torch.nan)
            return output

    model.model.__class__ = Overflowing
    with pytest.raises(nxl.ModelError, match="not finite numbers"):
        nxl.attribute(model, image_text_inputs(model), position=torch.tensor([3, 6]))
