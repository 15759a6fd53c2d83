"""Values of options: parsed from text, and checked."""

import json
import math
import operator
import sys
from collections.abc import Collection
from numbers import Real
from typing import Any

import numpy as np

from normxlogit.errors import OptionError


def parse_option(text: str) -> Any:
    """Parse `text` as JSON if possible, else return it unchanged; true/false match any case."""
    word = text.lower()
    try:
        return json.loads(word if word in ("true", "false") else text)
    except ValueError:
        return text


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
    largest = sys.float_info.max
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not max(least, -largest) <= value <= min(most, largest):  # type: ignore[operator]
        lower = "" if least == -math.inf else f" from {least:g}"
        upper = "" if most == math.inf else f" to {most:g}"
        raise OptionError(f"{name} must be a number{lower}{upper}, got {value!r:.80}.")
    return float(value)  # type: ignore[arg-type]


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
