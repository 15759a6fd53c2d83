"""A folder that appears whole or not at all."""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from normxlogit.errors import InputError


def check_free(path: Path) -> None:
    """Refuse a folder that cannot be made, or holds something, and write nothing.

    Raises:
        InputError: it is one of these.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {parent}.")
    if path.exists() and not path.is_dir():
        raise InputError(f"cannot write {path}: it is not a folder.")
    if kind := _lasting(path):
        raise InputError(
            f"cannot write {path}: it is {kind}, whose place no new folder can take. Give a "
            f"folder in it, such as {path / 'exported'}."
        )
    if not os.access(parent, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {parent} cannot be written to.")
    if path.is_dir() and (names := sorted(entry.name for entry in path.iterdir())):
        raise InputError(
            f"{path} holds something else ({', '.join(names[:3])}). Give a folder that is empty or "
            "does not exist."
        )


@contextlib.contextmanager
def pending_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which it becomes at the end unless there is an error.

    Raises:
        InputError: see `check_free`, or the disk is full.
    """
    check_free(path)
    # Beside it, for only within a file system is a rename atomic.
    temporary = path.absolute().with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
        yield temporary
        check_free(path)
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_pending(path: Path) -> None:
    """Delete what processes that were killed had begun of a folder; none may be writing it."""
    for entry in path.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}", entry.name):
            shutil.rmtree(entry, ignore_errors=True)


def _lasting(path: Path) -> str | None:
    """Return what a path is that cannot be replaced by another folder; None if it can."""
    if path.is_symlink():
        return "a link"
    if path.exists() and path.samefile(Path.cwd()):
        return "the folder that this runs in"
    return "a mount point" if path.is_mount() else None
