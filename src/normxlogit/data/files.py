"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from pathlib import Path
from typing import IO

from normxlogit.errors import InputError


class AtomicFile:
    """A file being written; `commit` publishes it atomically.

    Until then it has a temporary name in the same folder, for only within a file system is a rename
    atomic.

    Attributes:
        path: the name that it gets.
        file: the open file to write to.

    Raises:
        OSError: it cannot be written.
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


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a file that appears whole or not at all.

    Raises:
        InputError: the folder does not exist or cannot be written to, the disk is full, or `path`
            is something else than a plain file (a link, a folder, a device).
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"cannot write {path}: it is not a plain file.")
    try:
        pending = AtomicFile(path)
        try:
            pending.file.write(content.encode() if isinstance(content, str) else content)
            pending.commit()
        finally:
            pending.discard()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
