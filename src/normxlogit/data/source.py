"""Where the rows of a corpus come from: files, a data set of the Hub, or what the caller has."""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normxlogit.data.formats import FORMATS, Part
from normxlogit.data.location import Location, location, shown
from normxlogit.data.rows import Bad, BrokenFileError, Columns, Place, Row, Values, row_of
from normxlogit.errors import InputError, OptionError, first_line
from normxlogit.extras import require

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_CHUNK = 1 << 20


@dataclass
class Source:
    """Files or splits, one after the other.

    Attributes:
        parts: them.
        fingerprint: what tells the data from other data, as plain data for JSON.
        ignored: what is in the folder beside them.
        broken: why those parts that were tried in vain could not be read, by name.
    """

    parts: list[Part]
    fingerprint: dict[str, Any]
    ignored: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def check(self, columns: Columns, *, strict: bool) -> None:
        """Find out whether there is anything to read.

        Raises:
            InputError: no part could be read or has these columns; if `strict`, one could not.
        """
        problems = [problem for part in self.parts if (problem := _problem(part, columns))]
        if problems and (strict or len(problems) == len(self.parts)):
            raise problems[0]

    def count(self) -> int | None:
        """How many rows there are, if that is known without reading them."""
        total = 0
        for part in self.parts:
            try:
                count = part.count()
            except BrokenFileError:
                continue
            if count is None:
                return None
            total += count
        return total

    def after(self, row: Row) -> Place:
        """What comes after a row."""
        part = next(n for n, part in enumerate(self.parts) if part.name == row.file)
        return Place(row.number + 1, part, row.place + 1)

    def rows(
        self, columns: Columns, *, part: int = 0, place: int = 0, number: int = 0, strict: bool
    ) -> Iterator[Row]:
        """The rows from one on.

        Args:
            columns: what is read.
            part, place: the part that it is in, and how many rows of that are before it.
            number: how many rows of the source are before it.
            strict: whether a part that cannot be read is an error, rather than noted in `broken`.
        """
        for this in self.parts[part:]:
            try:
                problem = _problem(this, columns)
                if problem is not None:
                    raise problem
                for values in this.rows(columns.names, place):
                    yield row_of(values, columns, number, this.name, place)
                    number += 1
                    place += 1
            except BrokenFileError as error:
                if strict:
                    raise
                after = f", after {place} rows of it" if place else ""
                self.broken[this.name] = f"{error}{after}"
            place = 0


@dataclass
class Given:
    """Rows that the caller has: texts, or mappings from columns to values."""

    items: Iterable[Any]

    def rows(self, columns: Columns) -> Iterator[Row]:
        for number, item in enumerate(self.items):
            values: Values = item if hasattr(item, "keys") else {columns.text: item}
            yield row_of(values, columns, number, None, number)


class Split:
    """A split of a data set that `datasets` streams."""

    def __init__(self, name: str, rows: Any, count: int | None) -> None:
        self.name, self._rows, self._count = name, rows, count

    def columns(self) -> list[str] | None:
        if self._rows.column_names is not None:
            return list(self._rows.column_names)
        with _reported(self.name):
            first = next(iter(self._rows), None)
        return None if first is None else list(first)

    def count(self) -> int | None:
        return self._count

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:
        rows = self._rows
        if rows.column_names is not None:
            rows = rows.select_columns(list(names))
        with _reported(self.name):
            for values in rows.skip(start):
                yield {name: values[name] for name in names if name in values}


def rows_of(
    source: Any,
    columns: Columns,
    *,
    subset: str | None,
    split: str | None,
    strict: bool,
) -> tuple[Iterator[Row], dict[str, Any] | None]:
    """The rows of a path, URI or Hub id, with its fingerprint, or those that the caller has.

    A part that cannot be read is an error when it is its turn, or if `strict` at once.

    Raises:
        InputError: there is nothing to read.
        OptionError: a subset or split of something that is no data set.
    """
    if isinstance(source, (str, Path)):
        found = open_source(source, subset=subset, split=split)
        found.check(columns, strict=strict)
        return found.rows(columns, strict=True), found.fingerprint
    if subset is not None or split is not None:
        raise OptionError("subset and split are for data sets of the Hub.")
    if not isinstance(source, Iterable):
        raise InputError(f"a source is a path or gives rows; got {type(source).__name__}.")
    return Given(source).rows(columns), None


def open_source(source: str | Path, *, subset: str | None, split: str | None) -> Source:
    """The source of that path, URI or Hub id.

    Raises:
        InputError: there is none, or it holds nothing that can be read.
        OptionError: a subset or split of something that is no data set.
    """
    path = location(source)
    if not path.exists():
        known = path.suffix.lower() in FORMATS
        if isinstance(source, Path) or known or not _HUB_ID.fullmatch(source):
            raise InputError(f"there is no file or folder {shown(source)}.")
        return open_dataset(source, subset=subset, split=split)
    if subset is not None or split is not None:
        raise OptionError(
            f"subset and split are for data sets of the Hub; {shown(source)} is a path."
        )
    ends = ", ".join(FORMATS)
    if path.is_dir():
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "_")))
        paths = [p for p in inside if p.suffix.lower() in FORMATS and p.is_file()]
        if not paths:
            raise InputError(f"the folder {path} has no file that ends in {ends}.")
        ignored = [entry.name for entry in inside if entry not in paths]
    else:
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"cannot tell what {path} is: its name must end in one of {ends}.")
        paths, ignored = [path], []
    parts = [FORMATS[p.suffix.lower()](p) for p in paths]
    return Source(parts, {"files": [_fingerprint(p) for p in paths]}, ignored=ignored)


def open_dataset(name: str, *, subset: str | None, split: str | None) -> Source:
    """A data set of the Hub, streamed; of a folder on this machine as `datasets` reads it.

    Raises:
        InputError: it cannot be loaded.
        OptionError: it has no such split.
    """
    datasets = require("datasets")
    try:
        builder = datasets.load_dataset_builder(name, subset)
        streams = builder.as_streaming_dataset()
    except Exception as error:  # of any kind, from the network to what is in the files
        reason = first_line(error)
        raise InputError(
            f"there is no file or folder {name}, nor could it be had as a data set: {reason}"
        ) from error
    if split is not None and split not in streams:
        raise OptionError(f"{name} has no split {split!r}. It has {', '.join(streams)}.")
    chosen = list(streams) if split is None else [split]
    sizes = builder.info.splits or {}
    counts = {name: sizes[name].num_examples if name in sizes else None for name in chosen}
    return Source(
        [Split(str(name), streams[name], counts[name] or None) for name in chosen],
        {"dataset": name, "subset": subset, "splits": chosen, "hash": builder.hash},
    )


def _problem(part: Part, columns: Columns) -> BrokenFileError | None:
    """Why a part cannot be read."""
    try:
        there = part.columns()
    except BrokenFileError as error:
        return error
    missing = [] if there is None else [name for name in columns.names if name not in there]
    if not missing:
        return None
    return BrokenFileError(
        f"{part.name} has no column {missing[0]!r}. Its columns: {', '.join(there or [])}."
    )


def _fingerprint(path: Location) -> dict[str, Any]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            size = file.tell()
    except OSError as error:
        return {"name": path.name, "bytes": None, "sha256": None, "error": error.strerror}
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def _reported(name: str) -> Iterator[None]:
    """Make what `datasets` raises one line that ends the run, for the connection may come back."""
    try:
        yield
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"cannot read on in {name}: {reason}") from error
