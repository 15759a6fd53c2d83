"""Further passes of a model: what they are checked for, and that they are of the same question."""

from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from normxlogit.model.reruns import check_finite
from tests.helpers.rerunning import GRADIENTS
from tests.helpers.zoo import tiny_inputs, tiny_model


def test_gradients_of_which_some_are_no_numbers_are_refused() -> None:
    check_finite(torch.ones(2, 3))
    for wrong in (torch.nan, torch.inf, -torch.inf):
        gradients = torch.ones(2, 3)
        gradients[1, 2] = wrong
        with pytest.raises(nxl.ModelError, match="not finite numbers"):
            check_finite(gradients)


@pytest.mark.parametrize("method", ["occlusion", "gradient_norm"])
def test_a_batch_of_a_model_without_a_pad_token(method: str) -> None:
    model = tiny_model("llama", pad_token_id=None)
    inputs = tiny_inputs(model, padding=None)
    together = nxl.attribute(model, inputs, method=method).scores
    for row in range(2):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, one, method=method).scores[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", GRADIENTS)
def test_tokens_that_are_looked_up_in_another_order_have_no_gradients(method: str) -> None:
    model: Any = tiny_model("bert")

    class Backwards(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return super().forward(input_ids.flip(1), attention_mask)

    model.__class__ = Backwards
    with pytest.raises(nxl.UnsupportedHeadError, match="one by one"):
        nxl.attribute(model, tiny_inputs(model, padding=None), method=method)


@pytest.mark.parametrize("contrast", [None, 50])
@pytest.mark.parametrize("readout", ["logit", "logprob", "centered"])
def test_several_tokens_of_one_position(readout: str, contrast: int | None) -> None:
    """The pass kept one position's logits, and the head gives what is read there for each token."""
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, padding=None, mapping="causal-lm")
    targets = [30, 40]
    options: dict[str, Any] = {"target": targets, "contrast": contrast, "readout": readout}
    scores = nxl.attribute(model, inputs, method="gradient_norm", norm="l2", **options).scores
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeds).logits[:, -1]
    outputs = {
        "logit": logits,
        "logprob": logits.log_softmax(-1),
        "centered": logits - logits.mean(-1, keepdim=True),
    }[readout]
    for number, target in enumerate(targets):
        values = (
            outputs[:, target] if contrast is None else outputs[:, target] - outputs[:, contrast]
        )
        (gradient,) = torch.autograd.grad(values.sum(), embeds, retain_graph=True)
        torch.testing.assert_close(scores[:, number], gradient.norm(dim=-1), rtol=1e-4, atol=1e-5)
