"""The folder that a corpus run writes to, and its manifest."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normxlogit.corpus import shards
from normxlogit.corpus.progress import (
    MANIFEST,
    SCHEMA,
    MissingShards,
    Progress,
    read_manifest,
    read_run,
)
from normxlogit.data.files import write_whole
from normxlogit.data.location import Location
from normxlogit.data.plain import Plain
from normxlogit.data.run_folder import LOCK, RunFolder


class Folder(RunFolder):
    """The folder of one run; a context manager that keeps other runs out.

    Attributes:
        path: the folder.
        run: the id of its run.
        progress: the counts of the shards that are there.
        missing: the shards that were missing when the folder was entered.
        finished: whether the run has come to its end.
    """

    RECORD = MANIFEST
    CONTENT = "a run"
    MAKES_PARENTS = False

    def __init__(
        self, path: Location, settings: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        """Take a folder.

        Args:
            path: the folder; it need not exist, or may hold a run with the same settings.
            settings: what rows and scores depend on, as plain data for JSON.
            about: further entries of the manifest.
        """
        super().__init__(path, {**settings, **about})
        # Stores have no locks, so two runs with the same settings may well write there at once.
        # With an id that follows from the settings they write the same shards, and do no harm.
        self.run = uuid.uuid4().hex if isinstance(path, Path) else _digest([settings, about])
        self.progress = Progress()
        self.missing = [MissingShards()]
        self.finished = False

    def add(self, shard: Progress) -> None:
        """Count a shard that was written."""
        self.has_begun = True
        self.progress.add(shard)
        self.save()

    def name_runtime(self, record: Mapping[str, Any]) -> None:
        """Note the version of the runtime that writes, and how exact it is."""
        self.settings["runtime"] = dict(record)
        self.save()

    def finish(self, broken: Mapping[str, str]) -> None:
        """Mark the run as finished, with the files that could not be read."""
        self.progress.broken = dict(broken)
        self.finished = True
        self.save()

    def clear(self) -> None:
        """Delete what was left half written."""
        for entry in self.path.iterdir():
            if entry.name != LOCK and self._is_temporary(entry.name):
                entry.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the manifest."""
        manifest = {
            "schema": SCHEMA,
            "shard_schema": shards.SCHEMA,
            "state": "finished" if self.finished else "unfinished",
            "run": self.run,
            "counts": self.progress.counts(),
            "broken": self.progress.broken,
            **self.settings,
        }
        write_whole(self.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")

    def _start(self) -> None:
        self.clear()
        self.save()

    def _undo(self) -> None:
        self.clear()
        super()._undo()

    def _resume(self, record: Mapping[str, Any]) -> None:
        self.clear()
        before = read_run(self.path, dict(record))
        self.run = before.manifest["run"]
        self.progress, self.finished = before.progress, before.finished
        self.missing = before.missing

    def _read_record(self) -> dict[str, Any]:
        return read_manifest(self.path)

    def _differences(self, record: Mapping[str, Any]) -> list[str]:
        manifest = Plain(record, f"{self.path / MANIFEST} is not whole", "Give another folder.")
        for name in ("architecture", "dtype", "sha256"):
            manifest.get("model").get(name).text()
        manifest.get("versions").get("normxlogit").text()
        if "runtime" in record:
            for name in ("name", "precision"):
                manifest.get("runtime").get(name).text()
        data = manifest.get("data")
        if "files" in data.entries(Plain.anything):
            for file in data.get("files").items():
                file.get("name").text()
                file.get("bytes").anything()
                file.get("sha256").anything()
        return _differences(record, self.settings)

    @classmethod
    def _is_temporary(cls, name: str) -> bool:
        return name == LOCK or name.startswith((f".{MANIFEST}.", ".shard-"))


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which settings changed, for those that rows and scores depend on."""
    changes = []
    for name, value in now["options"].items():
        old = before["options"].get(name)
        if old != value:
            changes.append(f"{name} was {_json(old)} and is {_json(value)}")
    for name in ("architecture", "dtype"):
        old, new = (manifest["model"][name] for manifest in (before, now))
        if old != new:
            changes.append(f"the model's {name} was {old} and is {new}")
    old, new = map(_runtime, (before, now))
    if old != new:
        changes.append(f"the runtime was {old} and is {new}")
    if before["model"]["sha256"] != now["model"]["sha256"]:
        models = (before["model"], now["model"])
        old, new = (f"{model['name']} ({model['sha256'][:12]})" for model in models)
        changes.append(f"the model was {old} and is {new}")
    old, new = (manifest["versions"]["normxlogit"] for manifest in (before, now))
    if old != new:
        changes.append(f"normxlogit was {old} and is {new}")
    if before["data"] != now["data"]:
        changes += _data_differences(before["data"], now["data"])
    return changes


def _runtime(manifest: Mapping[str, Any]) -> str:
    """Say what ran the model; of torch the model's dtype says how."""
    runtime = manifest.get("runtime", {"name": "torch"})  # the only one of earlier versions
    name: str = runtime["name"]
    return name if name == "torch" else f"{name} in {runtime['precision']}"


def _data_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if "files" not in before or "files" not in now:
        return [f"the data was {_json(before)} and is {_json(now)}"]
    old, new = ({file["name"]: file for file in data["files"]} for data in (before, now))
    changes = [f"the file {name} is gone" for name in old if name not in new]
    changes += [f"the file {name} is new" for name in new if name not in old]
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            was, is_now = (
                f"{file['bytes']} bytes ({str(file['sha256'])[:12]})"
                for file in (old[name], new[name])
            )
            changes.append(f"the file {name} was of {was} and is of {is_now}")
    return changes


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
