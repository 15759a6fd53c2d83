"""The shards of a run, written by the workers of a Ray cluster.

One task of Ray Data, on the caller's node, reads the missing rows and passes them on a shard at a
time; a pool of actors explains each and writes it. Spilling, back-pressure, and repeating what a
dead worker had begun are left to Ray. Repeating is safe, for the same rows always become a shard of
the same name, and a shard appears whole or not at all.
"""

import contextlib
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from normxlogit import errors
from normxlogit.corpus import shards
from normxlogit.corpus.explain import explain_rows
from normxlogit.corpus.folder import Folder
from normxlogit.corpus.job import Job, fill, missing_rows
from normxlogit.corpus.progress import MissingShards, Progress, note
from normxlogit.data.formats import File
from normxlogit.data.location import Location
from normxlogit.data.progress import Meter
from normxlogit.data.rows import Bad, Kind, Place, Row
from normxlogit.data.source import Source
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    first_line,
)
from normxlogit.extras import require
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.registry import task_explainer_of


@dataclass(frozen=True)
class RayWorkers:
    """The workers of a run.

    Attributes:
        count: the number of actors; None for as many as the cluster has room for.
        gpus: the share of a GPU for each; 0 for none.
    """

    count: int | None = None
    gpus: float = 0

    def check(self, explainer: ModelExplainer) -> None:
        """Find out whether workers can have this model.

        Raises:
            MissingExtraError: Ray is not installed.
            ModelError: the model cannot be sent.
        """
        require("ray.data", "ray")
        model = explainer.model
        if model.device.type != "cpu":
            raise ModelError(
                f"workers get the model out of main memory, and it is on {model.device}. Load it "
                'with device="cpu"; workers with a GPU move it there.'
            )
        if type(model).__module__.partition(".")[0] == "transformers_modules":
            raise ModelError(
                f"{type(model).__name__} comes with code of its own, which workers do not have. "
                'Use engine="local".'
            )

    def write(
        self,
        explainer: ModelExplainer,
        source: Source,
        folder: Folder,
        job: Job,
        meter: Meter,
    ) -> None:
        """Write the shards that are missing; at least one, so that readers find the columns.

        Raises:
            OptionError: a cluster that was started for this run has no room for the workers.
            NormXLogitError: the error of a worker, or Ray could not go on.
        """
        ray = require("ray")
        problem = None
        if not ray.is_initialized():
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with connection(ray) as is_shared:
            count = self._worker_count(ray, may_grow=is_shared)
            results = self._results(ray, count, explainer, source, folder, job)
            with contextlib.closing(results):
                for result in results:
                    if "progress" in result:
                        folder.add(Progress.from_dict(result["progress"]))
                        meter.show(folder.progress.rows, folder.progress.tokens)
                    elif "broken" in result:
                        source.broken, problem = result["broken"], result["problem"]
                    else:
                        folder.has_begun = True
                        raise unpack_error(result)
        if problem is not None:
            raise InputError(problem)
        source.check_unchanged(by_content=True)
        folder.clear()  # what workers that died had begun
        folder.finish(source.broken)

    def _worker_count(self, ray: Any, *, may_grow: bool) -> int:
        """Return how many workers to start; one that may grow can have room for more later."""
        resources = ray.cluster_resources()
        room = resources.get("CPU", 0)
        if self.gpus:
            room = min(room, resources.get("GPU", 0) / self.gpus)
        count = self.count or int(room)
        if count == 0 or (count > room and not may_grow):
            raise OptionError(
                f"{self.count or 'workers'} of a processor and {self.gpus:g} GPUs each do not fit "
                f"into {resources.get('CPU', 0):g} processors and {resources.get('GPU', 0):g} GPUs."
            )
        return count

    def _results(
        self,
        ray: Any,
        count: int,
        explainer: ModelExplainer,
        source: Source,
        folder: Folder,
        job: Job,
    ) -> Generator[dict[str, Any], None, None]:
        """Yield what the reader and the workers report; the pipeline ends with the generator."""
        data = require("ray.data", "ray")
        try:
            # Once into Ray's store, from where every worker of a node maps the same memory.
            model = ray.put((explainer.model, explainer.tokenizer, explainer.name))
        except Exception as error:  # of any kind: models may hold anything
            raise ModelError(
                f"{explainer.name} cannot be sent to workers: {first_line(error)}"
            ) from error
        for file in source.files:
            if isinstance(file, File):
                file.path = _absolute(file.path)
        this_node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        context = data.DataContext.get_current().copy()
        # A block that is over its size after one row: so every shard is a block, and thus a task.
        context.target_max_block_size = 1
        context.enable_progress_bars = False
        with data.DataContext.current(context):
            pieces = data.from_items([0]).map_batches(
                read_pieces,
                batch_size=None,
                fn_args=(source, job, folder.missing, shards.ROWS),
                num_cpus=0,  # reading must not take a worker's place
                label_selector=this_node,
            )
            results = pieces.map(
                _ShardWorker,
                fn_constructor_args=(
                    model,
                    _absolute(folder.path),
                    folder.run,
                    job,
                    self.gpus > 0,
                ),
                compute=data.ActorPoolStrategy(size=count),
                num_cpus=1,
                num_gpus=self.gpus,
            )
            try:
                for row in results.iter_rows():
                    yield json.loads(row["result"])
            except ray.exceptions.RayError as error:
                raise NormXLogitError(f"Ray could not go on: {_cause(error)}") from error


@contextlib.contextmanager
def connection(ray: Any) -> Iterator[bool]:
    """Connect to the caller's cluster or the one that RAY_ADDRESS names, else start one on this
    machine that ends with the context.

    Yields:
        Whether the cluster is there for others, too; it may then grow on demand.
    """
    if ray.is_initialized():
        yield True
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    options = {} if address else {"include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="error", **options)
    except Exception as error:  # of any kind, from the network to the versions of Ray
        raise NormXLogitError(f"cannot connect to Ray: {first_line(error)}") from error
    try:
        yield address is not None
    finally:
        ray.shutdown()


def read_pieces(
    _: Any, source: Source, job: Job, missing: list[MissingShards], size: int
) -> Iterator[Any]:
    """Read the rows of missing shards, of `size` rows each.

    Yields:
        A table with one piece of JSON for each shard, and one that reports the end. JSON, because
        the values of a row are of several types, which a column of Arrow does not take.
    """
    pa = require("pyarrow")

    def table(piece: dict[str, Any]) -> Any:
        return pa.table({"piece": pa.array([json.dumps(piece)], pa.large_string())})

    problem = None
    try:
        for gap in missing:
            rows, number, after = missing_rows(source, job, gap, size), gap.first, gap.start
            # A source without rows gets shard 0 all the same, so that readers find the columns.
            while (shard := list(islice(rows, size))) or number == 0:
                source.check_unchanged()
                after = source.place_after(shard[-1]) if shard else after
                yield table(
                    {
                        "shard": number,
                        "rows": [_pack_row(row) for row in shard],
                        "after": asdict(after),
                        "broken": source.broken,
                    }
                )
                number += 1
    except InputError as error:
        # Reported rather than raised, so that the shards before it are still written.
        problem = str(error)
    yield table({"broken": source.broken, "problem": problem})


class _ShardWorker:
    """An actor that explains the rows of a shard and writes it."""

    def __init__(self, model: Any, folder: Location, run: str, job: Job, on_gpu: bool) -> None:
        """Take the model out of Ray's store."""
        module, tokenizer, name = require("ray").get(model)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._reader = task_explainer_of(module.to(self._device), tokenizer, name)
        self._folder, self._run, self._job = folder, run, job

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Return the progress that a piece made, or its error, as JSON."""
        piece = json.loads(row["piece"])
        if "shard" in piece:
            try:
                piece = {"progress": vars(self._write(piece))}
            except NormXLogitError as error:
                piece = pack_error(error)
        return {"result": json.dumps(piece)}

    def _write(self, piece: dict[str, Any]) -> Progress:
        job, progress = self._job, Progress(shards=1, broken=piece["broken"])
        path = self._folder / shards.file_name(piece["shard"])
        rows = (_unpack_row(values) for values in piece["rows"])
        windows = explain_rows(self._reader, self._device, rows, job.question)
        with (
            contextlib.closing(windows),
            shards.Writer(path, hashed=job.hashed, float16=job.float16) as shard,
        ):
            for window in windows:
                fill(shard, window, job, progress)
            shard.close(note(self._run, piece["shard"], progress, Place(**piece["after"])))
        return progress


def pack_error(error: NormXLogitError) -> dict[str, str]:
    """Return an error as plain data for JSON, by its nearest class in `normxlogit.errors`."""
    public = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    return {"kind": public.__name__, "problem": str(error)}


def unpack_error(packed: dict[str, str]) -> NormXLogitError:
    """Restore an error from `pack_error`."""
    error: NormXLogitError = getattr(errors, packed["kind"])(packed["problem"])
    return error


def _pack_row(row: Row) -> list[Any]:
    """Return a row as plain data for JSON."""
    *values, bad = (getattr(row, field.name) for field in fields(Row))
    return [*values, None if bad is None else [bad.kind.value, bad.why]]


def _unpack_row(packed: list[Any]) -> Row:
    """Restore a row from `_pack_row`."""
    values = {field.name: value for field, value in zip(fields(Row), packed, strict=True)}
    if values["bad"] is not None:
        kind, why = values["bad"]
        values["bad"] = Bad(Kind(kind), why)
    return Row(**values)


def _absolute(place: Location) -> Location:
    """Return a place under a name that holds in processes with another working directory."""
    return place.absolute() if isinstance(place, Path) else place


def _cause(error: Exception) -> str:
    """Return the first line of what a worker raised, else of what Ray says itself."""
    cause = getattr(error, "cause", None)
    return first_line(error) if cause is None else f"{type(cause).__name__}: {first_line(cause)}"
