"""How far a run has come, as its shards tell.

Each shard holds a note of the run that it belongs to, of what is in it, and of the row that comes
after it. So a run can be resumed from its shards alone: manifest.json has the sums for readers, and
may lag behind by the shard that was being written when the run was stopped.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from normxlogit.corpus import shards
from normxlogit.corpus.explained import Explained
from normxlogit.data.location import Location
from normxlogit.data.plain import Plain
from normxlogit.data.rows import Place
from normxlogit.data.run_folder import read_json
from normxlogit.errors import InputError
from normxlogit.methods.scores import is_unlike
from normxlogit.model.targets import Problem

SCHEMA = "normxlogit/corpus/1"
MANIFEST = "manifest.json"


@dataclass
class Progress:
    """The counts of some shards of a run.

    Attributes:
        shards: the number of shards.
        rows: the rows of the source in them.
        records: the rows of the shards themselves: one for each target of each row.
        tokens: the tokens of the rows that were explained.
        unlike: the rows whose texts are unlike those that their attribution head was fitted on.
        errors: the rows that could not be explained, by kind.
        first_error: the first of these.
        broken: the files that could not be read up to there, and why.
    """

    shards: int = 0
    rows: int = 0
    records: int = 0
    tokens: int = 0
    unlike: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_error: str | None = None
    broken: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Progress":
        """Restore progress from its `vars`, as JSON gives them back."""
        return cls(**{**data, "errors": Counter(data["errors"])})

    @classmethod
    def read(cls, item: Plain) -> "Progress":
        """Read progress from its `vars` in a file.

        Raises:
            InputError: they are not whole.
        """
        counts = {name: item.get(name).count() for name in _COUNTS}
        return cls(
            **counts,
            unlike=item.get("unlike").count() if "unlike" in item.value else 0,
            errors=Counter(item.get("errors").entries(Plain.count)),
            first_error=item.get("first_error").optional(Plain.text),
            broken=item.get("broken").entries(Plain.text),
        )

    def count(self, explained: Explained) -> None:
        """Count a row."""
        self.rows += 1
        if explained.attribution is not None:
            self.tokens += len(explained.attribution)
            self.unlike += is_unlike(explained.attribution.notes) or False
        if explained.bad is not None:
            self.errors[explained.bad.kind.value] += 1
            self.first_error = self.first_error or explained.complaint

    def counts(self) -> dict[str, Any]:
        """Return the counts of a manifest."""
        return {
            "rows": self.rows,
            "errors": dict(sorted(self.errors.items())),
            "records": self.records,
            "tokens": self.tokens,
            "unlike": self.unlike,
            "shards": self.shards,
        }

    def add(self, other: "Progress") -> None:
        """Add later shards."""
        self.shards += other.shards
        self.rows += other.rows
        self.records += other.records
        self.tokens += other.tokens
        self.unlike += other.unlike
        self.errors += other.errors
        self.first_error = self.first_error or other.first_error
        self.broken |= other.broken


@dataclass(frozen=True)
class MissingShards:
    """Consecutive shards that are missing.

    Attributes:
        first: the number of the first of them.
        start: its first row.
        end: the number of the shard after the last of them; None if they go on to the end of the
            source.
    """

    first: int = 0
    start: Place = field(default_factory=Place)
    end: int | None = None

    def rows(self, size: int) -> int | None:
        """Count the missing rows, if the end is known; a shard holds `size`."""
        return None if self.end is None else (self.end - self.first) * size


@dataclass(frozen=True)
class Run:
    """A run as its folder records it.

    Attributes:
        manifest: the content of manifest.json.
        shards: the paths of its shards, in order.
        progress: their counts.
        missing: the shards that are missing; last those after all others.
        finished: whether the run has come to its end.
    """

    manifest: dict[str, Any]
    shards: list[Location]
    progress: Progress
    missing: list[MissingShards]
    finished: bool


def note(run: str, number: int, progress: Progress, after: Place) -> dict[str, Any]:
    """Return the note of a shard: its run, number and counts, and the row that comes after it."""
    return {"run": run, "shard": number, "progress": vars(progress), "next": asdict(after)}


def read_manifest(folder: Location) -> dict[str, Any]:
    """Read a run's manifest.

    Raises:
        InputError: it cannot be read, or is of another version's schema.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    if (manifest.get("schema"), manifest.get("shard_schema")) != (SCHEMA, shards.SCHEMA):
        raise InputError(
            f"{path} is not of {SCHEMA} with {shards.SCHEMA}, which this version of normxlogit "
            "writes. Give another folder."
        )
    _check_manifest(Plain(manifest, f"{path} is not whole", _REMEDY))
    return manifest


def read_run(folder: Location, manifest: dict[str, Any]) -> Run:
    """Read how far the run in a folder has come.

    Raises:
        InputError: a shard cannot be read, is damaged, has another's name or belongs to another
            run, or the run was finished and has lost shards.
    """
    paths, progress, missing = shards.list_paths(folder), Progress(), [MissingShards()]
    for path in paths:
        note = Plain(shards.read_note(path), f"the note in {path} is not whole", _REMEDY)
        number = shards.shard_number(path)
        if number is None or note.get("run").text() != manifest["run"]:
            raise InputError(f"{path} is not a shard of this run. Take it away.")
        if (recorded := note.get("shard").count()) != number:
            raise InputError(
                f"{path} is {shards.file_name(recorded)} by what it holds. Give it its name back, "
                "or take it away."
            )
        progress.add(Progress.read(note.get("progress")))
        # The last gap was open until now; it ends before this shard, or never was one. Workers of
        # a cluster finish shards in any order, so there may be several gaps.
        gap = missing.pop()
        if gap.first < number:
            missing.append(replace(gap, end=number))
        missing.append(MissingShards(number + 1, _read_place(note.get("next"))))
    finished = manifest["state"] == "finished"
    if finished:
        # Runs of earlier versions did not count texts that are unlike those of a head.
        counts, declared = progress.counts(), {"unlike": 0, **manifest["counts"]}
        if counts["shards"] != declared["shards"]:
            lost = declared["shards"] - counts["shards"]
            raise InputError(
                f"{folder} was finished, and has lost {lost} of its shards. Bring them back, or "
                "give another folder."
            )
        if counts != declared:
            raise InputError(
                f"{folder / MANIFEST} counts {json.dumps(declared)}, and its shards hold "
                f"{json.dumps(counts)}. Bring back the files as they were, or give another folder."
            )
        progress.broken = manifest["broken"]
    return Run(manifest, paths, progress, missing, finished)


_COUNTS = ("shards", "rows", "records", "tokens")
_REMEDY = "Give another folder, or bring the file back as it was written."


def _check_manifest(manifest: Plain) -> None:
    """Check all of a manifest that summing up and resuming read."""
    manifest.get("state").choice(("finished", "unfinished"))
    manifest.get("run").text()
    for name in _COUNTS:
        manifest.get("counts").get(name).count()
    manifest.get("broken").entries(Plain.text)
    options, model = manifest.get("options"), manifest.get("model")
    options.get("method").text()
    options.get("options").entries(Plain.anything)
    for name in ("target", "contrast", "readout", "layer"):
        options.get(name).anything()
    for name in ("name", "task"):
        model.get(name).text()
    model.get("problem").choice([problem.value for problem in Problem])
    model.get("labels").optional(lambda labels: [label.text() for label in labels.items()])


def _read_place(item: Plain) -> Place:
    row, part, place = (item.get(name).count() for name in ("row", "part", "place"))
    return Place(row, part, place)
