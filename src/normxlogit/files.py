"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from pathlib import Path

from .errors import InputError


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary file beside `path`, then give it that name.

    Raises:
        InputError: the folder does not exist or cannot be written to, the disk is full, or `path`
            is something else than a plain file (a link, a folder, a device).
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"cannot write {path}: it is not a plain file.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
