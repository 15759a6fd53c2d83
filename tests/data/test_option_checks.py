"""Numbers of any type are numbers, and booleans, texts and nan are none."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from normxlogit import OptionError
from normxlogit.data.option_checks import (
    as_integer,
    flag,
    one_of,
    real_number,
    shares,
    whole_number,
)

INTEGERS = [3, np.int8(3), np.uint64(3), np.array(3)]
NO_NUMBERS: list[Any] = [True, np.True_, "3", None, [3], b"3", 3j]


@pytest.mark.parametrize("value", INTEGERS)
def test_integers_of_any_type(value: Any) -> None:
    assert type(as_integer(value)) is int
    assert as_integer(value) == whole_number("n", value, least=3, most=3) == 3


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3.0, math.nan, np.float32(3)])
def test_what_is_no_integer(value: Any) -> None:
    assert as_integer(value) is None
    with pytest.raises(OptionError, match=r"^n must be a whole number from 1, got"):
        whole_number("n", value)


def test_bounds_are_inclusive_and_named() -> None:
    for value in (1, 5):
        with pytest.raises(
            OptionError, match=f"^n must be a whole number from 2 to 4, got {value}"
        ):
            whole_number("n", value, least=2, most=4)
        with pytest.raises(OptionError, match=f"^x must be a number from 2 to 4, got {value}"):
            real_number("x", value, least=2, most=4)
    assert [whole_number("n", value, least=2, most=4) for value in (2, 4)] == [2, 4]
    assert [real_number("x", value, least=2, most=4) for value in (2, 4)] == [2.0, 4.0]


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_real_numbers_of_any_type(value: Any) -> None:
    assert type(real_number("x", value)) is float
    assert real_number("x", value) == 0.5


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_finite_number(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^x must be a number, got .{1,80}\.$"):
        real_number("x", value)


def test_shares() -> None:
    valid: list[Any] = [[0, 0.5, 1], (0, 0.5, 1), np.array([0, 0.5, 1], np.float32)]
    for values in valid:
        assert shares("ratios", values) == (0, 0.5, 1)
    invalid: list[Any] = [[], [2], [math.nan], ["0.5"], "0.5", None, 0.5, [True]]
    for values in invalid:
        with pytest.raises(OptionError, match=r"^ratios must be a list of shares from 0 to 1, got"):
            shares("ratios", values)


def test_flags_and_names() -> None:
    assert (flag("strict", np.True_), flag("strict", False)) == (True, False)
    for value in (1, 0, "no", None, math.nan):
        with pytest.raises(OptionError, match=r"^strict must be True or False, got"):
            flag("strict", value)
    assert one_of("unit", "word", ("word", "token")) == "word"
    for name in ("letter", None, ["word"], 0):
        with pytest.raises(OptionError, match=r"^unit must be one of word, token; got"):
            one_of("unit", name, ("word", "token"))
