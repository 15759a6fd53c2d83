"""A folder of shards: what is in it, whose it is, and how a stopped run goes on."""

import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from normxlogit import Attribution, Explainer, InputError, MissingExtraError
from normxlogit.corpus import shards, summary
from normxlogit.corpus.folder import Folder
from normxlogit.data.source import Source
from tests.helpers.corpora import (
    SLOW_WRITING,
    TEXTS,
    StopError,
    assert_row_explains,
    corpus_command,
    mark_unfinished,
    read_manifest,
    read_shards,
    write_lines,
)
from tests.helpers.killed import run_killed
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_classifier


def test_the_schema(explainer: Explainer, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "corpus.md").read_text("utf-8")
    schema = shards.schema(float16=False)
    for name in schema.names:
        assert f"| `{name}` |" in page
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    (path,) = explainer.corpus(source, tmp_path / "out").shards
    assert pq.read_schema(path).metadata[b"normxlogit.schema"] == b"normxlogit/shard/1"
    assert pq.read_schema(path).equals(schema)
    frame = pd.read_parquet(path)
    assert frame.explode("words")["words"].notna().all()


def test_the_manifest(explainer: Explainer, model: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*TEXTS[:6], ""])
    explainer.corpus(source, tmp_path / "out", method="logat")
    manifest = read_manifest(tmp_path / "out")
    assert manifest["state"] == "finished"
    assert manifest["counts"] == {
        "rows": 7,
        "errors": {"blank": 1},
        "records": 7,
        "tokens": sum(len(explainer.explain(text)) for text in TEXTS[:6]),
        "unlike": 0,
        "shards": 1,
    }
    assert manifest["model"]["name"] == str(model)
    assert manifest["model"]["architecture"] == "BertForSequenceClassification"
    (file,) = manifest["data"]["files"]
    assert file["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert file["bytes"] == source.stat().st_size
    assert manifest["options"]["method"] == "logat"
    assert manifest["versions"].keys() == {"normxlogit", "torch", "transformers"}


def test_a_finished_run_does_nothing(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    first = explainer.corpus(source, tmp_path / "out")
    before = {path: Path(path).stat().st_mtime_ns for path in first.shards}
    again = explainer.corpus(source, tmp_path / "out", batch_size=3)
    assert (first.was_finished, again.was_finished) == (False, True)
    assert str(first) == str(again)
    assert {path: Path(path).stat().st_mtime_ns for path in again.shards} == before
    Path(first.shards[0]).unlink()
    with pytest.raises(InputError, match="lost 1 of its shards"):
        explainer.corpus(source, tmp_path / "out")


def test_other_settings_are_refused(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    out = tmp_path / "out"
    explainer.corpus(source, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def refused(match: str, who: Explainer = explainer, **options: Any) -> None:
        with pytest.raises(InputError, match=match):
            who.corpus(source, out, **options)

    refused('method was "normxlogit" and is "norm"', method="norm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("normxlogit.extras.VERSION", "9.9")
        refused(r"normxlogit was [\d.]+ and is 9\.9")
    refused('options was {} and is {"norm": "word"}', norm="word")
    refused('target was null and is "all"; float16 was false', target="all", float16=True)
    other = Explainer.from_pretrained(str(tiny_classifier(tmp_path / "other", labels=("A", "B"))))
    refused(r"the model was .*model.* \(\w+\) and is .*other \(\w+\)", other)
    half = Explainer.from_pretrained(str(tmp_path / "other"), dtype="bfloat16")
    refused("dtype was float32 and is bfloat16", half)
    write_lines(source, [*TEXTS[:-1], TEXTS[-1].upper()])
    refused("the file reviews.txt was of .* bytes")
    source = write_lines(tmp_path / "more.txt", TEXTS)
    refused("reviews.txt is gone; the file more.txt is new")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_one_weight_makes_another_model(explainer: Explainer, model: Path) -> None:
    from normxlogit.tasks.fingerprint import model_fingerprint

    same = Explainer.from_pretrained(str(model))
    same.explain(["one", "one two three"])
    assert model_fingerprint(same)["sha256"] == model_fingerprint(explainer)["sha256"]
    parameter: Any = next(same.model.parameters())
    parameter.data[0, 0] += 1
    assert model_fingerprint(same)["sha256"] != model_fingerprint(explainer)["sha256"]


def test_folders_of_something_else_are_refused(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    with pytest.raises(InputError, match=r"holds something else \(reviews.txt\)"):
        explainer.corpus(source, tmp_path)
    with pytest.raises(InputError, match="it is not a folder"):
        explainer.corpus(source, source)
    with pytest.raises(InputError, match="there is no folder"):
        explainer.corpus(source, tmp_path / "no" / "out")
    for content in ("{", "[]", '{"schema": "other"}'):
        folder = tmp_path / "foreign"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(content)
        with pytest.raises(InputError, match=r"manifest\.json"):
            explainer.corpus(source, folder)
    out = tmp_path / "out"
    explainer.corpus(source, out)
    mark_unfinished(out)
    (out / "notes.txt").write_text("mine")
    (out / "shard-00001.parquet").write_text("mine")
    with pytest.raises(InputError, match=r"shard-00001.parquet is not a whole shard"):
        explainer.corpus(source, out)
    (out / "shard-00001.parquet").unlink()
    assert not explainer.corpus(source, out).was_finished
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("small")
def test_a_run_goes_on_where_it_was(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = [TEXTS[n % 7] + f" {n}" if n % 9 else "" for n in range(57)]
    pd.DataFrame({"text": texts[:25]}).to_parquet(data / "a.parquet", row_group_size=4)
    (data / "b.csv").write_text("nothing\n1\n")
    write_lines(data / "c.txt", [text.replace("\n", " ") for text in texts[25:]])
    whole = explainer.corpus(data, tmp_path / "whole", batch_size=2)
    assert [pq.read_metadata(path).num_rows for path in whole.shards] == [10] * 5 + [7]
    close = shards.Writer.close
    out = tmp_path / "out"
    for stopped_at in range(6):

        def closed(self: Any, note: Any, stop: str = shards.file_name(stopped_at)) -> None:
            if self.path.name == stop:
                raise StopError
            close(self, note)

        monkeypatch.setattr(shards.Writer, "close", closed)
        with pytest.raises(StopError):
            explainer.corpus(data, out, batch_size=2)
        assert len(list(out.iterdir())) == stopped_at + 2
        assert read_manifest(out)["state"] == "unfinished"
        assert read_manifest(out)["counts"]["rows"] == 10 * stopped_at
    monkeypatch.setattr(shards.Writer, "close", close)
    made = explainer.corpus(data, out, batch_size=2)
    assert (made.rows, made.errors, made.broken) == (whole.rows, whole.errors, whole.broken)
    assert read_shards(out) == read_shards(tmp_path / "whole")
    for one, other in zip(made.shards, whole.shards, strict=True):
        assert pq.read_table(one).equals(pq.read_table(other))
    counts = read_manifest(out)["counts"]
    assert counts == read_manifest(tmp_path / "whole")["counts"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("when", range(1, 10))
def test_a_full_disk(
    when: int, explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "reviews.txt", [f"one {n}" for n in range(35)])
    out, fsync, count = tmp_path / "out", os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        explainer.corpus(source, out)
    assert not [path for path in out.glob("*") if path.name.startswith((".shard", ".manifest"))]
    explainer.corpus(source, out)
    assert [row["text"] for row in read_shards(out)] == [f"one {n}" for n in range(35)]


def test_leftovers_are_taken_away(explainer: Explainer, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    out.mkdir()
    (out / ".shard-00000.parquet.0123").write_bytes(b"half")
    (out / ".manifest.json.0123").write_bytes(b"half")
    (out / ".lock").write_text("1")
    explainer.corpus(source, out)
    assert len(list(out.iterdir())) == 3


def test_without_pyarrow(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS[:2])
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install .normxlogit\[corpus\]"):
        explainer.corpus(source, tmp_path / "out")
    assert len(list(explainer.corpus(source))) == 2


@pytest.mark.parametrize(("runtime", "times"), [("torch", 20), ("onnx", 4)])
def test_killed_at_any_moment(
    runtime: str,
    times: int,
    model: Path,
    explainer: Explainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    if runtime != "torch":
        list(explainer.corpus(TEXTS, runtime=runtime))  # exported once, and not in every run
    source = tmp_path / "reviews.parquet"
    texts = [f"{TEXTS[n % 7]} {n}" if n % 11 else None for n in range(2000)]
    pd.DataFrame({"text": texts}).to_parquet(source, row_group_size=50)

    def after(folder: str, times: int, seed: int) -> int:
        """How many shards there are after so many kills; without any, at the end."""
        options = ("--batch-size", "8", "--runtime", runtime)
        arguments = corpus_command(model, source, tmp_path / folder, *options)
        found = tmp_path / folder / "shard-*.parquet"
        return run_killed(arguments, found, times=times, seed=seed, patch=SLOW_WRITING)

    out, whole = tmp_path / "out", tmp_path / "whole"
    assert times <= after("out", times, 1) < 125
    assert read_manifest(out)["state"] == "unfinished"
    assert after("out", 0, 2) == after("whole", 0, 3) == 125
    assert read_shards(out) == read_shards(whole)
    assert [row["row"] for row in read_shards(out)] == list(range(2000))
    assert not [p for p in out.iterdir() if p.name.startswith(".") and p.name != ".lock"]
    last = explainer.explain(texts[1999])
    assert isinstance(last, Attribution)
    assert_row_explains(read_shards(out)[1999], last)


def test_one_run_at_a_time(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS[:6]), tmp_path / "out"
    write, tries = shards.Writer.write, list[str]()

    def twice(self: shards.Writer, window: Any) -> Any:
        with pytest.raises(InputError, match=f"another run .process {os.getpid()}"):
            explainer.corpus(source, out)
        tries.append("refused")
        return write(self, window)

    monkeypatch.setattr(shards.Writer, "write", twice)
    assert explainer.corpus(source, out).rows == 6
    assert tries


def test_a_window_at_a_time_is_written(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [f"one {n}" for n in range(300)])
    (path,) = explainer.corpus(source, tmp_path / "out", batch_size=1).shards
    metadata = pq.read_metadata(path)
    assert max(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) == 32


def damaged(content: bytes, at: int) -> bytes:
    """The content with one bit of a byte turned over."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.usefixtures("small")
def test_a_damaged_shard_is_not_taken_for_whole(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [f"one {n}" for n in range(35)])
    out = tmp_path / "out"
    explainer.corpus(source, out)
    expected, path = read_shards(out), out / shards.file_name(1)
    whole = path.read_bytes()
    footer = len(whole) - pq.read_metadata(path).serialized_size - 8
    places = np.random.default_rng(0).integers(4, footer, 40).tolist()
    note = whole.index(b'"progress"', footer)
    for _ in ("finished", "unfinished"):
        for at in (*places, 4, footer - 1, note, note + 40):
            path.write_bytes(damaged(whole, at))
            with pytest.raises(InputError, match=r"shard-00001\.parquet is (damaged|not a whole)"):
                explainer.corpus(source, out)
            with pytest.raises(InputError, match=r"shard-00001\.parquet is (damaged|not a whole)"):
                summary(out)
        mark_unfinished(out)
    path.unlink()
    assert explainer.corpus(source, out).rows == 35
    assert read_shards(out) == expected


@pytest.mark.usefixtures("small")
def test_shards_that_changed_their_names(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [f"one {n}" for n in range(35)])
    out = tmp_path / "out"
    explainer.corpus(source, out)
    expected = read_shards(out)
    second, third = (out / shards.file_name(n) for n in (1, 2))
    contents = second.read_bytes(), third.read_bytes()
    for swapped in (contents[::-1], contents[:1] * 2):
        second.write_bytes(swapped[0])
        third.write_bytes(swapped[1])
        for state in ("finished", "unfinished"):
            manifest = read_manifest(out) | {"state": state}
            (out / "manifest.json").write_text(json.dumps(manifest))
            with pytest.raises(InputError, match=r"is shard-0000\d\.parquet by what it holds"):
                explainer.corpus(source, out)
    second.write_bytes(contents[0])
    third.unlink()
    explainer.corpus(source, out)
    assert read_shards(out) == expected


def test_a_manifest_that_counts_other_rows(explainer: Explainer, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    explainer.corpus(source, out)
    manifest = read_manifest(out)
    manifest["counts"]["rows"] += 1
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r'manifest.json counts .*"rows": .* its shards hold'):
        explainer.corpus(source, out)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_source_that_changes(
    number: int,
    keeps_time: bool,
    explainer: Explainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the changed file is kept, and what was kept before is used again."""
    lines = [f"one {n}" for n in range(35)]
    source, out = write_lines(tmp_path / "reviews.txt", lines), tmp_path / "out"
    explainer.corpus(source, tmp_path / "whole")
    enter, before = shards.Writer.__enter__, source.stat()

    def change(self: shards.Writer) -> shards.Writer:
        if self.path == out / shards.file_name(number):
            write_lines(source, [line.replace("one", "two") for line in lines])
            if keeps_time:
                os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        return enter(self)

    monkeypatch.setattr(shards.Writer, "__enter__", change)
    with pytest.raises(InputError, match=r"reviews\.txt changed while it was read"):
        explainer.corpus(source, out)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "ROWS", 10)
    assert read_manifest(out)["state"] == "unfinished"
    assert len(list(out.glob("shard-*"))) == number
    with pytest.raises(InputError, match=r"the file reviews\.txt was of"):
        explainer.corpus(source, out)
    write_lines(source, lines)
    assert explainer.corpus(source, out).rows == 35
    assert read_shards(out) == read_shards(tmp_path / "whole")


def test_a_source_that_changes_at_the_end(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    add = Folder.add

    def change(self: Folder, progress: Any) -> None:
        add(self, progress)
        write_lines(source, TEXTS[:2])

    monkeypatch.setattr(Folder, "add", change)
    with pytest.raises(InputError, match="changed while it was read"):
        explainer.corpus(source, out)
    assert read_manifest(out)["state"] == "unfinished"


def test_what_fails_before_the_first_row_leaves_nothing(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, empty = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "empty"
    empty.mkdir()

    def rows(*_: Any, **__: Any) -> Any:
        raise InputError("the line is dead")

    monkeypatch.setattr(Source, "rows", rows)
    for out in (tmp_path / "out", empty):
        with pytest.raises(InputError, match="the line is dead"):
            explainer.corpus(source, out)
    assert not (tmp_path / "out").exists()
    assert list(empty.iterdir()) == []
    monkeypatch.undo()
    explainer.corpus(source, empty)
    monkeypatch.setattr(Source, "rows", rows)
    mark_unfinished(empty)
    (empty / shards.file_name(0)).unlink()
    with pytest.raises(InputError, match="the line is dead"):
        explainer.corpus(source, empty)
    assert read_manifest(empty)["state"] == "unfinished"
