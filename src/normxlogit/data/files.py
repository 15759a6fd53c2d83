"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from pathlib import Path
from typing import IO

from normxlogit.errors import InputError


class Beside:
    """A file under a temporary name beside the one that it is to become.

    Attributes:
        path: what it is to become.
        file: it, to be written to.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        self.file: IO[bytes] = self._temporary.open("xb")

    def keep(self) -> None:
        """Give it its name, whole."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._temporary.replace(self.path)

    def drop(self) -> None:
        """Leave nothing behind, unless it was kept."""
        for step in (self.file.close, self._temporary.unlink):
            with contextlib.suppress(OSError, ValueError):
                step()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary file beside `path`, then give it that name.

    Raises:
        InputError: the folder does not exist or cannot be written to, the disk is full, or `path`
            is something else than a plain file (a link, a folder, a device).
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"cannot write {path}: it is not a plain file.")
    try:
        draft = Beside(path)
        try:
            draft.file.write(content.encode() if isinstance(content, str) else content)
            draft.keep()
        finally:
            draft.drop()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
