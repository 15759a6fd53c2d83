"""The same shards by the workers of a Ray cluster, whatever happens to them."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from normxlogit import Explainer, InputError, ModelError, OptionError, cli
from normxlogit.corpus import shards
from normxlogit.corpus.folder import Folder
from normxlogit.corpus.progress import Progress
from tests.helpers.corpora import (
    TEXTS,
    StopError,
    assert_row_explains,
    assert_same_output,
    corpus_command,
    error_kinds,
    read_manifest,
    read_shards,
    write_lines,
    write_mixed_folder,
)
from tests.helpers.processes import descendants

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray warns of itself
]

RAY: dict[str, Any] = {"engine": "ray", "workers": 2}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two workers on this machine, which know this package as this process does."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few rows."""
    monkeypatch.setattr(shards, "ROWS", 10)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_mixed_folder(tmp_path / "data")


def test_the_shards_are_those_of_the_local_engine(
    explainer: Explainer, data: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"id": "id", "label": "label", "target": "column:label"}
    local = explainer.corpus(data, tmp_path / "local", **options)
    ours = explainer.corpus(data, tmp_path / "ray", **options, **RAY)
    assert_same_output(tmp_path / "ray", tmp_path / "local")
    assert [Path(path).name for path in ours.shards] == [shards.file_name(n) for n in range(9)]
    assert (ours.rows, ours.errors, ours.records) == (86, local.errors, local.records)
    assert ours.errors == local.errors
    assert ours.errors.keys() > {"null", "broken_row", "too_long", "undecodable"}
    assert list(ours.broken) == ["b.parquet", "e.csv"]
    for row in read_shards(tmp_path / "ray"):
        if row["error"] is None:
            assert_row_explains(row, explainer.explain(row["text"], target=row["label"]))


def test_errors_are_rows(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.jsonl"
    texts = ["one", None, "  ", 7, "two", "one " * 100]
    lines = [json.dumps({"text": text}) for text in texts]
    source.write_text("\n".join([*lines, "{", '{"txt": 1}']))
    summary = explainer.corpus(source, tmp_path / "out", **RAY)
    rows = read_shards(tmp_path / "out")
    assert error_kinds(rows) == {
        1: "null",
        2: "blank",
        3: "not_text",
        5: "too_long",
        6: "broken_row",
        7: "missing_column",
    }
    assert dict(summary.errors) == dict.fromkeys(sorted(error_kinds(rows).values()), 1)
    with pytest.raises(InputError, match=r"row 1 \(row 1 of reviews.jsonl\): text is null"):
        explainer.corpus(source, tmp_path / "strict", strict=True, **RAY)
    assert not list((tmp_path / "strict").glob("*.parquet"))
    assert read_manifest(tmp_path / "strict")["state"] == "unfinished"


def test_an_empty_file_has_no_rows(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "empty.txt", [])
    summary = explainer.corpus(source, tmp_path / "out", **RAY)
    assert (summary.rows, len(summary.shards)) == (0, 1)
    assert explainer.corpus(source, tmp_path / "out", **RAY).was_finished


@pytest.mark.parametrize("engine", [RAY, {"engine": "local"}])
def test_a_run_goes_on_and_gaps_are_filled(
    engine: dict[str, Any],
    explainer: Explainer,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explainer.corpus(data, tmp_path / "whole", id="id")
    out, add, count = tmp_path / "out", Folder.add, 0

    def stopped(self: Folder, shard: Progress) -> None:
        nonlocal count
        add(self, shard)
        count += 1
        if count == 4:
            raise StopError

    monkeypatch.setattr(Folder, "add", stopped)
    with pytest.raises(StopError):
        explainer.corpus(data, out, id="id", **RAY)
    monkeypatch.setattr(Folder, "add", add)
    assert not [thread for thread in threading.enumerate() if "Executor" in thread.name]
    assert read_manifest(out)["state"] == "unfinished"
    there = sorted(out.glob("*.parquet"))
    assert len(there) >= 4
    for path in (there[0], there[2]):
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    summary = explainer.corpus(data, out, id="id", **engine)
    assert not summary.was_finished
    assert_same_output(out, tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert explainer.corpus(data, out, id="id", **RAY).was_finished


def test_other_settings_are_refused(explainer: Explainer, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    explainer.corpus(source, out, **RAY)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match='method was "normxlogit" and is "norm"'):
        explainer.corpus(source, out, method="norm", **RAY)
    write_lines(source, TEXTS[::-1])
    with pytest.raises(InputError, match=r"the file reviews\.txt was of"):
        explainer.corpus(source, out, **RAY)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_does_not_fit(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"engine": "spark"}, "one of local, ray; got 'spark'"),
        ({"workers": 2}, "are for engine='ray'"),
        ({"gpus_per_worker": 0.5}, "are for engine='ray'"),
        ({"engine": "ray", "workers": 0}, "a whole number from 1, got 0"),
        ({"engine": "ray", "gpus_per_worker": -1}, "a number from 0, got -1"),
        ({"engine": "ray", "gpus_per_worker": 1}, "do not fit into 2 processors and 0 GPUs"),
    ]
    for options, reason in cases:
        with pytest.raises(OptionError, match=reason):
            explainer.corpus(source, out, **options)
    with pytest.raises(OptionError, match="Name an output folder"):
        explainer.corpus(source, **RAY)
    monkeypatch.setattr(type(explainer.model), "__module__", "transformers_modules.x")
    with pytest.raises(ModelError, match="code of its own"):
        explainer.corpus(source, out, **RAY)


def test_what_a_worker_cannot_write_is_one_line(explainer: Explainer, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    cannot_close = tmp_path / "out" / "shard-00000.parquet"

    class Blocked(Folder):
        def __enter__(self) -> "Blocked":
            super().__enter__()
            cannot_close.mkdir()
            return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("normxlogit.corpus.folder.Folder", Blocked)
        with pytest.raises(
            InputError, match=r"cannot write .*shard-00000\.parquet: Is a directory"
        ):
            explainer.corpus(source, out, **RAY)


def begun_by(process: int, folder: Path) -> Path | None:
    """The unfinished shard in a folder that a process holds open."""
    opened = list[Path]()
    with contextlib.suppress(OSError):
        opened = [path.resolve() for path in Path(f"/proc/{process}/fd").iterdir()]
    begun = (path for path in opened if path.parent == folder and path.name[:7] == ".shard-")
    return next((path for path in begun if path.exists()), None)


def kill_one_that_writes(folder: Path) -> Path | None:
    """Kill a process that has begun a shard, if there is one just now; gives that shard."""
    for process in descendants(os.getpid()):
        with contextlib.suppress(OSError):  # it may end by itself at any time
            os.kill(process, signal.SIGSTOP)
            begun = begun_by(process, folder)
            os.kill(process, signal.SIGCONT if begun is None else signal.SIGKILL)
            if begun is not None:
                return folder / begun.name.removeprefix(".").rpartition(".")[0]
    return None


def test_a_worker_is_killed_while_it_writes(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "reviews.parquet"
    texts = [f"{TEXTS[n % 7]} {n}" if n % 11 else None for n in range(600)]
    pd.DataFrame({"text": texts}).to_parquet(source, row_group_size=50)
    whole, out, add = tmp_path / "whole", tmp_path / "out", Folder.add
    explainer.corpus(source, whole)
    killed = list[Path]()

    def deadly(self: Folder, shard: Progress) -> None:
        add(self, shard)
        tries = 0 if len(killed) == 2 else 1000
        found = (kill_one_that_writes(out) for _ in range(tries))
        if path := next(filter(None, found), None):
            killed.append(path)
            assert not path.exists()

    monkeypatch.setattr(Folder, "add", deadly)
    summary = explainer.corpus(source, out, **RAY)
    assert len(killed) == 2
    assert all(path.is_file() for path in killed)
    assert summary.rows == 600
    assert_same_output(out, whole)


def test_the_command(model: Path, explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*TEXTS[:6], ""])
    more = ["--engine", "ray", "--workers", "2"]
    result = CliRunner().invoke(cli.app, corpus_command(model, source, tmp_path / "out", *more))
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"7 rows, 1 error (1 blank); in {tmp_path / 'out'}\n"
        f"To see what is in it: normxlogit summary {tmp_path / 'out'}\n"
    )
    for row in read_shards(tmp_path / "out")[:6]:
        assert_row_explains(row, explainer.explain(row["text"].strip()))
    refused = CliRunner().invoke(
        cli.app, corpus_command(model, source, tmp_path / "no", "--workers", "2")
    )
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "no").exists()


def test_without_ray(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.setitem(sys.modules, name, None)
    result = CliRunner().invoke(
        cli.app, corpus_command(model, source, tmp_path / "out", "--engine", "ray")
    )
    assert result.exit_code == 1
    assert 'pip install "normxlogit[ray]"' in result.stderr
    assert result.stderr.count("\n") == 1
