"""What rounding may make of numbers, and no more."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from normxlogit.errors import ModelError
from normxlogit.model.heads.interventions import AMPLIFIED, Intervention, scaled, scattered
from normxlogit.model.heads.spread import Spread, check_resolution
from normxlogit.model.numerics import (
    agree,
    at_least_common,
    excess,
    first_tensor,
    norms_of,
    probability,
    rounding,
    to_numpy,
    tolerance,
    wide,
)

LIMITS = [
    (torch.float64, 1e-8, 1e-8, 32),
    (torch.float32, 1e-4, 1e-4, 32),
    (torch.float16, 1e-2, 2e-3, 8),
    (torch.bfloat16, 5e-2, 1e-2, 4),
]
"""A dtype; the share of their width that numbers may be off by through a model, and through a head;
and the units in the last place that any may be off by."""


@pytest.mark.parametrize(("dtype", "of_model", "of_head", "units"), LIMITS)
def test_numbers_may_be_off_by_a_share_of_their_width(
    dtype: torch.dtype, of_model: float, of_head: float, units: int
) -> None:
    values = torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=dtype)
    ulp = units * torch.finfo(dtype).eps
    for factor, agrees in ((0.9, True), (1.1, False)):
        assert agree(wide(values) + factor * (of_model + ulp), values) is agrees
        spread = Spread.of(values[None], torch.ones(1, 2, dtype=torch.bool), dtype)
        off = factor * (2 * of_head + ulp)
        assert bool((spread.excess(wide(values[None]) + off, values[None]) <= 1).all()) is agrees


@pytest.mark.parametrize(("dtype", "units"), [(limits[0], limits[3]) for limits in LIMITS])
def test_a_constant_may_be_off_by_some_units_in_the_last_place(
    dtype: torch.dtype, units: int
) -> None:
    values, eps = torch.ones(3, 2, dtype=dtype), torch.finfo(dtype).eps
    assert agree(values + units * eps, values)
    assert not agree(values + (units + 1) * eps, values)


def test_the_coarsest_dtype_counts() -> None:
    for one, other in ((torch.float64, torch.bfloat16), (torch.float16, torch.float32)):
        coarsest = max(one, other, key=lambda dtype: torch.finfo(dtype).eps)
        for measure in (tolerance, rounding):
            assert measure(one, other) == measure(other, one) == measure(coarsest)
    values, mask = torch.tensor([[[0.0], [1.0]]]), torch.ones(1, 2, dtype=torch.bool)
    mixed = Spread.of(values, mask, torch.float32, torch.bfloat16)
    assert torch.equal(mixed.allowed, Spread.of(values, mask, torch.bfloat16).allowed)


def test_a_width_known_from_more_rows_counts() -> None:
    values = torch.tensor([[1e-3, 1e-3]])
    assert not agree(values + 5e-5, values)
    assert agree(values + 5e-5, values, torch.tensor([1.0, 1.0]))
    assert excess(values + 5e-5, values, torch.tensor([1.0, 1e-3])) > 100


def test_numbers_next_to_nothing_are_nothing() -> None:
    assert agree(torch.full((2, 2), 1e-39), torch.zeros(2, 2))
    assert not agree(torch.full((2, 2), 1e-37), torch.zeros(2, 2))


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_does_not_widen_numbers_far_from_zero(odd: float) -> None:
    years = torch.tensor([[1990.01], [1990.02], [odd]])
    assert agree(years.clone(), years)
    assert excess(years + 0.1, years) > 1


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_a_single_number_may_be_off_by_a_share_of_its_size(odd: float) -> None:
    value = torch.tensor([[2.0], [odd]])
    assert agree(value * (1 + 0.9 * tolerance(torch.float32)), value)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_has_no_size(odd: float) -> None:
    values = torch.tensor([[odd, 1e-6], [1e-6, odd]])
    assert agree(values.clone(), values)
    assert not agree(values + 3e-7, values)


@pytest.mark.parametrize(
    ("sizes", "raised"),
    [
        ([1, 2, 3, 100], [8, 8, 8, 100]),  # four times the median, 2
        ([1, 1, 10], [4, 4, 10]),
        ([2, 3], [3, 3]),  # the largest
        ([0, 0, 0, 1], [1, 1, 1, 1]),  # zeroes are not counted
        ([0, 0], [0, 0]),
        ([[1, 1, 10], [0, 0, 0]], [[4, 4, 10], [0, 0, 0]]),
    ],
)
def test_sizes_are_raised_to_one_that_is_common(sizes: Any, raised: Any) -> None:
    assert at_least_common(torch.tensor(sizes).float()).tolist() == raised


def test_a_probability_is_at_most_one() -> None:
    logits, total = torch.tensor([500.0001, 499.0]), torch.tensor(500.0)
    assert probability(logits, total).tolist() == pytest.approx([1.0, 0.36787945])
    assert float(probability(logits, total).max()) <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_floats_become_arrays_of_float32(dtype: torch.dtype) -> None:
    array = to_numpy(torch.tensor([1.5, -2.0], dtype=dtype))
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]
    assert to_numpy(torch.tensor([2**40])).tolist() == [2**40]


def test_norms_are_exact_in_float64_and_do_not_overflow_in_float16() -> None:
    states = torch.randn(50, 3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = (states**2).sum(-1).sqrt().float()
    assert norms_of(states).dtype == torch.float32
    assert (norms_of(states) / exact - 1).abs().max() == 0
    large = torch.full((4,), 6e4, dtype=torch.float16)
    assert float(norms_of(large)) == pytest.approx(1.2e5, 1e-3)
    assert [wide(states.to(dtype)).dtype for dtype in (torch.float64, torch.bfloat16)] == [
        torch.float64,
        torch.float32,
    ]


def test_the_first_tensor_of_floats() -> None:
    ids, floats, more = torch.ones(2).long(), torch.ones(2), torch.zeros(2)
    for values in (
        *(floats, (floats, more), [ids, floats, more], (None, "x", floats)),
        BaseModelOutput(last_hidden_state=floats, hidden_states=(more,)),
    ):
        assert first_tensor(values) is floats
    nothing: Any
    for nothing in (ids, (ids,), [], None, {"states": floats}, "x"):
        assert first_tensor(nothing) is None


# --- regressions -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_lie_eight_steps_of_rounding_apart(dtype: torch.dtype) -> None:
    eps, mask = torch.finfo(dtype).eps, torch.ones(1, 2, dtype=torch.bool)

    def values(steps: float) -> Tensor:
        return torch.tensor([[[1.0], [1 - steps * eps]]], dtype=dtype)

    check_resolution(values(8), mask, "Bert")
    wider = "float64" if dtype == torch.float32 else "float32"
    with pytest.raises(ModelError, match=f"of 1. Load it with dtype={wider}"):
        check_resolution(values(7.5), mask, "Bert")
    check_resolution(values(0), mask & torch.tensor([True, False]), "Bert")
    both = torch.cat([values(8), values(0)])
    with pytest.raises(ModelError, match=r"0\.0e\+00 apart"):
        check_resolution(both, mask.expand(2, -1), "Bert")


# --- other states in place of a model's own ---------------------------------------------------


def test_amplified_states_of_float16_stay_numbers() -> None:
    assert scaled(torch.tensor([6e4, -6e4, 1.0]).half(), -8).tolist() == [-65504, 65504, -8]
    assert scaled(torch.tensor([6e4]), -8).tolist() == [-4.8e5]


def test_tokens_in_each_others_places() -> None:
    hidden = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 9, [True] * 5 + [False] * 4, [False] * 3 + [True] * 6])
    keeps = scattered(9)
    assert keeps[:2].tolist() == [True, False]
    assert 2 < int(keeps.sum()) < 7
    assert [scattered(length).tolist() for length in (0, 1, 2)] == [[], [True], [True, False]]
    moved = Intervention.of(hidden, mask)
    for row in range(3):
        for position in range(9):
            keep = bool(keeps[position])
            state = hidden[row, position - 1] * (1 if keep else AMPLIFIED)
            assert torch.equal(moved.states[row, position], state)
            is_token = bool(mask[row, position] and mask[row, position - 1])
            assert bool(moved.kept[row, position]) is (keep and is_token)
