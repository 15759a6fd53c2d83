"""Plain data, such as JSON: written as text, and read value by value or refused."""

import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from reprlib import Repr
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError

LARGEST_INTEGER = 2**31 - 1
LARGEST_NUMBER = float(np.finfo(np.float32).max)
DEEPEST = 16
"""How deep data of any form may be nested: what reads it further calls itself."""

T = TypeVar("T")


def dump_json(data: Any) -> str:
    """Return data as JSON on one line.

    Raises:
        InputError: it holds infinity or nan, which JSON has not.
    """
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InputError(
            "this result holds a number that is infinite or nan, which cannot be written as JSON. "
            "Look for an overflow: load the model in float32, or use another readout."
        ) from error


def parse_json(content: bytes, name: object) -> Any:
    """Return the data that JSON in UTF-8 holds.

    Args:
        content: the JSON.
        name: what it is called in messages.

    Raises:
        InputError: it is not JSON, or nested too deeply, or has a number with too many digits.
    """
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InputError(f"cannot read {name}: its JSON is nested too deeply.") from error
    except ValueError as error:
        raise InputError(f"cannot read {name}: {error}.") from error


@dataclass(frozen=True)
class Plain:
    """A value of plain data that somebody else may have written.

    Attributes:
        value: the value.
        complaint: how a message begins if the data is wrong, such as "this is no whole result".
        remedy: how it ends: a sentence.
        place: where the value stands in the data, such as "targets[0].logit"; "" for all of it.

    Raises:
        InputError: each method, if the value is not of the form that it reads.
    """

    value: Any
    complaint: str
    remedy: str
    place: str = ""

    def refuse(self, wanted: str) -> NoReturn:
        """Raise an error that says where the value stands, what it is, and what is `wanted`."""
        place = self.place or "it"
        shown = _short.repr(self.value)
        raise InputError(f"{self.complaint}: {place} must be {wanted}, got {shown}. {self.remedy}")

    def require(self, right: Any, wanted: str) -> None:
        """Refuse the value unless it is `right`."""
        if not right:
            self.refuse(wanted)

    def get(self, name: str) -> "Plain":
        """Return the value of a field."""
        fields = self._fields()
        if name not in fields:
            where = f" in {self.place}" if self.place else ""
            raise InputError(f"{self.complaint}: {name} is missing{where}. {self.remedy}")
        return self._part(fields[name], f"{self.place}.{name}".lstrip("."))

    def has_only(self, names: Collection[str]) -> None:
        """Refuse other fields than these."""
        more = [name for name in self._fields() if name not in names]
        self.require(not more, f"without the unknown {', '.join(map(_short.repr, more))}")

    def entries(self, read: Callable[["Plain"], T]) -> dict[str, T]:
        """Read every value of a mapping from names of any kind."""
        entries = {}
        for name, value in self._fields().items():
            self.require(isinstance(name, str), "an object whose names are text")
            entries[name] = read(self._part(value, f"{self.place}.{name:.40}"))
        return entries

    def items(self, least: int = 0, most: int | None = None) -> list["Plain"]:
        """Return the values of a list."""
        if not isinstance(self.value, (list, tuple)):
            self.refuse("a list")
        count = len(self.value)
        if not least <= count <= (count if most is None else most):
            limits = f"{least} or more" if most is None else f"{least} to {most}"
            self.refuse(f"a list of {limits if most != least else least}")
        return [self._part(value, f"{self.place}[{n}]") for n, value in enumerate(self.value)]

    def optional(self, read: Callable[["Plain"], T]) -> T | None:
        """Read the value unless it is null."""
        return None if self.value is None else read(self)

    def text(self) -> str:
        """Return text."""
        if not isinstance(self.value, str):
            self.refuse("text")
        return self.value

    def choice(self, names: Collection[str]) -> str:
        """Return one of these names."""
        if not isinstance(self.value, str) or self.value not in names:
            self.refuse(f"one of {', '.join(names)}")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.refuse("true or false")
        return self.value

    def integer(self, least: int = 0, most: int = LARGEST_INTEGER) -> int:
        """Return a whole number."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return self.value

    def count(self) -> int:
        """Return how many there are of something, of which there may be billions."""
        return self.integer(most=2**63 - 1)

    def number(self, least: float = -LARGEST_NUMBER, most: float = LARGEST_NUMBER) -> float:
        """Return a finite number."""
        if not _is_number(self.value) or not least <= self.value <= most:
            self.refuse(f"a number from {least:g} to {most:g}")
        return float(self.value)

    def anything(self, depth: int = DEEPEST) -> Any:
        """Return plain data of any form, nested at most `depth` deep."""
        value = self.value
        if isinstance(value, (Mapping, list, tuple)) and not depth:
            self.refuse("nested less deeply")
        if isinstance(value, Mapping):
            return self.entries(lambda entry: entry.anything(depth - 1))
        if isinstance(value, (list, tuple)):
            return [item.anything(depth - 1) for item in self.items()]
        if _is_number(value):
            self.require(abs(value) <= float(np.finfo(np.float64).max), "a finite number")
        else:
            self.require(value is None or isinstance(value, (str, bool)), "plain data")
        return value

    def numbers(
        self, shape: tuple[int | None, ...], *, least: float = -LARGEST_NUMBER, gaps: bool = False
    ) -> NDArray[np.float32]:
        """Return nested lists of finite numbers, float32 [*shape]; nan for null, if it has `gaps`.

        None in `shape` stands for any length but 0.
        """
        leaves, lengths = self._leaves(shape, {int, float, type(None)} if gaps else {int, float})
        wanted = f"numbers from {least:g} to {LARGEST_NUMBER:g}"
        numbers = [leaf for leaf in leaves if leaf is not None]
        if not all(least <= number <= LARGEST_NUMBER for number in numbers):
            self.refuse(wanted)
        filled = [math.nan if leaf is None else leaf for leaf in leaves]
        return np.array(filled, np.float64).reshape(lengths).astype(np.float32)

    def integers(
        self, shape: tuple[int | None, ...], least: int = 0, most: int = LARGEST_INTEGER
    ) -> NDArray[np.int32]:
        """Return nested lists of whole numbers, int32 [*shape]."""
        leaves, lengths = self._leaves(shape, {int})
        if not all(least <= leaf <= most for leaf in leaves):
            self.refuse(f"whole numbers from {least} to {most}")
        return np.array(leaves, np.int32).reshape(lengths)

    def flags(self, shape: tuple[int | None, ...]) -> NDArray[np.bool_]:
        """Return nested lists of true and false, bool [*shape]."""
        leaves, lengths = self._leaves(shape, {bool})
        return np.array(leaves, np.bool_).reshape(lengths)

    def _leaves(
        self, shape: tuple[int | None, ...], types: set[type]
    ) -> tuple[list[Any], tuple[int, ...]]:
        """Return what is in nested lists, and the lengths of these."""
        dimensions = " x ".join("any" if length is None else str(length) for length in shape)
        wanted = f"lists of {dimensions} values, each {' or '.join(sorted(map(_named, types)))}"
        leaves, lengths = [self.value], list[int]()
        for length in shape:
            if not all(isinstance(part, (list, tuple)) for part in leaves):
                self.refuse(wanted)
            sizes = set(map(len, leaves))
            size = sizes.pop() if length is None and sizes else length
            if not size or sizes - {size}:
                self.refuse(wanted)
            lengths.append(size)
            leaves = list(itertools.chain.from_iterable(leaves))
        if not set(map(type, leaves)) <= types:
            self.refuse(wanted)
        return leaves, tuple(lengths)

    def _fields(self) -> Mapping[Any, Any]:
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        return self.value

    def _part(self, value: Any, place: str) -> "Plain":
        return replace(self, value=value, place=place)


def _named(kind: type) -> str:
    return {type(None): "null", bool: "true or false"}.get(kind, "a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class _Short(Repr):
    """The repr of any value in a few characters, in a time that does not depend on the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60
        self.maxlist = self.maxtuple = self.maxdict = 3

    def repr_int(self, value: int, _level: int) -> str:
        # Python refuses to write out numbers with thousands of digits.
        return repr(value) if abs(value) < 10**30 else f"a number of {value.bit_length()} bits"


_short = _Short()
