"""What a head reads, held against a brute-force intervention on the head itself.

A head that is explained must give for every token, put where the head is said to read, what the
scores were made from. Differences are measured by each output's own spread over tokens.
"""

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from tests.helpers.head_designs import LEGITIMATE, MIXED, SCALES, headed
from tests.helpers.zoo import tiny_inputs

DTYPES = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}
"""The share of the spread that values may be off by."""


@torch.no_grad()
def in_place(model: object, states: Tensor, position: int) -> Tensor:
    """The head's outputs with each of [sequence, hidden] at `position`, or everywhere for -1."""
    outputs = []
    for state in states:
        changed = states.clone()
        changed[slice(None) if position < 0 else position] = state
        outputs.append(model.head(changed[None])[0])  # type: ignore[attr-defined]
    return torch.stack(outputs).float()


def off_by(dtype: torch.dtype, name: str, scale: str, seed: int) -> float | None:
    """The largest error of HoT as a share of its spread beyond rounding; None if it was refused."""
    model = headed((LEGITIMATE | MIXED)[name], SCALES[scale], seed, dtype)
    inputs = tiny_inputs(model, batch=1, length=9, seed=seed, padding=None)
    try:
        result = nxl.attribute(model, inputs)
    except nxl.UnsupportedHeadError:
        return None
    with torch.no_grad():
        states = model.bert(**inputs).last_hidden_state[0]
    assert result.logits is not None
    assert result.read_position is not None
    expected = in_place(model, states, int(result.read_position[0]))
    width = expected.amax(0) - expected.amin(0)
    # Two units in the last place of the output as the model's dtype holds it.
    number = torch.finfo(dtype)
    rounding = 2 * number.eps * expected.abs().amax(0).clamp_min(number.smallest_normal)
    error = ((result.logits[0] - expected).abs() - rounding).clamp_min(0)
    return float((error / width.clamp_min(1e-9)).amax())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", MIXED)
def test_heads_that_mix_positions_are_refused_or_right(
    name: str, scale: str, dtype: torch.dtype
) -> None:
    for seed in range(4):
        error = off_by(dtype, name, scale, seed)
        assert error is None or error <= DTYPES[dtype], seed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", LEGITIMATE)
def test_heads_of_one_position_or_a_pool_are_explained(
    name: str, scale: str, dtype: torch.dtype
) -> None:
    for seed in range(4):
        error = off_by(dtype, name, scale, seed)
        assert error is not None, seed
        assert error <= DTYPES[dtype], seed
