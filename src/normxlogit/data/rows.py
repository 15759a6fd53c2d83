"""The rows of a source: what is to be explained, or why that is not possible."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from normxlogit.errors import InputError, ModelError, TooLongError, UnsupportedHeadError


class Kind(str, Enum):
    """Why a row was not explained."""

    NULL = "null"
    BLANK = "blank"
    NOT_TEXT = "not_text"
    UNDECODABLE = "undecodable"
    BROKEN_ROW = "broken_row"
    MISSING_COLUMN = "missing_column"
    TARGET = "target"
    TOO_LONG = "too_long"
    INPUT = "input"
    MODEL = "model"
    UNSUPPORTED = "unsupported"
    OVERFLOW = "overflow"


@dataclass(frozen=True)
class Bad:
    """Stands in the place of a value or a row that cannot be used."""

    kind: Kind
    why: str

    @classmethod
    def of(cls, error: Exception) -> "Bad":
        """What the explainer said of a text."""
        kinds = {
            TooLongError: Kind.TOO_LONG,
            UnsupportedHeadError: Kind.UNSUPPORTED,
            ModelError: Kind.MODEL,
        }
        kind = next((kind for of, kind in kinds.items() if isinstance(error, of)), Kind.INPUT)
        return cls(kind, str(error))


class BrokenFileError(InputError):
    """A file, or the rest of it, cannot be read."""


Values = Mapping[str, Any]
"""What a row has in its columns; `Bad` in the place of a value that could not be read."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a source are read, by what they are for.

    Attributes:
        text: the texts.
        pair: the second texts of pairs.
        id: what the user calls the rows.
        label: what the user says of the rows; it is written beside the prediction.
        target: the label to explain, of each row.
    """

    text: str = "text"
    pair: str | None = None
    id: str | None = None
    label: str | None = None
    target: str | None = None

    @property
    def names(self) -> list[str]:
        """Every column once."""
        named = (self.text, self.pair, self.id, self.label, self.target)
        return list(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True)
class Place:
    """A row of a source.

    Attributes:
        row: how many rows of the source are before it.
        part: the part of the source that it is in.
        place: how many rows of that are before it.
    """

    row: int = 0
    part: int = 0
    place: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a source.

    Attributes:
        number: how many rows of the source are before it.
        file: the file of a folder or the split of a data set that it is from, and how many rows of
            that are before it.
        text, pair: as they are, if they are text.
        id, label: as text.
        target: the label or id to explain, of a source with a column of these.
        bad: why it cannot be explained.
    """

    number: int
    file: str | None
    place: int
    text: str | None = None
    pair: str | None = None
    id: str | None = None
    label: str | None = None
    target: str | int | None = None
    bad: Bad | None = None

    @property
    def item(self) -> Any:
        """What the explainer takes."""
        return self.text if self.pair is None else (self.text, self.pair)

    @property
    def length(self) -> int:
        """In characters."""
        return len(self.text or "") + len(self.pair or "")

    def __str__(self) -> str:
        return f"row {self.number}" + (f" (row {self.place} of {self.file})" if self.file else "")


def row_of(
    values: Values | Bad, columns: Columns, number: int, file: str | None, place: int
) -> Row:
    """The row that holds these values."""
    if isinstance(values, Bad):
        return Row(number, file, place, bad=values)
    found = {
        "text": _text(values, columns.text),
        "pair": None if columns.pair is None else _text(values, columns.pair),
        "id": _name(values, columns.id),
        "label": _name(values, columns.label),
        "target": None if columns.target is None else _target(values, columns.target),
    }
    bad = next((value for value in found.values() if isinstance(value, Bad)), None)
    kept: dict[str, Any] = {
        name: None if isinstance(value, Bad) else value for name, value in found.items()
    }
    if isinstance(found["text"], Bad) and found["text"].kind is Kind.BLANK:
        kept["text"] = _value(values, columns.text)
    return Row(number, file, place, **kept, bad=bad)


def _text(values: Values, name: str) -> str | Bad:
    value = _value(values, name)
    if isinstance(value, Bad):
        return value
    if _is_null(value):
        return Bad(Kind.NULL, f"{name} is null")
    if not isinstance(value, str):
        return Bad(Kind.NOT_TEXT, f"{name} is no text but {type(value).__name__}: {value!r:.60}")
    return value if value.strip() else Bad(Kind.BLANK, f"{name} is blank")


def _target(values: Values, name: str) -> str | int | Bad:
    value = _value(values, name)
    if isinstance(value, Bad):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
        return value
    said = "null" if _is_null(value) else repr(value)
    return Bad(Kind.TARGET, f"{name} is {said:.60}, which is neither a label nor its number")


def _name(values: Values, name: str | None) -> str | Bad | None:
    """A value as text; a row may lack it."""
    value = None if name is None or name not in values else _value(values, name)
    if isinstance(value, Bad) or _is_null(value):
        return value if isinstance(value, Bad) else None
    return str(value)


def _value(values: Values, name: str) -> Any:
    if name not in values:
        there = ", ".join(map(str, values)) or "none"
        return Bad(Kind.MISSING_COLUMN, f"there is no {name} in this row, but: {there:.200}")
    value = values[name]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start} is {value[error.start]:#04x}"
            return Bad(Kind.UNDECODABLE, f"{name} is not UTF-8 text ({byte})")
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return Bad(Kind.UNDECODABLE, f"{name} is not valid UTF-8 text")
    return value


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
