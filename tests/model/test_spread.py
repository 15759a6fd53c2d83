"""How far outputs lie apart, and what rounding may hide of it."""

from typing import Any

import pytest
import torch

import normxlogit as nxl
from normxlogit.model.heads.spread import Spread, extremes
from tests.helpers.zoo import tiny_inputs, tiny_model


def test_values_that_rounding_hides_are_refused() -> None:
    """Not those of a text of one token, which lie apart from no other."""
    model: Any = tiny_model("bert", num_labels=1)
    inputs = tiny_inputs(model, padding=None)
    expected = nxl.attribute(model, inputs).scores
    model.classifier.bias.data.fill_(1e7)
    for readout in ("closeness", "distance", "value"):
        with pytest.raises(
            nxl.ModelError, match=r"told apart in float32.*Load it with dtype=float64"
        ):
            nxl.attribute(model, inputs, readout=readout)
    one = {key: value[:, :1] for key, value in inputs.items()}
    assert nxl.attribute(model, one).scores.isfinite().all()
    model.to(torch.float64)
    scores = nxl.attribute(model, inputs).scores
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_mask_says_which_tokens_lie_apart() -> None:
    """Padding does not, and a row of one token is no reason to refuse others."""
    model: Any = tiny_model("bert", num_labels=1)
    inputs = tiny_inputs(model, length=3)
    inputs["attention_mask"][1, 1:] = 0
    assert nxl.attribute(model, inputs).scores[1].isnan().tolist() == [False, True, True]
    model.classifier.bias.data.fill_(1e7)
    with pytest.raises(nxl.ModelError, match="told apart"):
        nxl.attribute(model, inputs)


def test_outputs_that_are_no_numbers_widen_nothing() -> None:
    outputs = torch.tensor([[[1e-6, 1.0], [3e-6, 5.0]]])
    spread = Spread.of(outputs, torch.ones(1, 2, dtype=torch.bool), torch.float32)
    assert spread.width.flatten().tolist() == pytest.approx([2e-6, 4.0])
    wider = spread.widened(torch.tensor([[torch.nan, -7.0]]))
    assert wider.size.flatten().tolist() == pytest.approx([3e-6, 7.0])
    assert torch.equal(wider.width, spread.width)


def test_extremes_are_of_tokens() -> None:
    values = torch.tensor([[3.0, -9.0, 5.0, 8.0]])
    mask = torch.tensor([[True, False, True, False]])
    assert [float(x) for x in extremes(values, mask, 1)] == [3.0, 5.0]
    spread = Spread.of(values[..., None], mask, torch.float32)
    assert (float(spread.width), float(spread.size)) == (2.0, 5.0)
    negative = Spread.of(-values[..., None], mask, torch.float32)
    assert (float(negative.width), float(negative.size)) == (2.0, 5.0)
