"""Files that appear whole or not at all, on this machine or in an object store."""

import contextlib
import mmap
import os
import tempfile
import uuid
from pathlib import Path
from typing import IO, Protocol

from normxlogit.data.location import Location, Remote
from normxlogit.errors import InputError


class PendingFile(Protocol):
    """A file being written; `commit` publishes it atomically.

    Attributes:
        file: the open file to write to.

    Raises:
        OSError: it cannot be written.
        InputError: the same, for a store.
    """

    file: IO[bytes]

    def commit(self) -> None:
        """Publish the file atomically."""

    def discard(self) -> None:
        """Leave nothing behind; after `commit`, do nothing."""


class AtomicFile:
    """A pending file on this machine.

    Until `commit` it has a temporary name in the same folder, for only within a file system is a
    rename atomic.

    Attributes:
        path: the name that it gets.
        file: the open file to write to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        self.file: IO[bytes] = self._temporary.open("xb")

    def commit(self) -> None:
        """Publish the file atomically."""
        self.file.flush()
        # Else a power cut could leave the new name on a file whose content is not on the disk yet.
        os.fsync(self.file.fileno())
        self.file.close()
        self._temporary.replace(self.path)

    def discard(self) -> None:
        """Close and delete the temporary file; after `commit`, do nothing."""
        for step in (self.file.close, self._temporary.unlink):
            with contextlib.suppress(OSError, ValueError):
                step()


class _DurableFile(AtomicFile):
    """A pending file whose name outlasts a power cut once it is published."""

    def commit(self) -> None:
        super().commit()
        _sync(self.path.parent)


class _Upload:
    """A pending file of a store, written on this machine and uploaded by `commit`.

    A stream to the store itself could not be discarded: see `Remote.write`.
    """

    def __init__(self, place: Remote) -> None:
        self._place = place
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def commit(self) -> None:
        self.file.flush()
        # Mapped, the file is uploaded in one call without being in memory as a whole.
        self._place.write(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))

    def discard(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.file.close()


def open_pending(place: Location) -> PendingFile:
    """Begin a file that appears whole or not at all."""
    return _DurableFile(place) if isinstance(place, Path) else _Upload(place)


def write_whole(path: str | Location, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a file that appears whole or not at all.

    Raises:
        InputError: the folder does not exist or cannot be written to, the disk is full, or `path`
            is something else than a plain file (a link, a folder, a device).
    """
    content = content.encode() if isinstance(content, str) else content
    if isinstance(path, Remote):
        path.write(content)
        return
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"cannot write {path}: it is not a plain file.")
    try:
        pending = AtomicFile(path)
        try:
            pending.file.write(content)
            pending.commit()
        finally:
            pending.discard()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, where folders can be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
