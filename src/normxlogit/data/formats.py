"""Files with a row of a corpus after the other: Parquet, CSV, JSON Lines, plain lines.

Each reads what it needs and no more, so that memory does not grow with the file.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from normxlogit.data.location import Location, open_parquet, stamp
from normxlogit.data.rows import Bad, BrokenFileError, Kind, Values
from normxlogit.errors import InputError, first_line
from normxlogit.extras import require

PEEKED = 1000
"""How many lines of JSON are read to collect the names of the columns."""

_BATCH = 1024
_BUFFER = 1 << 20
_UNREADABLE = (OSError, ValueError, NotImplementedError)


class SourceFile(Protocol):
    """A file of a source, or a split of a data set."""

    @property
    def name(self) -> str:
        """Its name in results."""

    def columns(self) -> list[str] | None:
        """Return the names of its columns; None if it is empty.

        Raises:
            BrokenFileError: it cannot be read.
        """

    def count(self) -> int | None:
        """Count its rows, if that is possible without reading them."""

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:
        """Read the rows after the first `start`.

        Args:
            names: the columns to read; a row may lack some.
            start: how many rows to skip.

        Raises:
            BrokenFileError: the file, or the rest of it, cannot be read.
        """


class File:
    """A file on this machine or in a store.

    Attributes:
        path: where it is.
        name: its name in results.
        stamp: what changes when it does, as of when it was last known to be unchanged.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.name = path.name
        self.stamp = stamp(path)

    def count(self) -> int | None:
        return None

    def broken(self, error: Exception) -> BrokenFileError:
        reason = error.strerror if isinstance(error, OSError) else None
        return BrokenFileError(f"cannot read {self.path}: {reason or first_line(error)}")


class Parquet(File):
    """Apache Parquet."""

    def columns(self) -> list[str] | None:
        with self._open() as file:
            return list(file.schema_arrow.names)

    def count(self) -> int | None:
        with self._open() as file:
            return int(file.metadata.num_rows)

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:
        with self._open() as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if start >= size:
                    start -= size
                    continue
                try:
                    for batch in file.iter_batches(_BATCH, [group], columns=list(names)):
                        skipped = min(start, batch.num_rows)
                        start -= skipped
                        yield from _records(batch.slice(skipped))
                except InputError:
                    raise
                except _UNREADABLE as error:
                    raise self.broken(error) from error

    def _open(self) -> Any:
        try:
            return open_parquet(self.path, buffer_size=_BUFFER)
        except InputError:
            raise
        except _UNREADABLE as error:
            raise self.broken(error) from error


class Lines(File):
    """A text on each line, in a column called "text"."""

    def columns(self) -> list[str] | None:
        with self._open() as file:
            return ["text"] if file.read(1) else None

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:  # noqa: ARG002
        for line in itertools.islice(self.lines(), start, None):
            yield {"text": line}

    def lines(self) -> Iterator[bytes]:
        """Read the lines, without a byte order mark and line ends."""
        try:
            with self._open() as file:
                for number, line in enumerate(file):
                    if number == 0:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    yield line.removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise self.broken(error) from error

    def _open(self) -> Any:
        try:
            with self.path.open("rb") as file:
                mark = file.read(2)
            if mark in (b"\xff\xfe", b"\xfe\xff"):
                raise BrokenFileError(f"cannot read {self.path}: it is UTF-16; save it as UTF-8")
            return self.path.open("rb")
        except OSError as error:
            raise self.broken(error) from error


class JsonLines(Lines):
    """An object of JSON on each line; empty lines are skipped."""

    def columns(self) -> list[str] | None:
        names, is_empty, has_objects = dict[str, None](), True, False
        for row in itertools.islice(self.rows((), 0), PEEKED):
            is_empty = False
            if not isinstance(row, Bad):
                has_objects = True
                names |= dict.fromkeys(row)
        if not (is_empty or has_objects):
            raise BrokenFileError(f"cannot read {self.path}: no line of it is an object of JSON")
        return None if is_empty else list(names)

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:  # noqa: ARG002
        lines = ((n, line) for n, line in enumerate(self.lines(), 1) if line.strip())
        for number, line in itertools.islice(lines, start, None):
            yield _object(line, number)


class Csv(Lines):
    """Comma-separated values (RFC 4180) under a header.

    A line with more or fewer fields than the header is a bad row, for its fields may be in the
    wrong columns.
    """

    delimiter = ","

    def columns(self) -> list[str] | None:
        header = next(self._records(), None)
        if isinstance(header, Bad):
            raise BrokenFileError(f"cannot read {self.path}: {header.why}")
        return header

    def rows(self, names: Sequence[str], start: int) -> Iterator[Values | Bad]:  # noqa: ARG002
        records = self._records()
        header = next(records, None)
        if not isinstance(header, list):
            return
        for record in itertools.islice(records, start, None):
            if isinstance(record, Bad):
                yield record
            elif len(record) != len(header):
                why = f"{len(record)} fields under a header of {len(header)}"
                yield Bad(Kind.BROKEN_ROW, f"{why}: {self.delimiter.join(record)!r:.60}")
            else:
                yield dict(zip(header, record, strict=True))

    def _records(self) -> Iterator[list[str] | Bad]:
        """Read the records, the header first, and go on after one that is broken."""
        try:
            # surrogateescape keeps bytes that are not UTF-8 as lone surrogates, which make only
            # their own row a bad one; newline "" leaves line ends inside quotes to the csv module.
            with io.TextIOWrapper(self._open(), "utf-8-sig", "surrogateescape", "") as file:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
                while True:
                    first = reader.line_num + 1
                    try:
                        record = next(reader)
                    except StopIteration:
                        return
                    except csv.Error as error:
                        last = reader.line_num
                        where = f"line {first}" if first == last else f"lines {first} to {last}"
                        yield Bad(Kind.BROKEN_ROW, f"{where}: {error}")
                    else:
                        if record:
                            yield record
        except OSError as error:
            raise self.broken(error) from error


class Tsv(Csv):
    """Tab-separated values under a header."""

    delimiter = "\t"


FORMATS: dict[str, Callable[[Location], SourceFile]] = {
    ".parquet": Parquet,
    ".csv": Csv,
    ".tsv": Tsv,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".txt": Lines,
}
"""By the end of a file's name."""


def _records(batch: Any) -> Iterator[Values]:
    """Yield the rows of a record batch, with strings as bytes, which need not be valid UTF-8."""
    pa = require("pyarrow")
    names, columns = batch.schema.names, []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        # pyarrow would decode a string column as a whole, and one invalid value would fail it all.
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.large_binary())
        columns.append(column.to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _object(line: bytes, number: int) -> Values | Bad:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {line[error.start]:#04x}"
        return Bad(Kind.UNDECODABLE, f"line {number} is not UTF-8 text ({byte})")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Bad(Kind.BROKEN_ROW, f"line {number} is not JSON: {first_line(error)}")
    if not isinstance(values, dict):
        return Bad(Kind.BROKEN_ROW, f"line {number} is no object of JSON but {text!r:.60}")
    return values
