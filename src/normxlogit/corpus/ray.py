"""The shards of a run, written by the workers of a Ray cluster.

One task of Ray Data, on the node of the caller, reads the rows that are missing and gives them on a
shard at a time; a pool of actors explains each of these and writes it. What is spilled, held back
or done again when a worker dies is Ray's own affair: the same rows become a shard of the same name.
"""

import contextlib
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any

import torch

from normxlogit import errors
from normxlogit.corpus import shards
from normxlogit.corpus.explain import explain_rows
from normxlogit.corpus.folder import Folder, Gap, Progress, note
from normxlogit.corpus.job import Job, fill, missing_rows
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
class Workers:
    """Who does a run.

    Attributes:
        count: how many actors there are; None for as many as the cluster has room for.
        gpus: the share of a GPU that each has; none on 0.
    """

    count: int | None = None
    gpus: float = 0

    def check(self, explainer: ModelExplainer) -> None:
        """Find out whether workers can have this model.

        Raises:
            MissingExtraError: Ray is not installed.
            OptionError: there cannot be as many workers, or such shares of a GPU.
            ModelError: the model cannot be sent.
        """
        require("ray.data", "ray")
        if not (self.count is None or (type(self.count) is int and self.count > 0)):
            raise OptionError(f"workers must be a number from 1, got {self.count!r}.")
        if type(self.gpus) not in (int, float) or not 0 <= self.gpus < float("inf"):
            raise OptionError(f"gpus_per_worker must be a number from 0, got {self.gpus!r}.")
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
            OptionError: a cluster that was made for this run has no room for the workers.
            NormXLogitError: what a worker met, or Ray could not go on.
        """
        ray = require("ray")
        problem = None
        with _connected(ray) as grows:
            count = self._counted(ray, grows=grows)
            told = self._told(ray, count, explainer, source, folder, job)
            with contextlib.closing(told):
                for result in told:
                    if "progress" in result:
                        folder.add(Progress.from_dict(result["progress"]))
                        meter.show(folder.progress.rows, folder.progress.tokens)
                    elif "broken" in result:
                        source.broken, problem = result["broken"], result["problem"]
                    else:
                        raise getattr(errors, result["kind"])(result["problem"])
        if problem is not None:
            raise InputError(problem)
        folder.clear()
        folder.finish(source.broken)

    def _counted(self, ray: Any, *, grows: bool) -> int:
        """How many workers there are to be, on a cluster that may have more room later."""
        there = ray.cluster_resources()
        room = there.get("CPU", 0)
        if self.gpus:
            room = min(room, there.get("GPU", 0) / self.gpus)
        count = self.count or int(room)
        if count == 0 or (count > room and not grows):
            raise OptionError(
                f"{self.count or 'workers'} of a processor and {self.gpus:g} GPUs each do not fit "
                f"into {there.get('CPU', 0):g} processors and {there.get('GPU', 0):g} GPUs."
            )
        return count

    def _told(
        self,
        ray: Any,
        count: int,
        explainer: ModelExplainer,
        source: Source,
        folder: Folder,
        job: Job,
    ) -> Generator[dict[str, Any], None, None]:
        """What `_read` and the actors tell, as it comes; the pipeline ends with the generator."""
        data = require("ray.data", "ray")
        try:
            model = ray.put((explainer.model, explainer.tokenizer, explainer.name))
        except Exception as error:  # of any kind: models may hold anything
            raise ModelError(
                f"{explainer.name} cannot be sent to workers: {first_line(error)}"
            ) from error
        for part in source.parts:
            if isinstance(part, File):
                part.path = part.path.absolute()
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        context = data.DataContext.get_current().copy()
        context.target_max_block_size = 1  # so that every shard is a block, and thus a task
        context.enable_progress_bars = False
        with data.DataContext.current(context):
            pieces = data.from_items([0]).map_batches(
                _read,
                batch_size=None,
                fn_args=(source, job, folder.missing, shards.ROWS),
                num_cpus=0,
                label_selector=here,
            )
            results = pieces.map(
                _Actor,
                fn_constructor_args=(
                    model,
                    folder.path.absolute(),
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
def _connected(ray: Any) -> Iterator[bool]:
    """A connection to the cluster that the caller has or RAY_ADDRESS names, or else to one of this
    machine that ends with the context; gives whether it may have more room when asked.
    """
    if ray.is_initialized():
        yield True
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="error")
    except Exception as error:  # of any kind, from the network to the versions of Ray
        raise NormXLogitError(f"cannot connect to Ray: {first_line(error)}") from error
    try:
        yield address is not None
    finally:
        ray.shutdown()


def _read(_: Any, source: Source, job: Job, missing: list[Gap], size: int) -> Iterator[Any]:
    """Tables with a piece of JSON for each shard that is missing, and one that tells of the end."""
    pa = require("pyarrow")

    def table(piece: dict[str, Any]) -> Any:
        return pa.table({"piece": pa.array([json.dumps(piece)], pa.large_string())})

    problem = None
    try:
        for gap in missing:
            rows, number, after = missing_rows(source, job, gap, size), gap.first, gap.start
            while (found := list(islice(rows, size))) or number == 0:
                after = source.after(found[-1]) if found else after
                yield table(
                    {
                        "shard": number,
                        "rows": [_packed(row) for row in found],
                        "after": asdict(after),
                        "broken": source.broken,
                    }
                )
                number += 1
    except InputError as error:
        problem = str(error)
    yield table({"broken": source.broken, "problem": problem})


class _Actor:
    """Explains the rows of a shard and writes it."""

    def __init__(self, model: Any, folder: Location, run: str, job: Job, on_gpu: bool) -> None:
        """Take the model out of Ray's store."""
        own, tokenizer, name = require("ray").get(model)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._reader = task_explainer_of(own.to(self._device), tokenizer, name)
        self._folder, self._run, self._job = folder, run, job

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """What became of a piece, as JSON."""
        piece = json.loads(row["piece"])
        if "shard" in piece:
            try:
                piece = {"progress": vars(self._write(piece))}
            except NormXLogitError as error:
                piece = {"kind": type(error).__name__, "problem": str(error)}
        return {"result": json.dumps(piece)}

    def _write(self, piece: dict[str, Any]) -> Progress:
        job, done = self._job, Progress(shards=1, broken=piece["broken"])
        path = self._folder / shards.name_of(piece["shard"])
        rows = (_unpacked(values) for values in piece["rows"])
        windows = explain_rows(self._reader, self._device, rows, job.question)
        with (
            contextlib.closing(windows),
            shards.Writer(path, hashed=job.hashed, float16=job.float16) as shard,
        ):
            for window in windows:
                fill(shard, window, job, done)
            shard.close(note(self._run, done, Place(**piece["after"])))
        return done


def _packed(row: Row) -> list[Any]:
    """A row as plain data for JSON."""
    *values, bad = (getattr(row, field.name) for field in fields(Row))
    return [*values, None if bad is None else [bad.kind.value, bad.why]]


def _unpacked(values: list[Any]) -> Row:
    """The reverse of `_packed`."""
    known = {field.name: value for field, value in zip(fields(Row), values, strict=True)}
    if known["bad"] is not None:
        kind, why = known["bad"]
        known["bad"] = Bad(Kind(kind), why)
    return Row(**known)


def _cause(error: Exception) -> str:
    """What a worker raised, without the traceback; else what Ray says of itself."""
    cause = getattr(error, "cause", None)
    return first_line(error) if cause is None else f"{type(cause).__name__}: {first_line(cause)}"
