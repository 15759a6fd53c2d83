"""Where files are: on this machine as `Path`, or in a store that pyarrow knows as `Remote`.

`Remote` has what a corpus needs of `Path`, under the same names; what the two do differently is
done by the functions here.
"""

import contextlib
import io
import mmap
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

from normxlogit.data import files
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
    """A file or folder of a store; a folder there is what the names of its files begin with.

    Attributes:
        filesystem: of pyarrow.
        path: what it is called there.
        uri: the same as pyarrow takes it, with all options.
        is_known_file: whether it is a file, if that was told by a listing of its folder.

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
        return shown(self.uri)

    def __lt__(self, other: "Remote") -> bool:
        return self.path < other.path

    def __truediv__(self, name: str) -> "Remote":
        uri = urlsplit(self.uri)
        inside = uri._replace(path=f"{uri.path.rstrip('/')}/{quote(name)}")
        return Remote(self.filesystem, f"{self.path.rstrip('/')}/{name}", inside.geturl())

    def absolute(self) -> "Remote":
        return self

    def exists(self) -> bool:
        return self._kind() != "NotFound"

    def is_dir(self) -> bool:
        return self._kind() == "Directory"

    def is_file(self) -> bool:
        return self._kind() == "File" if self.is_known_file is None else self.is_known_file

    def iterdir(self) -> Iterator["Remote"]:
        listing = require("pyarrow.fs").FileSelector(self.path, allow_not_found=True)
        with self._reported("read"):
            found = self.filesystem.get_file_info(listing)
        for info in found:
            yield replace(self / info.base_name, is_known_file=info.type.name == "File")

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:  # noqa: ARG002
        """Its bytes; an error of the store while they are read is an `InputError` too."""
        with self._reported("read"):
            file = self.filesystem.open_input_file(self.path)
        return io.BufferedReader(_Bytes(self, file), _BUFFER)

    def read_text(self, encoding: str) -> str:
        with self.open() as file:
            return file.read().decode(encoding)

    def write(self, content: Any) -> None:
        """Write bytes that become the file whole or not at all.

        pyarrow finishes a file when its stream is closed, and closes it after an error too, with
        what was written until then. So all is written at once.
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
                _try(lambda: self.filesystem.delete_file(temporary))
                raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        with self._reported("delete"), contextlib.ExitStack() as stack:
            if missing_ok:
                stack.enter_context(contextlib.suppress(FileNotFoundError))
            self.filesystem.delete_file(self.path)

    def _kind(self) -> str:
        with self._reported("read"):
            return str(self.filesystem.get_file_info(self.path).type.name)

    def _put(self, path: str, content: Any) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    @contextlib.contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise InputError(f"cannot {what} {self}: {_reason(error)}.") from error


Location: TypeAlias = Path | Remote


class _Bytes(io.RawIOBase):
    """A stream of pyarrow, whose errors are no faults of what is read."""

    def __init__(self, place: Remote, file: Any) -> None:
        self._place, self._file = place, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        with self._place._reported("read on in"):
            return int(self._file.readinto(into))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


class Draft(Protocol):
    """A file that is not yet what it is to be.

    Attributes:
        file: it, to be written to.

    Raises:
        OSError: it cannot be written.
        InputError: the same, of a store.
    """

    file: IO[bytes]

    def keep(self) -> None:
        """Make it that, whole."""

    def drop(self) -> None:
        """Leave nothing behind, unless it was kept."""


class _Beside(files.Beside):
    """A draft of a file on this machine, whose name outlasts a power cut."""

    def keep(self) -> None:
        super().keep()
        _sync(self.path.parent)


class _Upload:
    """A draft of a file of a store, on this machine."""

    def __init__(self, place: Remote) -> None:
        self._place = place
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def keep(self) -> None:
        self.file.flush()
        self._place.write(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))

    def drop(self) -> None:
        _try(self.file.close)


def location(of: str | Path) -> Location:
    """Where a path or URI leads to.

    Raises:
        InputError: it is a URI that pyarrow does not know or cannot follow.
        MissingExtraError: it is a URI, and pyarrow is not installed.
    """
    if isinstance(of, Path) or not _URI.match(of):
        return Path(of)
    try:
        filesystem, path = require("pyarrow.fs").FileSystem.from_uri(of)
    except _FAILURES as error:
        reason = _reason(error).replace(of, shown(of))
        raise InputError(f"cannot reach {shown(of)}: {reason}.") from error
    return Path(path) if filesystem.type_name == "local" else Remote(filesystem, path, of)


def here(of: str | Path) -> Path:
    """Where to write on this machine.

    Raises:
        InputError: it is a URI.
    """
    if not isinstance(of, Path) and _URI.match(of):
        raise InputError(
            f"cannot write {shown(of)}: an evaluation is written to a folder on this machine. Give "
            "one, and copy it from there."
        )
    return Path(of)


def address(place: Location) -> Path | str:
    """A place as others take it: a path, or a URI with all options."""
    return place if isinstance(place, Path) else place.uri


def shown(of: str | Path) -> str:
    """A path, or a URI without passwords and options, of which some are secret."""
    text = str(of)
    return _SECRET.sub(r"\1@", text).partition("?")[0] if _URI.match(text) else text


def parquet(place: Location, **options: Any) -> Any:
    """The Parquet file there, as a `ParquetFile`."""
    source = place if isinstance(place, Path) else place.open()
    return require("pyarrow.parquet").ParquetFile(source, **options)


def draft(place: Location) -> Draft:
    """Begin a file that appears whole or not at all."""
    return _Beside(place) if isinstance(place, Path) else _Upload(place)


def write_whole(place: Location, content: str) -> None:
    """Write text as UTF-8, whole or not at all.

    Raises:
        InputError: that is not possible.
    """
    if isinstance(place, Path):
        files.write_whole(place, content)
    else:
        place.write(content.encode())


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return (said.splitlines() or [type(error).__name__])[0].rstrip(".")


def _try(step: Callable[[], object]) -> None:
    """Do what can be done."""
    with contextlib.suppress(OSError, ValueError):
        step()


def _sync(folder: Path) -> None:
    """Make the name of a new file outlast a power cut, where folders can be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
