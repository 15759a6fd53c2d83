"""Where the rows of a corpus come from: files, a data set of the Hub, or the caller's own."""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from normxlogit.data.formats import FORMATS, File, SourceFile
from normxlogit.data.location import Location, locate, redacted, stamp
from normxlogit.data.rows import Bad, BrokenFileError, Columns, Place, Row, Values, parse_row
from normxlogit.data.tables import check_items, open_frame
from normxlogit.errors import InputError, OptionError, first_line
from normxlogit.extras import require

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_CHUNK = 1 << 20


@dataclass
class Source:
    """Files or splits, one after the other.

    Attributes:
        files: the files or splits.
        dataset: the identity of a data set of the Hub, as plain data for JSON; None for files.
        ignored: the names of other files in the folder.
        broken: why files could not be read, by name, as far as they were tried.
        unchecked: the files that were read since they were last checked.
    """

    files: list[SourceFile]
    dataset: Mapping[str, Any] | None = None
    ignored: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    unchecked: list[SourceFile] = field(default_factory=list)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """The identity of the data, as plain data for JSON; files are read as a whole for it."""
        if self.dataset is not None:
            return dict(self.dataset)
        files = [file for file in self.files if isinstance(file, File)]
        return {"files": [_fingerprint(file.path) for file in files]}

    def check(self, columns: Columns, *, strict: bool) -> None:
        """Find out whether there is anything to read.

        Raises:
            InputError: no file can be read and has these columns; if `strict`, one does not.
        """
        problems = [problem for file in self.files if (problem := _problem(file, columns))]
        if problems and (strict or len(problems) == len(self.files)):
            raise problems[0]

    def check_unchanged(self, *, by_content: bool = False) -> None:
        """Find out whether the files are still those of the fingerprint.

        Args:
            by_content: compare the content of every file; else of those only that were read since
                the last check and have another size or time.

        Raises:
            InputError: one of them has changed.
        """
        for file, before in zip(self.files, self.fingerprint.get("files", ()), strict=False):
            # A data set of the Hub is read at a commit.
            assert isinstance(file, File)
            now = stamp(file.path)
            if not by_content and (file not in self.unchecked or now == file.stamp):
                continue
            after = _fingerprint(file.path)
            if after != before:
                raise InputError(
                    f"{file.path} changed while it was read: it was of {_described(before)} and is "
                    f"of {_described(after)}. Bring it back as it was and run again, or give "
                    "another folder."
                )
            file.stamp = now
        # Of the last one more rows may be read.
        del self.unchecked[:-1]

    def count(self) -> int | None:
        """Count the rows, if that is possible without reading them."""
        total = 0
        for file in self.files:
            try:
                count = file.count()
            except BrokenFileError:
                continue
            if count is None:
                return None
            total += count
        return total

    def place_after(self, row: Row) -> Place:
        """Return the place after a row."""
        index = next(n for n, file in enumerate(self.files) if file.name == row.file)
        return Place(row.number + 1, index, row.place + 1)

    def rows(
        self, columns: Columns, *, part: int = 0, place: int = 0, number: int = 0, strict: bool
    ) -> Iterator[Row]:
        """Read the rows from a place on.

        Args:
            columns: the columns to read.
            part, place: the index of the file to start in, and how many of its rows to skip.
            number: how many rows of the source come before.
            strict: raise an error at a file that cannot be read, rather than note it in `broken`.
        """
        for file in self.files[part:]:
            self.unchecked.append(file)
            try:
                problem = _problem(file, columns)
                if problem is not None:
                    raise problem
                for values in file.rows(columns.names, place):
                    yield parse_row(values, columns, number, file.name, place)
                    number += 1
                    place += 1
            except BrokenFileError as error:
                if strict:
                    raise
                after = f", after {place} rows of it" if place else ""
                self.broken[file.name] = f"{error}{after}"
            place = 0


@dataclass
class InMemoryRows:
    """Rows that the caller has: texts, or mappings from columns to values."""

    items: Iterable[Any]

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Return the rows, in order."""
        for number, item in enumerate(self.items):
            values: Values = item if hasattr(item, "keys") else {columns.text: item}
            yield parse_row(values, columns, number, None, number)


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


def read_rows(
    source: Any,
    columns: Columns,
    *,
    subset: str | None,
    split: str | None,
    strict: bool,
) -> tuple[Iterator[Row], dict[str, Any] | None]:
    """Read the rows of a path, URI or Hub id, or those that the caller has.

    A file that cannot be read is an error when its turn comes, or if `strict` at once.

    Returns:
        The rows, and the source's fingerprint; None for the caller's own.

    Raises:
        InputError: there is nothing to read.
        OptionError: a subset or split of something other than a data set.
    """
    if isinstance(source, (str, Path)):
        opened = open_source(source, subset=subset, split=split)
        opened.check(columns, strict=strict)
        return opened.rows(columns, strict=True), opened.fingerprint
    if subset is not None or split is not None:
        raise OptionError("subset and split are for data sets of the Hub.")
    frame = open_frame(source)
    if frame is not None:
        problem = _problem(frame, columns)
        if problem is not None:
            raise problem
        return InMemoryRows(frame.rows(columns.names, 0)).rows(columns), None
    check_items(source)
    if not isinstance(source, Iterable):
        raise InputError(
            f"a source is a path or gives rows; got {type(source).__name__}. Give texts, mappings "
            "from columns to values, or a data frame of pandas or polars."
        )
    return InMemoryRows(source).rows(columns), None


def open_source(source: str | Path, *, subset: str | None, split: str | None) -> Source:
    """Open a path, URI or Hub id.

    Raises:
        InputError: it does not exist, or holds nothing that can be read.
        OptionError: a subset or split of something other than a data set.
    """
    path = locate(source)
    if not path.exists():
        is_file_name = path.suffix.lower() in FORMATS
        if isinstance(source, Path) or is_file_name or not _HUB_ID.fullmatch(source):
            raise InputError(f"there is no file or folder {redacted(source)}.")
        return open_dataset(source, subset=subset, split=split)
    if subset is not None or split is not None:
        raise OptionError(
            f"subset and split are for data sets of the Hub; {redacted(source)} is a path."
        )
    ends = ", ".join(FORMATS)
    if path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "_")))
        paths = [p for p in entries if p.suffix.lower() in FORMATS and p.is_file()]
        if not paths:
            raise InputError(f"the folder {path} has no file that ends in {ends}.")
        ignored = [entry.name for entry in entries if entry not in paths]
    else:
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"cannot tell what {path} is: its name must end in one of {ends}.")
        paths, ignored = [path], []
    files = [FORMATS[p.suffix.lower()](p) for p in paths]
    return Source(list(files), ignored=ignored)


def open_dataset(name: str, *, subset: str | None, split: str | None) -> Source:
    """Open a data set of the Hub, streamed, or a folder on this machine as `datasets` reads it.

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
    splits = list(streams) if split is None else [split]
    sizes = builder.info.splits or {}
    counts = {name: sizes[name].num_examples if name in sizes else None for name in splits}
    return Source(
        [Split(str(name), streams[name], counts[name] or None) for name in splits],
        {"dataset": name, "subset": subset, "splits": splits, "hash": builder.hash},
    )


def _problem(file: SourceFile, columns: Columns) -> BrokenFileError | None:
    """Return why a file cannot be read, if so."""
    try:
        names = file.columns()
    except BrokenFileError as error:
        return error
    if names is None:
        return None
    for name in columns.names:
        count = names.count(name)
        if count == 0:
            if not names:
                return BrokenFileError(
                    f"{file.name} is empty: it has no column, and {name!r} is to be read. Give a "
                    "table that has it."
                )
            shown = ", ".join(map(str, names))
            return BrokenFileError(f"{file.name} has no column {name!r}. Its columns: {shown}.")
        if count > 1:
            return BrokenFileError(
                f"{file.name} has {count} columns {name!r}. Give each a name of its own."
            )
    return None


def _described(fingerprint: dict[str, Any]) -> str:
    return f"{fingerprint['bytes']} bytes ({str(fingerprint['sha256'])[:12]})"


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
    """Turn any error of `datasets` into an InputError of one line.

    Unlike a broken file it ends the run: the connection may be back when the run is resumed.
    """
    try:
        yield
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"cannot read on in {name}: {reason}") from error
