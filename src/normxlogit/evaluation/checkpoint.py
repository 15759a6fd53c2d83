"""The folder that an evaluation writes to: whose it is, and the parts that are done.

A part is the records of some rows. It appears whole or not at all, and holds in its metadata which
rows it is of and what was left out of them, so the parts alone say how far a run has come.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from normxlogit.data.files import write_whole
from normxlogit.errors import InputError

SETTINGS = "settings.json"
_LOCK, _PARTS, _NOTE = ".lock", ".parts", b"normxlogit"


class Checkpoint:
    """The folder of one run; a context manager that keeps other runs out."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Take a folder, which need not exist yet; `settings` are what figures depend on, as plain
        data for JSON.
        """
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))
        self._lock = FileLock(folder / _LOCK, blocking=False)

    def __enter__(self) -> "Checkpoint":
        """Make the folder, or find that its run is this one.

        Raises:
            InputError: it holds something else, or a run with other settings, or is in use, or
                cannot be written to.
        """
        try:
            self._check_ours()
            (self.folder / _PARTS).mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{self.folder} is being written to by another run. Wait for its end, or give "
                "another folder."
            ) from error
        except OSError as error:
            raise InputError(f"cannot write {self.folder}: {error.strerror or error}.") from error
        if not (self.folder / SETTINGS).exists():
            write_whole(self.folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def parts(self) -> list[tuple[pa.Table, dict[str, Any]]]:
        """The records of each part that is done, and the note that was made of it."""
        found = list[tuple[pa.Table, dict[str, Any]]]()
        while (path := self._path(len(found))).exists():
            table = pq.read_table(path)
            note = json.loads(table.schema.metadata[_NOTE])
            found.append((table.replace_schema_metadata(), note))
        return found

    def save(self, number: int, table: pa.Table, note: Mapping[str, Any]) -> None:
        """Write a part."""
        noted = table.replace_schema_metadata({_NOTE: json.dumps(note)})
        write_whole(self._path(number), parquet(noted))

    def finish(self) -> None:
        """Remove the parts, once what was made of them is written."""
        for path in (self.folder / _PARTS).iterdir():
            path.unlink()
        (self.folder / _PARTS).rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / _PARTS / f"{number:06}.parquet"

    def _check_ours(self) -> None:
        if not self.folder.exists():
            return
        settings = self.folder / SETTINGS
        if not settings.exists():
            inside = [entry.name for entry in self.folder.iterdir() if entry.name[0] != "."]
            if inside:
                raise InputError(
                    f"{self.folder} holds something else ({', '.join(sorted(inside)[:3])}). Give a "
                    "folder that is empty or does not exist, or that of the run to go on with."
                )
            return
        try:
            before = json.loads(settings.read_text("utf-8"))
        except ValueError as error:
            raise InputError(f"cannot read {settings}: {error}.") from error
        differences = [
            f"{name} was {was} and is {now}"
            for name, was, now in _differences(before, self._settings)
        ]
        if differences:
            raise InputError(
                f"{self.folder} holds an evaluation with other settings: {'; '.join(differences)}. "
                "Give another folder."
            )


def parquet(table: pa.Table) -> bytes:
    """A table as the content of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any], name: str = ""
) -> Iterator[tuple[str, str, str]]:
    """What is not as it was: its name, what it was and what it is."""
    for key in dict.fromkeys([*then, *now]):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{name}{key}.")
        elif before != after:
            yield name + key, f"{json.dumps(before):.80}", f"{json.dumps(after):.80}"
