"""A file of questions with their documents, answered and explained row by row into a folder.

Each answer is a line of `answers.jsonl`, flushed to the disk when it is there, so that a run that
was stopped goes on after the last whole line.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normxlogit.data.files import write_whole
from normxlogit.data.location import local_path
from normxlogit.data.plain import dump_json, parse_json
from normxlogit.data.progress import Meter
from normxlogit.data.rows import Bad, Kind, Values
from normxlogit.data.run_folder import LOCK, RunFolder
from normxlogit.data.source import Source, open_source
from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import InputError, MissingExtraError, NormXLogitError, OptionError
from normxlogit.extras import require, versions
from normxlogit.results.sources import SourceAttribution

SCHEMA = "normxlogit/sources-run/1"
ANSWERS, TABLE = "answers.jsonl", "answers.parquet"
COLUMNS = ("question", "messages", "documents", "answer", "id")
"""The columns that are read; a row has a question or messages."""
FIELDS = ("row", "id", "error_kind", "error", "attribution")
"""What the line of a row has."""

_BRING_BACK = "Bring the file back as it was written, or give another folder."


@dataclass(frozen=True)
class AnsweredRows:
    """The rows of a file of questions, answered.

    Attributes:
        folder: where they were written.
        rows: how many there were.
        errors: how many of them could not be answered or explained.
        first_error: the first of these, in words.
        was_finished: whether an earlier run had done them all.
    """

    folder: Path
    rows: int
    errors: int
    first_error: str | None
    was_finished: bool

    def __str__(self) -> str:
        counts = [f"{self.rows:,} row{'s' * (self.rows != 1)}"]
        counts.append(f"{self.errors:,} error{'s' * (self.errors != 1)}")
        return f"{', '.join(counts)}; in {self.folder}"


class AnswersFolder(RunFolder):
    """The folder of a run; a context manager that keeps others out.

    Attributes:
        lines: how many rows are done.
    """

    RECORD = "run.json"
    CONTENT = "a run"
    MAKES_PARENTS = False

    path: Path

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        super().__init__(path, {"schema": SCHEMA, **settings})
        self.lines = 0

    def append(self, line: str) -> None:
        """Write the line of a row, and wait until it is on the disk."""
        self.has_begun = True
        try:
            with (self.path / ANSWERS).open("ab") as file:
                file.write((line + "\n").encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        self.lines += 1

    def records(self) -> Iterator[dict[str, Any]]:
        """Read the rows that are done.

        Raises:
            InputError: a line is not what was written.
        """
        with (self.path / ANSWERS).open("rb") as file:
            for number, line in enumerate(file):
                record = parse_json(line, f"line {number + 1} of {self.path / ANSWERS}")
                is_whole = isinstance(record, dict) and set(record) == set(FIELDS)
                if not is_whole or record["row"] != number:
                    raise InputError(
                        f"line {number + 1} of {self.path / ANSWERS} is not that of row {number}. "
                        f"{_BRING_BACK}"
                    )
                yield record

    def _start(self) -> None:
        write_whole(self.path / self.RECORD, json.dumps(self.settings, indent=2) + "\n")
        write_whole(self.path / ANSWERS, "")

    def _undo(self) -> None:
        (self.path / ANSWERS).unlink(missing_ok=True)
        super()._undo()

    def _resume(self, record: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.has_begun = True
        path = self.path / ANSWERS
        if not path.exists():
            raise InputError(f"{path} is gone. Bring it back, or give another folder.")
        # What a run was writing when it was stopped is no whole line.
        with path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
        self.lines = content.count(b"\n")

    @classmethod
    def _is_temporary(cls, name: str) -> bool:
        return name == LOCK or name.startswith(f".{cls.RECORD}.")


def answer_rows(
    ask: Callable[..., SourceAttribution],
    source: str | Path,
    output: str | Path,
    settings: Mapping[str, Any],
    *,
    parquet: bool,
    progress: bool,
) -> AnsweredRows:
    """Answer and explain every row of a file into a folder, from where an earlier run was.

    Args:
        ask: explains a row: takes question, documents and answer.
        source: the file, or a folder of such; see `COLUMNS`.
        output: the folder.
        settings: what the answers depend on but for the data, as plain data for JSON.
        parquet: whether to write a table too, once all is done.
        progress: whether to show progress.

    Raises:
        InputError: the source cannot be read or has no questions, or the folder cannot be written
            to, is in use, or holds something else.
        OptionError: an option does not fit, of whichever row.
        MissingExtraError: pyarrow is not installed, or what the method needs.
    """
    require("pyarrow")
    opened = open_source(source, subset=None, split=None)
    names = _check_columns(opened)
    settings = {**settings, "data": opened.fingerprint, "versions": versions()}
    with ExitStack() as stack:
        folder = stack.enter_context(
            AnswersFolder(local_path(output, what="answers are written to a folder"), settings)
        )
        done = folder.lines
        meter = stack.enter_context(Meter(opened.count(), done, 0, shown=progress))
        rows = 0
        for number, values in enumerate(_values(opened, names)):
            rows = number + 1
            if number >= done:
                folder.append(_line(ask, number, values))
                meter.show(rows, 0)
        opened.check_unchanged(by_content=True)
        if folder.lines != rows:
            raise InputError(
                f"{folder.path / ANSWERS} has {folder.lines:,} lines, and the data {rows:,} rows. "
                f"{_BRING_BACK}"
            )
        errors, first = 0, None
        for record in folder.records():
            if record["error"] is not None:
                errors += 1
                first = first or f"row {record['row']}: {record['error']}"
        if parquet and not (folder.path / TABLE).exists():
            _write_table(folder)
        return AnsweredRows(folder.path, folder.lines, errors, first, done == folder.lines > 0)


def _check_columns(source: Source) -> list[str]:
    """Return the columns to read."""
    names = list[str]()
    for file in source.files:
        names += [name for name in file.columns() or [] if name in COLUMNS and name not in names]
    if "question" not in names and "messages" not in names:
        raise InputError(
            "the rows have neither a question nor messages. Give objects with question and "
            "documents, or with messages."
        )
    return names


def _values(source: Source, names: list[str]) -> Iterator[Values | Bad]:
    for file in source.files:
        present = [name for name in names if name in (file.columns() or [])]
        yield from file.rows(present, 0)


def _line(ask: Callable[..., SourceAttribution], number: int, values: Values | Bad) -> str:
    """Return the line of a row: its attribution, or why there is none."""
    row_id, result, bad = None, None, values if isinstance(values, Bad) else None
    if not isinstance(values, Bad):
        try:
            row_id = _cell(values, "id")
            documents, answer = _cell(values, "documents"), _cell(values, "answer")
            result = ask(_question(values), documents, answer=answer)
        except _BadCellError as error:
            bad = error.bad
        except (OptionError, MissingExtraError):
            raise  # All rows have these.
        except NormXLogitError as error:
            bad = Bad.of(error)
    content = (
        number,
        None if row_id is None else str(row_id),
        None if bad is None else bad.kind.value,
        None if bad is None else bad.why,
        None if result is None else result.to_dict(),
    )
    return dump_json(dict(zip(FIELDS, content, strict=True)))


def _question(values: Values) -> Any:
    """Return the question of a row, or its messages.

    Raises:
        InputError: it has neither, both, or messages that are a text.
    """
    question, messages = _cell(values, "question"), _cell(values, "messages")
    if question is None and messages is None:
        raise InputError("the row has neither a question nor messages.")
    if question is not None and messages is not None:
        raise InputError("the row has a question and messages. Leave one of them out.")
    if isinstance(messages, str):
        raise InputError(
            f"messages must be a list, each with role and content, got {messages!r:.80}. A text is "
            "a question."
        )
    return messages if question is None else question


class _BadCellError(InputError):
    """A cell of a row cannot be used."""

    def __init__(self, bad: Bad) -> None:
        super().__init__(bad.why)
        self.bad = bad


def _cell(values: Values, name: str) -> Any:
    """Return a cell; None if the row has none.

    Raises:
        _BadCellError: it could not be read, or a text in it is not UTF-8.
    """
    return _decoded(values.get(name), name)


def _decoded(value: Any, name: str) -> Any:
    """Return a value with the texts that Parquet gives as bytes decoded."""
    if isinstance(value, Bad):
        raise _BadCellError(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start} is {value[error.start]:#04x}"
            why = f"a text of {name} is not UTF-8 ({byte})"
            raise _BadCellError(Bad(Kind.UNDECODABLE, why)) from error
    if isinstance(value, str) and lone_surrogate(value):
        raise _BadCellError(Bad(Kind.UNDECODABLE, f"a text of {name} is not valid UTF-8"))
    if isinstance(value, list):
        return [_decoded(item, name) for item in value]
    if isinstance(value, dict):
        return {key: _decoded(item, name) for key, item in value.items() if item is not None}
    return value


def _write_table(folder: AnswersFolder) -> None:
    """Write all rows as a table, with a row for each span, source and sentence."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, number, text = pa.int64(), pa.float64(), pa.string()
    types = {
        "row": whole,
        "id": text,
        "error_kind": text,
        "error": text,
        "answer": text,
        "method": text,
        "unit": text,
        "span": whole,
        "span_text": text,
        "span_start": whole,
        "span_end": whole,
        "logprob": number,
        "prior": number,
        "unexplained": number,
        "source": whole,
        "name": text,
        "kind": text,
        "sentence": whole,
        "text": text,
        "start": whole,
        "end": whole,
        "score": number,
        "cited": pa.bool_(),
    }
    schema = pa.schema(list(types.items()))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for record in folder.records():
            about = {name: record[name] for name in ("row", "id", "error_kind", "error")}
            rows: list[dict[str, Any]] = [about]
            if record["attribution"] is not None:
                result = SourceAttribution.from_dict(record["attribution"])
                about |= {"answer": result.answer, "method": result.provenance.method}
                rows = [{**about, "unit": result.unit, **row} for row in result.records()]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    write_whole(folder.path / TABLE, sink.getvalue().to_pybytes())
