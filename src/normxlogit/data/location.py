"""Where files are: on this machine as `Path`, or in an object store as `Remote`.

`Remote` has the few methods of `Path` that a corpus needs, under the same names.
"""

import contextlib
import io
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from normxlogit.errors import InputError
from normxlogit.extras import require

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_SECRET = re.compile(r"(?<=://)([^/@:]*):(?!\d+(?:[/?]|$))[^?]*?@")
_BUFFER = 1 << 20
_FAILURES = (OSError, ValueError, NotImplementedError)
_WHOLE_AT_CLOSE = ("s3", "gcs")
"""Filesystems where nothing is to be seen of a file before its stream is closed."""


@dataclass(frozen=True)
class Remote:
    """A file or folder of an object store; a folder there is a common prefix of file names.

    Attributes:
        filesystem: pyarrow's.
        path: the path within it.
        uri: the URI that pyarrow takes, with all options.
        is_known_file: whether it is a file, if a listing of its folder said so, which saves a
            request for each file.

    Raises:
        InputError: the store does not do what it is asked to.
    """

    filesystem: Any = field(compare=False)
    path: str = field(compare=False)
    uri: str
    is_known_file: bool | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    def __str__(self) -> str:
        return redacted(self.uri)

    def __lt__(self, other: "Remote") -> bool:
        return self.path < other.path

    def __truediv__(self, name: str) -> "Remote":
        uri = urlsplit(self.uri)
        child = uri._replace(path=f"{uri.path.rstrip('/')}/{quote(name)}")
        return Remote(self.filesystem, f"{self.path.rstrip('/')}/{name}", child.geturl())

    def exists(self) -> bool:
        return self._kind() != "NotFound"

    def is_dir(self) -> bool:
        return self._kind() == "Directory"

    def is_file(self) -> bool:
        return self._kind() == "File" if self.is_known_file is None else self.is_known_file

    def iterdir(self) -> Iterator["Remote"]:
        selector = require("pyarrow.fs").FileSelector(self.path, allow_not_found=True)
        with self._reported("read"):
            entries = self.filesystem.get_file_info(selector)
        for entry in entries:
            yield replace(self / entry.base_name, is_known_file=entry.type.name == "File")

    def stamp(self) -> object:
        """Return what changes when the file does; see `stamp`."""
        with self._reported("read"):
            info = self.filesystem.get_file_info(self.path)
        return info.size, info.mtime_ns

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:  # noqa: ARG002
        """Open the file; errors of the store while it is read are InputErrors too."""
        with self._reported("read"):
            stream = self.filesystem.open_input_file(self.path)
        return io.BufferedReader(_RemoteStream(self, stream), _BUFFER)

    def write(self, content: Any) -> None:
        """Write bytes to a file that appears whole or not at all.

        pyarrow closes its stream after an error too, and with closing publishes what was written
        until then. So everything is written in one call, which leaves no half to be published.
        """
        with self._reported("write"):
            if self.filesystem.type_name in _WHOLE_AT_CLOSE:
                self._put(self.path, content)
                return
            folder, _, name = self.path.rpartition("/")
            temporary = f"{folder}/.{name}.{uuid.uuid4().hex}"
            try:
                self.filesystem.create_dir(folder)
                self._put(temporary, content)
                self.filesystem.move(temporary, self.path)
            except BaseException:
                with contextlib.suppress(OSError, ValueError):
                    self.filesystem.delete_file(temporary)
                raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        with self._reported("delete"):
            try:
                self.filesystem.delete_file(self.path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def _kind(self) -> str:
        with self._reported("read"):
            return str(self.filesystem.get_file_info(self.path).type.name)

    def _put(self, path: str, content: Any) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    @contextlib.contextmanager
    def _reported(self, action: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise InputError(f"cannot {action} {self}: {_reason(error)}.") from error


Location: TypeAlias = Path | Remote


class _RemoteStream(io.RawIOBase):
    """A stream of pyarrow that reports the store's errors as such.

    A reader of CSV or Parquet takes an OSError or ValueError for a fault of the file, which is then
    noted as broken and not read again. An InputError ends the run, and a later one goes on.
    """

    def __init__(self, place: Remote, file: Any) -> None:
        self._place, self._file = place, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._place._reported("read on in"):
            return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


def stamp(place: Location) -> object:
    """Return what changes when a file does, without reading it; None if there is no such file.

    The time of a file can be set back, so equal stamps are no proof of equal content.
    """
    if isinstance(place, Remote):
        return place.stamp()
    try:
        status = place.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def locate(path: str | Path) -> Location:
    """Return the place that a path or URI names.

    Raises:
        InputError: it is a URI that pyarrow does not know or cannot follow, or no path at all.
        MissingExtraError: it is a URI, and pyarrow is not installed.
    """
    _check_path(path)
    if isinstance(path, Path) or not _URI.match(path):
        return Path(path)
    try:
        filesystem, inside = require("pyarrow.fs").FileSystem.from_uri(path)
    except _FAILURES as error:
        reason = _reason(error).replace(path, redacted(path))
        raise InputError(f"cannot reach {redacted(path)}: {reason}.") from error
    return Path(inside) if filesystem.type_name == "local" else Remote(filesystem, inside, path)


def local_path(path: str | Path, *, what: str = "an evaluation is written to a folder") -> Path:
    """Return a path that is written to, which must be on this machine.

    Args:
        path: the path.
        what: what is written, for the message.

    Raises:
        InputError: it is a URI, or no path at all.
    """
    _check_path(path)
    if not isinstance(path, Path) and _URI.match(path):
        raise InputError(
            f"cannot write {redacted(path)}: {what} on this machine. Give one, and copy it from "
            "there."
        )
    return Path(path)


def _check_path(path: object) -> None:
    """Raise `InputError` unless a file could have this path."""
    try:
        if isinstance(path, (str, Path)):
            os.fsencode(path)
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"expected a path or a URI, got {type(path).__name__}: {path!r:.80}.")


def address(place: Location) -> Path | str:
    """Return a place as callers pass it: a path, or a URI with all options."""
    return place if isinstance(place, Path) else place.uri


def redacted(path: str | Path) -> str:
    """Return a path, or a URI without its password and its options, some of which are secret."""
    text = str(path)
    return _SECRET.sub(r"\1@", text).partition("?")[0] if _URI.match(text) else text


def open_parquet(place: Location, **options: Any) -> Any:
    """Open a Parquet file as pyarrow's `ParquetFile`."""
    source = place if isinstance(place, Path) else place.open()
    return require("pyarrow.parquet").ParquetFile(source, **options)


def _reason(error: Exception) -> str:
    message = getattr(error, "strerror", None) or str(error)
    return (message.splitlines() or [type(error).__name__])[0].rstrip(".")
