"""The folder that a run writes to: whose it is, how far it has come, and one run at a time.

The shards alone say how far it has come: each holds a note of the run that it is of, of what is in
it and of the row that comes after it. manifest.json has the sums for readers.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from normxlogit.corpus import shards
from normxlogit.corpus.explain import Explained
from normxlogit.data.location import Location, write_whole
from normxlogit.data.rows import Place
from normxlogit.errors import InputError

SCHEMA = "normxlogit/corpus/1"
MANIFEST = "manifest.json"
_LOCK = ".lock"


@dataclass
class Progress:
    """What some shards of a run hold.

    Attributes:
        shards: how many shards these are.
        rows: how many rows of the source they hold.
        records: how many rows the shards have: one for each target of each row.
        tokens: of the rows that were explained.
        errors: how many rows could not be explained, by kind.
        first_error: the first of these.
        broken: files that could not be read up to there, and why.
    """

    shards: int = 0
    rows: int = 0
    records: int = 0
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_error: str | None = None
    broken: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Progress":
        """The reverse of `vars`."""
        return cls(**{**data, "errors": Counter(data["errors"])})

    def count(self, explained: Explained) -> None:
        """Add a row."""
        self.rows += 1
        if explained.attribution is not None:
            self.tokens += len(explained.attribution)
        if explained.bad is not None:
            self.errors[explained.bad.kind.value] += 1
            self.first_error = self.first_error or explained.complaint

    def add(self, other: "Progress") -> None:
        """Add later shards."""
        self.shards += other.shards
        self.rows += other.rows
        self.records += other.records
        self.tokens += other.tokens
        self.errors += other.errors
        self.first_error = self.first_error or other.first_error
        self.broken |= other.broken


@dataclass(frozen=True)
class Gap:
    """Shards that are missing, one after the other.

    Attributes:
        first: the number of the first of them.
        start: its first row.
        end: the number of the shard that comes after them; None if they are those up to the end.
    """

    first: int = 0
    start: Place = field(default_factory=Place)
    end: int | None = None

    def rows(self, size: int) -> int | None:
        """How many rows are missing, if it is known; a shard holds `size`."""
        return None if self.end is None else (self.end - self.first) * size


@dataclass(frozen=True)
class Run:
    """A run as its folder tells of it.

    Attributes:
        manifest: what is in manifest.json.
        shards: the paths of its shards, in order.
        progress: what they hold.
        missing: which are missing; the last is what may come after them all.
        finished: whether there is nothing to come.
    """

    manifest: dict[str, Any]
    shards: list[Location]
    progress: Progress
    missing: list[Gap]
    finished: bool


def run_in(folder: Location) -> Run:
    """The run that a folder with a manifest holds.

    Raises:
        InputError: the manifest or a shard cannot be read, a shard is of another run, or some are
            lost.
    """
    manifest = _read(folder / MANIFEST)
    paths, progress, missing = shards.paths_in(folder), Progress(), [Gap()]
    for path in paths:
        note, number = shards.note_in(path), shards.number_of(path)
        if number is None or note.get("run") != manifest["run"]:
            raise InputError(f"{path} is not a shard of this run. Take it away.")
        progress.add(Progress.from_dict(note["progress"]))
        before = missing.pop()
        if before.first < number:
            missing.append(replace(before, end=number))
        missing.append(Gap(number + 1, Place(**note["next"])))
    finished = manifest["state"] == "finished"
    if finished:
        if progress.shards != manifest["counts"]["shards"]:
            lost = manifest["counts"]["shards"] - progress.shards
            raise InputError(
                f"{folder} was finished, and has lost {lost} of its shards. Bring them back, or "
                "give another folder."
            )
        progress.broken = manifest["broken"]
    return Run(manifest, paths, progress, missing, finished)


class Folder:
    """The folder of one run; a context manager that keeps other runs out.

    Stores have no locks. There runs with the same settings have the same id, so that two at once
    write the same shards.

    Attributes:
        path: the folder.
        run: the id of its run.
        progress: what the shards hold that are there.
        missing: which were not there at first.
        finished: whether the run is at its end.
    """

    def __init__(
        self, path: Location, settings: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        """Take a folder, which need not exist yet.

        Args:
            path: the folder; it may be of a run with the same settings.
            settings: what rows and scores depend on, as plain data for JSON.
            about: what else to note in the manifest.
        """
        self.path = path
        self.run = uuid.uuid4().hex if isinstance(path, Path) else _digest([settings, about])
        self.progress = Progress()
        self.missing = [Gap()]
        self.finished = False
        self._settings = json.loads(json.dumps(settings))
        self._about = about

    def __enter__(self) -> "Folder":
        """Make the folder, or find out how far its run has come.

        Raises:
            InputError: it holds something else, or a run with other settings, or is written to by
                another run, or cannot be written to.
        """
        self._check_ours()
        with contextlib.ExitStack() as stack:
            if isinstance(self.path, Path):
                stack.enter_context(_locked(self.path))
            self._resume()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def add(self, shard: Progress) -> None:
        """Take note of a shard that was written."""
        self.progress.add(shard)
        self.save()

    def finish(self, broken: Mapping[str, str]) -> None:
        """Take note of the end, and of the files that could not be read."""
        self.progress.broken = dict(broken)
        self.finished = True
        self.save()

    def clear(self) -> None:
        """Take away what was left half written."""
        for entry in self.path.iterdir():
            if entry.name != _LOCK and _is_temporary(entry.name):
                entry.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the manifest."""
        p = self.progress
        data = {
            "schema": SCHEMA,
            "shard_schema": shards.SCHEMA,
            "state": "finished" if self.finished else "unfinished",
            "run": self.run,
            "counts": {
                "rows": p.rows,
                "errors": dict(sorted(p.errors.items())),
                "records": p.records,
                "tokens": p.tokens,
                "shards": p.shards,
            },
            "broken": p.broken,
            **self._settings,
            **self._about,
        }
        write_whole(self.path / MANIFEST, json.dumps(data, indent=2) + "\n")

    def _check_ours(self) -> None:
        if not self.path.exists():
            parent = self.path.absolute().parent if isinstance(self.path, Path) else None
            if parent is not None and not parent.is_dir():
                raise InputError(f"cannot write {self.path}: there is no folder {parent}.")
            return
        if not self.path.is_dir():
            raise InputError(f"cannot write {self.path}: it is not a folder.")
        manifest = self.path / MANIFEST
        if manifest.exists():
            return
        inside = [entry.name for entry in self.path.iterdir() if not _is_temporary(entry.name)]
        if inside:
            shown = ", ".join(sorted(inside)[:3])
            raise InputError(
                f"{self.path} holds something else ({shown}). Give a folder that is empty or does "
                "not exist, or that of the run to go on with."
            )

    def _resume(self) -> None:
        self.clear()
        if not (self.path / MANIFEST).exists():
            self.save()
            return
        before = run_in(self.path)
        self.run = before.manifest["run"]
        differences = list(_differences(before.manifest, {**self._settings, **self._about}))
        if differences:
            raise InputError(
                f"{self.path} holds a run with other settings: {'; '.join(differences)}. Give "
                "another folder, or what was given then."
            )
        self.progress, self.finished = before.progress, before.finished
        self.missing = before.missing


def note(run: str, progress: Progress, after: Place) -> dict[str, Any]:
    """What a shard is to say: of which run it is, what it holds, and which row comes after it."""
    return {"run": run, "progress": vars(progress), "next": asdict(after)}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A folder, made if need be, that other runs are kept out of."""
    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder} is being written to by another run ({_holder(folder)}). Wait for its end, "
            "or give another folder."
        ) from error
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}.") from error
    try:
        with contextlib.suppress(OSError):
            (folder / _LOCK).write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"process {int((folder / _LOCK).read_text())}"
    return "of another process"


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def _is_temporary(name: str) -> bool:
    return name == _LOCK or name.startswith((f".{MANIFEST}.", ".shard-"))


def _read(manifest: Location) -> dict[str, Any]:
    try:
        data = json.loads(manifest.read_text("utf-8"))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {manifest}: {error}.") from error
    found = isinstance(data, dict) and (data.get("schema"), data.get("shard_schema"))
    if found != (SCHEMA, shards.SCHEMA):
        raise InputError(
            f"{manifest} is not of {SCHEMA} with {shards.SCHEMA}, which this version of normxlogit "
            "writes. Give another folder."
        )
    return dict(data)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was, in words."""
    found = []
    for name, value in now["options"].items():
        before = then["options"].get(name)
        if before != value:
            found.append(f"{name} was {_said(before)} and is {_said(value)}")
    for name in ("architecture", "dtype"):
        before, after = (made["model"][name] for made in (then, now))
        if before != after:
            found.append(f"the model's {name} was {before} and is {after}")
    if then["model"]["sha256"] != now["model"]["sha256"]:
        names = [f"{m['name']} ({m['sha256'][:12]})" for m in (then["model"], now["model"])]
        found.append(f"the model was {names[0]} and is {names[1]}")
    before, after = (made["versions"]["normxlogit"] for made in (then, now))
    if before != after:
        found.append(f"normxlogit was {before} and is {after}")
    if then["data"] != now["data"]:
        found += _data_differences(then["data"], now["data"])
    return found


def _data_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if "files" not in then or "files" not in now:
        return [f"the data was {_said(then)} and is {_said(now)}"]
    before = {file["name"]: file for file in then["files"]}
    after = {file["name"]: file for file in now["files"]}
    found = [f"the file {name} is gone" for name in before if name not in after]
    found += [f"the file {name} is new" for name in after if name not in before]
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            was, is_now = (
                f"{file['bytes']} bytes ({str(file['sha256'])[:12]})"
                for file in (before[name], after[name])
            )
            found.append(f"the file {name} was of {was} and is of {is_now}")
    return found


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
