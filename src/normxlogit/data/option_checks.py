"""Checks of the values of options: numbers of any type, names, true and false."""

import math
import operator
from collections.abc import Collection
from numbers import Real

import numpy as np

from normxlogit.errors import OptionError


def as_integer(value: object) -> int | None:
    """Return an integer of any type, such as numpy's, as an int; None for all else and booleans."""
    if isinstance(value, bool):  # numpy's are no integers to `index`
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def whole_number(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Return the value of an option as an int.

    Raises:
        OptionError: it is no integer from `least` to `most`.
    """
    number = as_integer(value)
    if number is None or number < least or (most is not None and number > most):
        upper = "" if most is None else f" to {most}"
        raise OptionError(f"{name} must be a whole number from {least}{upper}, got {value!r:.80}.")
    return number


def real_number(
    name: str, value: object, *, least: float = -math.inf, most: float = math.inf
) -> float:
    """Return the value of an option as a float.

    Raises:
        OptionError: it is no finite number from `least` to `most`.
    """
    try:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:  # of an int
        number = math.inf
    if not math.isfinite(number) or not least <= number <= most:
        lower = "" if least == -math.inf else f" from {least:g}"
        upper = "" if most == math.inf else f" to {most:g}"
        raise OptionError(f"{name} must be a number{lower}{upper}, got {value!r:.80}.")
    return number


def shares(name: str, values: object) -> tuple[float, ...]:
    """Return the value of an option that is a list of shares.

    Raises:
        OptionError: it is no list, or empty, or holds something that is not from 0 to 1.
    """
    is_list = isinstance(values, (list, tuple, np.ndarray)) and len(values) > 0
    try:
        numbers = [real_number(name, value, least=0, most=1) for value in values]  # type: ignore[attr-defined]
    except (OptionError, TypeError):
        is_list = False
    if not is_list:
        raise OptionError(f"{name} must be a list of shares from 0 to 1, got {values!r:.80}.")
    return tuple(numbers)


def flag(name: str, value: object) -> bool:
    """Return the value of an option as a bool.

    Raises:
        OptionError: it is neither true nor false; the texts "no" and "False" would count as true.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{name} must be True or False, got {value!r:.80}.")
    return bool(value)


def one_of(name: str, value: object, names: Collection[str]) -> str:
    """Return the value of an option that is one of some names.

    Raises:
        OptionError: it is none of them.
    """
    if not isinstance(value, str) or value not in names:
        raise OptionError(f"{name} must be one of {', '.join(names)}; got {value!r:.80}.")
    return value


def check_type(name: str, value: object, kind: type) -> None:
    """Raise `OptionError` unless an argument is of a type; a text is no list of its characters."""
    is_text = isinstance(value, (str, bytes)) and not issubclass(kind, (str, bytes))
    if is_text or not isinstance(value, kind):
        raise OptionError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}.")
