"""A run over a corpus, from where it was to the end."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normxlogit.corpus.explain import check_question, explain_rows
from normxlogit.corpus.explained import Explained
from normxlogit.corpus.job import Job, check_explained, fill, missing_rows
from normxlogit.corpus.options import check_engine
from normxlogit.corpus.runtimes import Runner, Runtime, Torch
from normxlogit.data.location import address, locate, redacted
from normxlogit.data.progress import Meter
from normxlogit.data.source import Source, open_source, read_rows
from normxlogit.errors import InputError, OptionError
from normxlogit.extras import require
from normxlogit.tasks.explainer import ModelExplainer

if TYPE_CHECKING:
    from normxlogit.corpus.folder import Folder
    from normxlogit.corpus.ray import RayWorkers


@dataclass(frozen=True)
class Summary:
    """The files and counts of a run.

    Attributes:
        folder: the folder; for a store its URI as text, with all options.
        rows: how many rows of the source were read.
        errors: how many of them could not be explained, by kind.
        broken: files that could not be read, or not to their end, and why.
        ignored: files in the source's folder that were skipped.
        unlike: how many texts are unlike those that the attribution head was fitted on.
        records: the rows of the shards: one for each target of each row.
        shards: the paths or URIs of the shards, in order.
        was_finished: whether an earlier run had done it all.
    """

    folder: Path | str
    rows: int
    errors: Mapping[str, int]
    broken: Mapping[str, str]
    ignored: tuple[str, ...]
    unlike: int
    records: int
    shards: tuple[Path | str, ...]
    was_finished: bool

    def __str__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.errors.items())
        parts = [_counted(self.rows, "row"), _counted(sum(self.errors.values()), "error")]
        if kinds:
            parts[-1] += f" ({kinds})"
        if self.unlike:
            verb = "is" if self.unlike == 1 else "are"
            parts.append(
                f"{_counted(self.unlike, 'text')} {verb} unlike those that the attribution head "
                "was fitted on"
            )
        if self.broken:
            parts.append(f"files that could not be read: {', '.join(self.broken)}")
        if self.ignored:
            parts.append(f"not looked at: {', '.join(self.ignored)}")
        return f"{', '.join(parts)}; in {redacted(self.folder)}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def find_workers(engine: str, count: int | None, gpus: float) -> "RayWorkers | None":
    """Return the workers of an engine, "local" or "ray"; None if this process does the work.

    Raises:
        OptionError: there is no such engine, or it has no workers to be counted.
        MissingExtraError: Ray is not installed.
    """
    check_engine(engine, count, gpus)
    if engine == "local":
        return None
    require("ray.data", "ray")
    from normxlogit.corpus.ray import RayWorkers

    return RayWorkers(None if count is None else int(count), float(gpus))


def explain_each(
    explainer: ModelExplainer,
    source: str | Path | Iterable[Any],
    job: Job,
    *,
    subset: str | None,
    split: str | None,
    runtime: Runtime | None = None,
) -> Iterator[Explained]:
    """Explain the rows of a source, in order and in bounded memory; no file is written.

    Raises as `Explainer.corpus`.
    """
    if job.hashed or job.float16:
        raise OptionError("hash and float16 are about files. Name an output folder.")
    runtime = runtime or Torch(explainer)
    runtime.check(job.question)
    check_question(explainer, job.question, pairs=job.columns.pair is not None)
    rows, _ = read_rows(source, job.columns, subset=subset, split=split, strict=job.strict)
    runner = runtime.open(job.question)

    # A generator of its own, so that errors in the arguments are raised by the call, and not when
    # the first row is asked for.
    def results() -> Iterator[Explained]:
        for window in explain_rows(runner.texts, runner.device, rows, job.question):
            for explained in window:
                if job.strict:
                    check_explained(explained)
                yield explained

    return results()


def write_shards(
    explainer: ModelExplainer,
    source: str | Path,
    output: str | Path,
    job: Job,
    *,
    subset: str | None,
    split: str | None,
    progress: bool,
    workers: "RayWorkers | None" = None,
    runtime: Runtime | None = None,
) -> Summary:
    """Explain the rows of a source into shards, in this process by a runtime, or by `workers`.

    Raises as `Explainer.corpus`.
    """
    require("pyarrow")
    if workers is not None:
        workers.check(explainer)
    from normxlogit.corpus import shards
    from normxlogit.corpus.folder import Folder
    from normxlogit.extras import versions
    from normxlogit.tasks.fingerprint import model_fingerprint

    runtime = runtime or Torch(explainer)
    runtime.check(job.question)
    check_question(explainer, job.question, pairs=job.columns.pair is not None)
    place = locate(output)
    opened = open_source(source, subset=subset, split=split)
    opened.check(job.columns, strict=job.strict)
    settings = {
        "options": job.options(),
        "model": model_fingerprint(explainer),
        "runtime": runtime.settings,
        "data": opened.fingerprint,
    }
    about = {"ignored": opened.ignored, "versions": versions()}
    with Folder(place, settings, about) as folder:
        was_finished, done = folder.finished, folder.progress
        if job.strict and (problem := done.first_error or next(iter(done.broken.values()), None)):
            raise InputError(problem)
        if not was_finished:
            opened.broken.update(done.broken)
            with Meter(opened.count(), done.rows, done.tokens, shown=progress) as meter:
                if workers is None:
                    _write_here(runtime.open(job.question), opened, folder, job, meter)
                else:
                    workers.write(explainer, opened, folder, job, meter)
        return Summary(
            folder=address(place),
            rows=done.rows,
            errors=dict(sorted(done.errors.items())),
            broken=dict(done.broken),
            ignored=tuple(opened.ignored),
            unlike=done.unlike,
            records=done.records,
            shards=tuple(map(address, shards.list_paths(place))),
            was_finished=was_finished,
        )


def _write_here(
    runner: Runner,
    source: Source,
    folder: "Folder",
    job: Job,
    meter: Meter,
) -> None:
    """Write the missing shards in this process; at least one, so that readers find the columns."""
    from normxlogit.corpus import shards
    from normxlogit.corpus.progress import Progress, note

    folder.name_runtime(runner.record)
    done = folder.progress
    for missing in folder.missing:
        rows = missing_rows(source, job, missing, shards.ROWS)
        windows = explain_rows(runner.texts, runner.device, rows, job.question, shards.ROWS)
        number, after = missing.first, missing.start
        with contextlib.closing(windows):
            window = next(windows, None)
            while window is not None or not done.shards:
                folder.has_begun = True
                path, progress = folder.path / shards.file_name(number), Progress(shards=1)
                with shards.Writer(path, hashed=job.hashed, float16=job.float16) as shard:
                    while window is not None:
                        fill(shard, window, job, progress)
                        after = source.place_after(window[-1].row)
                        meter.show(done.rows + progress.rows, done.tokens + progress.tokens)
                        # No window crosses the end of a shard, so none is ever split. A full shard
                        # is published before the next window is waited for, as that may fail.
                        window = next(windows, None) if progress.rows < shards.ROWS else None
                    progress.broken = dict(source.broken)
                    # So no shard is published whose rows may be of another file than the manifest
                    # says; later the file might be as it was again.
                    source.check_unchanged()
                    shard.close(note(folder.run, number, progress, after))
                folder.add(progress)
                number += 1
                window = next(windows, None)
    source.check_unchanged(by_content=True)
    folder.finish(source.broken)
