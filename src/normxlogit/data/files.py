"""Files that appear whole or not at all, on this machine or in an object store."""

import contextlib
import errno
import mmap
import os
import stat
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
    rename atomic. It keeps the permissions and the owner of the file that it replaces; those of a
    new file are as the umask says. If `path` is a link, the file that it points to is replaced.

    Attributes:
        path: the name that it gets.
        file: the open file to write to.
    """

    def __init__(self, path: Path) -> None:
        self.path = _without_link(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        self.file: IO[bytes] = open(self._temporary, "xb", opener=self._create)  # noqa: SIM115

    def commit(self) -> None:
        """Publish the file atomically."""
        self.file.flush()
        # Else a power cut could leave the new name on a file whose content is not on the disk yet.
        os.fsync(self.file.fileno())
        self.file.close()
        if self.path.exists():
            _copy_permissions(self.path, self._temporary)
        self._temporary.replace(self.path)

    def discard(self) -> None:
        """Close and delete the temporary file; after `commit`, do nothing."""
        for step in (self.file.close, self._temporary.unlink):
            with contextlib.suppress(OSError, ValueError):
                step()

    def _create(self, name: str, flags: int) -> int:
        # What replaces a private file must not be readable for a moment either.
        return os.open(name, flags, 0o600 if self.path.exists() else 0o666)


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

    Half a surrogate pair, which UTF-8 has not, becomes an escape such as \\ud800, as JSON has it.

    Raises:
        InputError: the folder does not exist or cannot be written to, the disk is full, or `path`
            is something else than a plain file or a link to one (a folder, a device).
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    if isinstance(path, Remote):
        path.write(content)
        return
    path = Path(path)
    check_replaceable(path)
    try:
        pending = AtomicFile(path)
        try:
            pending.file.write(content)
            pending.commit()
        finally:
            pending.discard()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def check_replaceable(path: Path) -> None:
    """Raise `InputError` if `path` is neither a plain file, nor a link to one, nor free."""
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is not a plain file. Give another name.")


def _without_link(path: Path) -> Path:
    """Return where a link ends, through any further ones; a path that is none, unchanged."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def _copy_permissions(source: Path, target: Path) -> None:
    before = source.stat()
    if hasattr(os, "chown"):
        # Only root may give files away; for others this keeps the group where they may set it.
        with contextlib.suppress(PermissionError):
            os.chown(target, before.st_uid, before.st_gid)
    target.chmod(stat.S_IMODE(before.st_mode))


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, where folders can be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
