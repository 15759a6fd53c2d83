"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from pathlib import Path

from .errors import InputError


def write_whole(path: str | Path, text: str) -> None:
    """Write UTF-8 text to a temporary file beside `path`, then give it that name.

    Raises:
        InputError: the folder does not exist or cannot be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
