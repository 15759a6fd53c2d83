"""The folder of a run: whose it is, one writer at a time, and resuming with the same settings."""

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from filelock import FileLock, Timeout

from normxlogit.data.location import Location
from normxlogit.data.plain import parse_json
from normxlogit.errors import InputError

LOCK = ".lock"

AnyFolder = TypeVar("AnyFolder", bound="RunFolder")


class RunFolder(ABC):
    """The folder that a run writes to; a context manager that keeps other runs out.

    Entering it starts a run in an empty folder, and resumes the run that an earlier process has
    left there if its settings are the same.

    A run that is new and fails before it has anything to keep leaves nothing behind.

    Attributes:
        path: the folder, which need not exist yet.
        settings: what the results depend on, as JSON gives it back.
        has_begun: whether there is something to keep.
    """

    RECORD: ClassVar[str]
    """The file that holds the settings, and so marks a folder as that of a run."""
    CONTENT: ClassVar[str]
    """A noun for its content in messages, such as "a run"."""
    MAKES_PARENTS: ClassVar[bool]
    """Whether to create the folders above it too."""

    def __init__(self, path: Location, settings: Mapping[str, Any]) -> None:
        self.path = path
        # JSON turns tuples into lists: settings must be compared as they will be read back.
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.has_begun = False
        self._is_new = False

    def __enter__(self: AnyFolder) -> AnyFolder:
        """Lock the folder, and start or resume its run.

        Raises:
            InputError: the folder holds something else or a run with other settings, another run is
                writing to it, or it cannot be written to.
        """
        try:
            self.check_place(self.path)
            with contextlib.ExitStack() as stack:
                if isinstance(self.path, Path):  # object stores have no locks
                    stack.enter_context(self._locked(self.path))
                self._start_or_resume()
                self._held = stack.pop_all()
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, traceback)

    @abstractmethod
    def _start(self) -> None:
        """Write the record of a new run."""

    @abstractmethod
    def _resume(self, record: Mapping[str, Any]) -> None:
        """Go on with the run of that record, whose settings are the same."""

    def _undo(self) -> None:
        """Delete what `_start` has made; of a folder on this machine only."""
        (self.path / self.RECORD).unlink(missing_ok=True)

    def _read_record(self) -> dict[str, Any]:
        return read_json(self.path / self.RECORD)

    def _differences(self, record: Mapping[str, Any]) -> list[str]:
        """Name the settings that differ from those of a record."""
        return differences(record, self.settings)

    @classmethod
    def _is_temporary(cls, name: str) -> bool:
        """Tell whether a file may lie in a folder that holds no run yet."""
        return name.startswith(".")

    @classmethod
    def check_place(cls, path: Location) -> None:
        """Refuse a folder that cannot be written to or has other content, and write nothing.

        Raises:
            InputError: it is one of these.
        """
        if isinstance(path, Path):
            cls._check_permission(path)
        if not path.exists():
            return
        if not path.is_dir():
            raise InputError(f"cannot write {path}: it is not a folder.")
        if (path / cls.RECORD).exists():
            return
        names = [entry.name for entry in path.iterdir() if not cls._is_temporary(entry.name)]
        if names:
            raise InputError(
                f"{path} holds something else ({', '.join(sorted(names)[:3])}). Give a folder "
                "that is empty or does not exist, or that of the run to go on with."
            )

    @classmethod
    def _check_permission(cls, path: Path) -> None:
        """Refuse a folder on this machine that cannot be made, or not be written to."""
        parents = path.absolute().parents
        if not (path.exists() or cls.MAKES_PARENTS or parents[0].is_dir()):
            raise InputError(f"cannot write {path}: there is no folder {parents[0]}.")
        nearest = next(place for place in (path, *parents) if place.exists())
        if not nearest.is_dir():
            name = "it" if nearest == path else nearest
            raise InputError(f"cannot write {path}: {name} is not a folder.")
        if not os.access(nearest, os.W_OK):
            raise InputError(f"cannot write {path}: the folder {nearest} cannot be written to.")

    def _start_or_resume(self) -> None:
        # Only under the lock: a run with other settings may have begun since the first look.
        if not (self.path / self.RECORD).exists():
            self._is_new = True
            self._start()
            return
        record = self._read_record()
        changes = self._differences(record)
        if changes:
            raise InputError(
                f"{self.path} holds {self.CONTENT} with other settings: {'; '.join(changes)}. Give "
                "another folder, or the settings of that run."
            )
        self._resume(record)

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Create a folder on this machine if need be, and hold its lock."""
        lock, is_there = FileLock(folder / LOCK, blocking=False), folder.exists()
        folder.mkdir(parents=self.MAKES_PARENTS, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{folder} is being written to by another run ({_holder(folder)}). Wait for its "
                "end, or give another folder."
            ) from error
        try:
            with contextlib.suppress(OSError):  # the number is for messages only
                (folder / LOCK).write_text(str(os.getpid()))
            yield
        except BaseException:
            if self._is_new and not self.has_begun:
                with contextlib.suppress(OSError):
                    self._undo()
                    (folder / LOCK).unlink()
                    if not is_there:
                        folder.rmdir()
            raise
        finally:
            lock.release()


def read_json(path: Location) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    record = parse_json(content, path)
    if not isinstance(record, dict):
        raise InputError(f"cannot read {path}: it is not an object of JSON.")
    return record


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name every setting that changed, with its two values; nested ones as "model.name"."""
    changes: list[str] = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            was, is_now = (f"{json.dumps(value):.80}" for value in (old, new))
            changes.append(f"{prefix}{name} was {was} and is {is_now}")
    return changes


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"process {int((folder / LOCK).read_text())}"
    return "of another process"
