"""The folder that an evaluation writes to, with the parts that are done.

A part is the records of some rows. It appears whole or not at all and carries a note in its
metadata, so that the parts alone say how far a run has come.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from normxlogit.data.files import write_whole
from normxlogit.data.plain import parse_json
from normxlogit.data.run_folder import RunFolder
from normxlogit.errors import InputError
from normxlogit.evaluation.finished import read_records

SETTINGS = "settings.json"
_PARTS, _NOTE = ".parts", b"normxlogit"


class Checkpoint(RunFolder):
    """The folder of one evaluation on this machine; a context manager that keeps others out."""

    RECORD = SETTINGS
    CONTENT = "an evaluation"
    MAKES_PARENTS = True

    path: Path

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Take a folder.

        Args:
            folder: the folder, which need not exist yet.
            settings: what the figures depend on, as plain data for JSON.
        """
        super().__init__(folder, settings)
        self._parts = folder / _PARTS

    def parts(self, schema: pa.Schema) -> list[tuple[pa.Table, dict[str, Any]]]:
        """Return the records of each part that is done, and its note.

        Raises:
            InputError: a part cannot be read, or has other columns than `schema`.
        """
        parts: list[tuple[pa.Table, dict[str, Any]]] = []
        while (path := self._part(len(parts))).exists():
            table = read_records(path, schema)
            note = (table.schema.metadata or {}).get(_NOTE)
            if note is None:
                raise InputError(f"{path} has no note of a run. Delete it to evaluate it again.")
            parts.append((table.replace_schema_metadata(), parse_json(note, f"the note in {path}")))
        return parts

    def save(self, number: int, table: pa.Table, note: Mapping[str, Any]) -> None:
        """Write a part; `note` is plain data for JSON, such as which rows were left out."""
        self.has_begun = True
        annotated = table.replace_schema_metadata({_NOTE: json.dumps(note)})
        write_whole(self._part(number), parquet(annotated))

    def finish(self) -> None:
        """Remove the parts, once the results that they make up are written."""
        for path in self._parts.iterdir():
            path.unlink()
        self._parts.rmdir()

    def _start(self) -> None:
        self._parts.mkdir(exist_ok=True)
        write_whole(self.path / SETTINGS, json.dumps(self.settings, indent=2) + "\n")

    def _undo(self) -> None:
        self._parts.rmdir()
        super()._undo()

    def _resume(self, record: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._parts.mkdir(exist_ok=True)

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06}.parquet"


def parquet(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
