"""A run over a corpus, from where it was to the end."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normxlogit.corpus.explain import Explained, check_question, explain_rows
from normxlogit.corpus.job import Job, check_explained, fill, missing_rows
from normxlogit.data.location import address, location, shown
from normxlogit.data.progress import Meter
from normxlogit.data.source import Source, open_source, rows_of
from normxlogit.errors import InputError, OptionError
from normxlogit.extras import require
from normxlogit.tasks.explainer import ModelExplainer

if TYPE_CHECKING:
    from normxlogit.corpus.folder import Folder
    from normxlogit.corpus.ray import Workers


@dataclass(frozen=True)
class Summary:
    """What a run has written.

    Attributes:
        folder: where; a URI of a store is text, with all its options.
        rows: how many rows of the source were read.
        errors: how many of them could not be explained, by kind.
        broken: files that could not be read, or not to their end, and why.
        ignored: what is in the source's folder and is none of the files that are read.
        records: how many rows the shards have: one for each target of each row.
        shards: their paths or URIs, in order.
        was_finished: whether an earlier run had done it all.
    """

    folder: Path | str
    rows: int
    errors: Mapping[str, int]
    broken: Mapping[str, str]
    ignored: tuple[str, ...]
    records: int
    shards: tuple[Path | str, ...]
    was_finished: bool

    def __str__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.errors.items())
        parts = [_counted(self.rows, "row"), _counted(sum(self.errors.values()), "error")]
        if kinds:
            parts[-1] += f" ({kinds})"
        if self.broken:
            parts.append(f"files that could not be read: {', '.join(self.broken)}")
        if self.ignored:
            parts.append(f"not looked at: {', '.join(self.ignored)}")
        return f"{', '.join(parts)}; in {shown(self.folder)}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def workers_of(engine: str, count: int | None, gpus: float) -> "Workers | None":
    """The workers of an engine, "local" or "ray"; None if it is this process.

    Raises:
        OptionError: there is no such engine, or it has no workers to be counted.
        MissingExtraError: it is not installed.
    """
    if engine == "ray":
        require("ray.data", "ray")
        from normxlogit.corpus.ray import Workers

        return Workers(count, gpus)
    if engine != "local":
        raise OptionError(f"engine must be 'local' or 'ray', got {engine!r}.")
    if count is not None or gpus:
        raise OptionError("workers and gpus_per_worker are for engine='ray'.")
    return None


def each(
    explainer: ModelExplainer,
    source: str | Path | Iterable[Any],
    job: Job,
    *,
    subset: str | None,
    split: str | None,
) -> Iterator[Explained]:
    """Explain the rows of a source, in order and in bounded memory; no file is written.

    Raises as `Explainer.corpus`.
    """
    if job.hashed or job.float16:
        raise OptionError("hash and float16 are about files. Name an output folder.")
    check_question(explainer, job.question, pairs=job.columns.pair is not None)
    rows, _ = rows_of(source, job.columns, subset=subset, split=split, strict=job.strict)

    def results() -> Iterator[Explained]:
        for window in explain_rows(
            explainer.task_explainer, explainer.model.device, rows, job.question
        ):
            for explained in window:
                if job.strict:
                    check_explained(explained)
                yield explained

    return results()


def write(
    explainer: ModelExplainer,
    source: str | Path,
    output: str | Path,
    job: Job,
    *,
    subset: str | None,
    split: str | None,
    progress: bool,
    cluster: "Workers | None" = None,
) -> Summary:
    """Explain the rows of a source into shards, by the workers of a `cluster` if there is one.

    Raises as `Explainer.corpus`.
    """
    require("pyarrow")
    if cluster is not None:
        cluster.check(explainer)
    from normxlogit.corpus import shards
    from normxlogit.corpus.folder import Folder
    from normxlogit.extras import versions
    from normxlogit.tasks.fingerprint import model_of

    check_question(explainer, job.question, pairs=job.columns.pair is not None)
    place = location(output)
    found = open_source(source, subset=subset, split=split)
    found.check(job.columns, strict=job.strict)
    settings = {
        "options": job.options(),
        "model": model_of(explainer),
        "data": found.fingerprint,
    }
    about = {"ignored": found.ignored, "versions": versions()}
    with Folder(place, settings, about) as folder:
        was_finished, at = folder.finished, folder.progress
        if job.strict and (problem := at.first_error or next(iter(at.broken.values()), None)):
            raise InputError(problem)
        if not was_finished:
            found.broken.update(at.broken)
            with Meter(found.count(), at.rows, at.tokens, shown=progress) as meter:
                if cluster is None:
                    _write(explainer, found, folder, job, meter)
                else:
                    cluster.write(explainer, found, folder, job, meter)
        return Summary(
            folder=address(place),
            rows=at.rows,
            errors=dict(sorted(at.errors.items())),
            broken=dict(at.broken),
            ignored=tuple(found.ignored),
            records=at.records,
            shards=tuple(map(address, shards.paths_in(place))),
            was_finished=was_finished,
        )


def _write(
    explainer: ModelExplainer,
    source: Source,
    folder: "Folder",
    job: Job,
    meter: Meter,
) -> None:
    """Write the shards that are missing; at least one, so that readers find the columns."""
    from normxlogit.corpus import shards
    from normxlogit.corpus.progress import Progress, note

    at = folder.progress
    for gap in folder.missing:
        rows = missing_rows(source, job, gap, shards.ROWS)
        windows = explain_rows(
            explainer.task_explainer, explainer.model.device, rows, job.question, shards.ROWS
        )
        number, after = gap.first, gap.start
        with contextlib.closing(windows):
            window = next(windows, None)
            while window is not None or not at.shards:
                path, done = folder.path / shards.name_of(number), Progress(shards=1)
                with shards.Writer(path, hashed=job.hashed, float16=job.float16) as shard:
                    while window is not None:
                        fill(shard, window, job, done)
                        after = source.after(window[-1].row)
                        meter.show(at.rows + done.rows, at.tokens + done.tokens)
                        window = next(windows, None) if done.rows < shards.ROWS else None
                    done.broken = dict(source.broken)
                    shard.close(note(folder.run, done, after))
                folder.add(done)
                number += 1
                window = next(windows, None)
    folder.finish(source.broken)
