"""Heads that treat a few first positions apart, and pool the others, or those alone."""

from typing import Any

import pytest
import torch

import normxlogit as nxl
from tests.helpers.head_designs import Design, headed
from tests.helpers.zoo import tiny_inputs


def explained(design: Design, length: int = 14, batch: int = 1) -> Any:
    """A model with a head of this design, its inputs, and their explanation."""
    model = headed(design, lambda outputs: outputs, 0, torch.float32)
    inputs = tiny_inputs(model, batch=batch, length=length, padding=None)
    return model, inputs, nxl.attribute(model, inputs, target=1)


@pytest.mark.parametrize(
    ("design", "length"),
    [
        *((lambda h, w, n=n: h[:, n:].mean(1) @ w.mT, 14) for n in (1, 2, 8)),
        *((lambda h, w, n=n: h[:, :n].mean(1) @ w.mT, 14) for n in (2, 3, 7)),
        (lambda h, w: h[:, 2:].mean(1) @ w.mT, 4),
        (lambda h, w: (2 * h[:, 0] + h[:, 1:].mean(1)) @ w.mT / 3 + 0 * h[:, 1] @ w.mT, 14),
    ],
)
def test_a_head_gives_what_it_gives_where_the_token_stands_everywhere(
    design: Design, length: int
) -> None:
    try:
        model, inputs, result = explained(design, length, batch=2)
    except nxl.UnsupportedHeadError:
        pytest.fail("refused")
    states = model.bert(**inputs).last_hidden_state.detach()
    for row in range(2):
        for position in range(length):
            everywhere = states[row, position].expand(1, length, -1)
            expected = model.head(everywhere)[0]
            torch.testing.assert_close(result.logits[row, position], expected, rtol=1e-3, atol=1e-4)
    assert result.read_position.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("design", "length"),
    [
        (lambda h, w: h[:, 9:].mean(1) @ w.mT, 14),
        *((lambda h, w, n=n: h[:, :n].mean(1) @ w.mT, 14) for n in (8, 13)),
        *(
            (lambda h, w: (h[:, 1:] * torch.arange(1.0, h.shape[1])[:, None]).mean(1) @ w.mT, n)
            for n in (3, 5, 14)
        ),
        (lambda h, w: (h[:, 1:] * (torch.arange(1, h.shape[1]) % 2)[:, None]).mean(1) @ w.mT, 9),
    ],
)
def test_more_positions_are_refused_and_others_that_are_not_alike(
    design: Design, length: int
) -> None:
    with pytest.raises(nxl.UnsupportedHeadError, match="not a function of one token's"):
        explained(design, length)
