"""The rows of a source: what is to be explained, or why that is not possible."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import (
    InputError,
    ModelError,
    OptionError,
    TooLongError,
    UnsupportedHeadError,
)


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


_KINDS: dict[type[Exception], Kind] = {
    TooLongError: Kind.TOO_LONG,
    UnsupportedHeadError: Kind.UNSUPPORTED,
    ModelError: Kind.MODEL,
}


@dataclass(frozen=True)
class Bad:
    """A value or a row that cannot be used, in its place.

    Attributes:
        kind: the kind of the error.
        why: the error in words.
    """

    kind: Kind
    why: str

    @classmethod
    def of(cls, error: Exception) -> "Bad":
        """Convert an explainer's error about a text."""
        kinds = (kind for cause, kind in _KINDS.items() if isinstance(error, cause))
        return cls(next(kinds, Kind.INPUT), str(error))


class BrokenFileError(InputError):
    """A file, or the rest of it, cannot be read."""


Values = Mapping[str, Any]
"""A row's values by column, with `Bad` in the place of a value that could not be read."""


@dataclass(frozen=True)
class Columns:
    """The columns of a source that are read, by their use.

    Attributes:
        text: the texts.
        pair: the second texts of pairs.
        id: the user's names for the rows.
        label: the user's labels, which are written beside the predictions.
        target: each row's label to explain.

    Raises:
        OptionError: one of them is no text.
    """

    text: str = "text"
    pair: str | None = None
    id: str | None = None
    label: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        for use, name in vars(self).items():
            if not isinstance(name, str) and (name is not None or use == "text"):
                raise OptionError(f"{use} must be the name of a column, got {name!r:.80}.")

    @property
    def names(self) -> list[str]:
        """Every column once."""
        names = (self.text, self.pair, self.id, self.label, self.target)
        return list(dict.fromkeys(name for name in names if name is not None))


@dataclass(frozen=True)
class Place:
    """The position of a row in a source.

    Attributes:
        row: how many rows of the source come before it.
        part: the index of its file in the source.
        place: how many rows of that file come before it.
    """

    row: int = 0
    part: int = 0
    place: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a source.

    Attributes:
        number: how many rows of the source come before it.
        file: the file of a folder, or the split of a data set, that it is from.
        place: how many rows of that file come before it.
        text, pair: the texts as they are; None if they are not text.
        id, label: as text.
        target: the label or id to explain, as text, if the source has a column of these.
        bad: why it cannot be explained.
    """

    number: int
    file: str | None
    place: int
    text: str | None = None
    pair: str | None = None
    id: str | None = None
    label: str | None = None
    target: str | None = None
    bad: Bad | None = None

    @property
    def item(self) -> Any:
        """The text or the pair, as an explainer takes it."""
        return self.text if self.pair is None else (self.text, self.pair)

    @property
    def length(self) -> int:
        """The length in characters."""
        return len(self.text or "") + len(self.pair or "")

    def __str__(self) -> str:
        return f"row {self.number}" + (f" (row {self.place} of {self.file})" if self.file else "")


def parse_row(
    values: Values | Bad, columns: Columns, number: int, file: str | None, place: int
) -> Row:
    """Return the row with these values; its first bad one makes it a bad row."""
    if isinstance(values, Bad):
        return Row(number, file, place, bad=values)
    cells: dict[str, Any] = {
        "text": _text(values, columns.text),
        "pair": None if columns.pair is None else _text(values, columns.pair),
        "id": _optional_text(values, columns.id),
        "label": _optional_text(values, columns.label),
        "target": None if columns.target is None else _target(values, columns.target),
    }
    bad = next((cell for cell in cells.values() if isinstance(cell, Bad)), None)
    good = {name: None if isinstance(cell, Bad) else cell for name, cell in cells.items()}
    if isinstance(cells["text"], Bad) and cells["text"].kind is Kind.BLANK:
        good["text"] = _value(values, columns.text)  # blanks are text, and are written as they are
    return Row(number, file, place, **good, bad=bad)


def _text(values: Values, name: str) -> str | Bad:
    value = _value(values, name)
    if isinstance(value, Bad):
        return value
    if _is_null(value):
        return Bad(Kind.NULL, f"{name} is null")
    if not isinstance(value, str):
        return Bad(Kind.NOT_TEXT, f"{name} is no text but {type(value).__name__}: {value!r:.60}")
    return value if value.strip() else Bad(Kind.BLANK, f"{name} is blank")


def _target(values: Values, name: str) -> str | Bad:
    """Return a label or its id as text, so that it means the same in every format."""
    value = _value(values, name)
    if isinstance(value, Bad):
        return value
    is_null = _is_null(value)
    if isinstance(value, (str, int, float)) and not is_null and value != "":
        return str(value)
    shown = "null" if is_null else repr(value)
    return Bad(Kind.TARGET, f"{name} is {shown:.60}, which is neither a label nor its number")


def _optional_text(values: Values, name: str | None) -> str | Bad | None:
    """Return a value as text; None if the row has none."""
    value = None if name is None or name not in values else _value(values, name)
    if isinstance(value, Bad):
        return value
    return None if _is_null(value) else str(value)


def _value(values: Values, name: str) -> Any:
    if name not in values:
        names = ", ".join(map(str, values)) or "none"
        return Bad(Kind.MISSING_COLUMN, f"there is no {name} in this row, but: {names:.200}")
    value = values[name]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start} is {value[error.start]:#04x}"
            return Bad(Kind.UNDECODABLE, f"{name} is not UTF-8 text ({byte})")
    if isinstance(value, str) and lone_surrogate(value):
        return Bad(Kind.UNDECODABLE, f"{name} is not valid UTF-8 text")
    return value


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # nan
