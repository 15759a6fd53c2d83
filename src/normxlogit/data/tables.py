"""Tables that the caller holds in memory, and what only looks like a list of rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from normxlogit.data.rows import Values
from normxlogit.errors import InputError


class Frame:
    """A data frame of pandas, or of a library with its interface, or of polars.

    Attributes:
        name: its name in messages.
    """

    def __init__(self, frame: Any) -> None:
        self.name, self._frame = f"the {type(frame).__name__}", frame

    def columns(self) -> list[str] | None:
        return list(self._frame.columns)

    def count(self) -> int | None:
        return len(self._frame)

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values]:
        frame = self._frame[start:][list(names)]
        if hasattr(frame, "iter_rows"):
            yield from frame.iter_rows(named=True)
            return
        # pandas has values of its own for what is missing.
        values = frame.astype(object).where(frame.notna(), None)
        for record in values.itertuples(index=False, name=None):
            yield dict(zip(names, record, strict=True))


def open_frame(source: Any) -> Frame | None:
    """Return a data frame as a source of rows; None if it is none."""
    is_frame = hasattr(source, "columns") and (
        hasattr(source, "itertuples") or hasattr(source, "iter_rows")
    )
    return Frame(source) if is_frame else None


def check_items(source: Any) -> None:
    """Raise an InputError if iterating over `source` would give names rather than items."""
    names = source if isinstance(source, Mapping) else getattr(source, "columns", None)
    if names is not None:
        raise InputError(
            f"expected texts or rows, and a {type(source).__name__} gives names, "
            f"{', '.join(map(str, names)):.80}. Give one of these parts, or a list of rows."
        )


def check_table(inputs: Any) -> None:
    """Raise an InputError if `inputs` is a table, of which one column is to be explained."""
    # pyarrow has the columns themselves as `columns`.
    names = getattr(inputs, "column_names", getattr(inputs, "columns", None))
    if names is None:
        return
    kind, listed = type(inputs).__name__, list(map(str, names))
    if not listed:
        raise InputError(f"the {kind} has no columns, so there is nothing to explain.")
    raise InputError(
        f"expected texts, and a {kind} is a table with columns: {', '.join(listed):.80}. Give the "
        f"one that holds the texts, such as table[{listed[0]!r:.40}]."
    )
