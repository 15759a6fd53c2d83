"""A corpus in, shards out: every row once, whatever happens."""

import errno
import hashlib
import io
import itertools
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

from normxlogit import (
    Attribution,
    Explainer,
    InputError,
    MissingExtraError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    cli,
)
from normxlogit.corpus import Kind, shards
from normxlogit.data.formats import FORMATS
from normxlogit.data.progress import Meter
from normxlogit.data.rows import BrokenFileError
from normxlogit.data.source import Source, Split, open_dataset
from normxlogit.tasks.batches import Texts
from normxlogit.text.encoder import Encoder
from tests.helpers.killed import run_killed
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_classifier
from tests.tasks.test_heads import made, tagger, writer

TEXTS = [
    "A great movie with poor performers.",
    "The plot is not bad at all",
    "Don't watch it twice.",
    "El rápido zorro marrón",
    "我喜欢这部电影",
    "one",
    'says "two", and\nthree',
]
LABELS = ["POSITIVE", "NEGATIVE", "NEGATIVE", "POSITIVE", "POSITIVE", "NEGATIVE", "POSITIVE"]


@pytest.fixture(scope="module")
def explainer(model: Path) -> Explainer:
    return Explainer.from_pretrained(str(model))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few rows, in this process."""
    monkeypatch.setattr(shards, "ROWS", 10)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


def manifest_in(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return data


def lines_of(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def errors_of(rows: list[dict[str, Any]]) -> dict[int, str]:
    return {row["row"]: row["error_kind"] for row in rows if row["error"] is not None}


def assert_same(row: dict[str, Any], a: Attribution, number: int = 0) -> None:
    """A row of a shard has what the explainer says of the same text."""
    scores = a.scores.reshape(len(a.targets), -1)[number]
    np.testing.assert_allclose(row["token_scores"], scores, atol=1e-5)
    assert tuple(row["tokens"]) == a.tokens
    assert row["special"] == a.special.tolist()
    assert row["segments"] == a.segments.tolist()
    assert [[o["start"], o["end"]] for o in row["offsets"]] == a.offsets.tolist()
    words = a.at(number).words() if a.axes else a.words()
    kept = ~words.special
    assert row["words"] == [w for w, is_in in zip(words.tokens, kept, strict=True) if is_in]
    np.testing.assert_allclose(row["word_scores"], words.scores.reshape(-1)[kept], atol=1e-5)
    assert row["prediction"] == a.prediction.label
    assert row["prediction_value"] == pytest.approx(a.prediction.top.value, abs=1e-5)
    assert row["target"] == a.targets[number].label
    assert row["target_value"] == pytest.approx(a.targets[number].value, abs=1e-5)
    assert row["error"] is row["error_kind"] is None


def assert_alike(row: dict[str, Any], other: dict[str, Any]) -> None:
    """Rows of two processes, whose sums may be of another order."""
    for name, value in row.items():
        if name.endswith(("scores", "value")) and value is not None:
            np.testing.assert_allclose(value, other[name], atol=1e-5)
        else:
            assert value == other[name]


def parquet(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path, row_group_size=3)


def csv_file(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def json_lines(path: Path, frame: pd.DataFrame) -> None:
    records = frame.to_dict("records")
    path.write_text("".join(f"{json.dumps(r)}\n" for r in records), "utf-8")


def plain_lines(path: Path, frame: pd.DataFrame) -> None:
    lines_of(path, [text.replace("\n", " ") for text in frame["text"]])


WRITERS: dict[str, Callable[[Path, pd.DataFrame], None]] = {
    ".parquet": parquet,
    ".csv": csv_file,
    ".tsv": csv_file,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".txt": plain_lines,
}


@pytest.mark.parametrize("end", FORMATS)
def test_every_format_has_the_scores_of_explain(
    end: str, explainer: Explainer, tmp_path: Path
) -> None:
    source = tmp_path / f"reviews{end}"
    frame = pd.DataFrame({"n": range(len(TEXTS)), "text": TEXTS})
    WRITERS[end](source, frame)
    before = source.read_bytes()
    summary = explainer.corpus(source, tmp_path / "out")
    assert str(summary) == f"{len(TEXTS)} rows, 0 errors; in {tmp_path / 'out'}"
    rows = rows_in(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(len(TEXTS)))
    texts = [text.replace("\n", " ") for text in TEXTS] if end == ".txt" else TEXTS
    for row, text in zip(rows, texts, strict=True):
        assert row["text"] == text
        assert row["file"] == source.name
        assert_same(row, explainer.explain(text))
    assert source.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".lock",
        "manifest.json",
        "shard-00000.parquet",
    ]


def test_the_iterator_has_the_same_and_writes_nothing(explainer: Explainer, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", [*TEXTS[:3], "", TEXTS[3]])
    results = list(explainer.corpus(source))
    assert [e.row.number for e in results] == [0, 1, 2, 3, 4]
    assert results[3].bad is not None
    assert results[3].bad.kind is Kind.BLANK
    for explained in results[:3]:
        assert explained.attribution is not None
        expected = explainer.explain(explained.row.text)
        np.testing.assert_allclose(explained.attribution.scores, expected.scores, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.txt"]


@pytest.mark.parametrize("make", [list, iter])
def test_texts_and_mappings_are_sources(make: Callable[[Any], Any], explainer: Explainer) -> None:
    plain = list(explainer.corpus(make(TEXTS)))
    named = list(explainer.corpus(make([{"t": text, "k": 7} for text in TEXTS]), text="t", id="k"))
    for bare, with_id, text in zip(plain, named, TEXTS, strict=True):
        assert bare.attribution is not None
        assert with_id.attribution is not None
        assert bare.row.text == with_id.row.text == text
        assert (bare.row.id, with_id.row.id) == (None, "7")
        np.testing.assert_array_equal(bare.attribution.scores, with_id.attribution.scores)


@pytest.fixture
def threads() -> Iterator[int]:
    """Two threads for torch, and its number."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_texts_are_tokenised_while_the_model_runs(
    explainer: Explainer, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch waits until a text is tokenised that comes long after it."""
    encode, reached = Encoder.encode, threading.Event()
    waited, seen, late = list[bool](), set[int](), "far behind the first batch"

    def noted(self: Encoder, item: Any, **options: Any) -> Any:
        if item == late:
            reached.set()
        return encode(self, item, **options)

    together = type(explainer.task_explainer).together  # type: ignore[attr-defined]

    def patient(self: Texts, texts: Any, *arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            seen.add(torch.get_num_threads())
            waited.append(reached.wait(60))
        return together(self, texts, *arguments)

    monkeypatch.setattr(Encoder, "encode", noted)
    monkeypatch.setattr(type(explainer.task_explainer), "together", patient)
    texts = [*(f"{TEXTS[n % 7]} {n}" for n in range(40)), late]
    results = list(explainer.corpus(texts, batch_size=1))
    assert [e.row.text for e in results] == texts
    assert len(waited) == len(texts)
    assert all(waited)
    assert seen == {1}
    assert torch.get_num_threads() == threads


def test_threads_end_with_the_iterator(explainer: Explainer, threads: int) -> None:
    def corpus_threads() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("normxlogit")]

    endless = (TEXTS[n % 7] for n in itertools.count())
    results = explainer.corpus(endless, batch_size=2)
    next(results)
    assert len(corpus_threads()) == threads
    results.close()  # type: ignore[attr-defined]
    assert corpus_threads() == []


def test_iterables_are_not_written(explainer: Explainer, tmp_path: Path) -> None:
    source: Any = TEXTS
    with pytest.raises(OptionError, match="Write them to a file"):
        explainer.corpus(source, tmp_path / "out")
    with pytest.raises(OptionError, match="Name an output folder"):
        explainer.corpus(TEXTS, hash=True)
    with pytest.raises(OptionError, match="data sets of the Hub"):
        explainer.corpus(TEXTS, split="train")
    with pytest.raises(InputError, match="got int"):
        explainer.corpus(7)
    assert not (tmp_path / "out").exists()


def test_a_source_is_not_read_far_ahead(explainer: Explainer) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield TEXTS[read % len(TEXTS)]

    for n, _ in enumerate(explainer.corpus(texts(), batch_size=2)):
        assert read <= n + 2 * 64
        if n == 500:
            return


def test_rows_before_an_error_of_the_source_are_not_lost(explainer: Explainer) -> None:
    def texts() -> Iterator[str]:
        yield "one"
        raise RuntimeError("the source")

    results = explainer.corpus(texts())
    assert next(results).row.text == "one"
    with pytest.raises(RuntimeError, match="the source"):
        next(results)


def test_pairs(explainer: Explainer, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": TEXTS[:3], "b": [TEXTS[4], None, TEXTS[5]]})
    frame.to_parquet(tmp_path / "pairs.parquet")
    explainer.corpus(tmp_path / "pairs.parquet", tmp_path / "out", text="a", pair="b")
    rows = rows_in(tmp_path / "out")
    assert errors_of(rows) == {1: "null"}
    assert rows[1]["text"] == TEXTS[1]
    for n in (0, 2):
        assert rows[n]["pair"] == frame["b"][n]
        assert_same(rows[n], explainer.explain((frame["a"][n], frame["b"][n])))
        assert set(rows[n]["segments"]) == {-1, 0, 1}


HEADS: dict[str, Callable[[], Explainer]] = {
    "tags": tagger,
    "an answer": lambda: made("bert", "question-answering"),
    "the word at a mask": lambda: made("bert", "masked-lm"),
    "the next token": writer,
}


@pytest.mark.parametrize("head", HEADS)
def test_other_heads(head: str, tmp_path: Path) -> None:
    explainer = HEADS[head]()
    is_pair, is_mask = head == "an answer", "mask" in head
    texts = [f"{text} <mask>" if is_mask else text for text in TEXTS[:3]]
    source = tmp_path / "texts.parquet"
    pd.DataFrame({"text": texts, "context": TEXTS[1:4]}).to_parquet(source)
    summary = explainer.corpus(source, tmp_path / "out", pair="context" if is_pair else None)
    rows = rows_in(tmp_path / "out")
    assert summary.errors == {}
    for n, text in enumerate(texts):
        a = explainer.explain((text, TEXTS[n + 1]) if is_pair else text)
        records = [row for row in rows if row["row"] == n]
        assert [row["target_position"] for row in records] == [t.position for t in a.targets]
        for number, row in enumerate(records):
            assert_same(row, a, number)


def test_all_targets(explainer: Explainer, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", [TEXTS[0], "", TEXTS[1]])
    summary = explainer.corpus(source, tmp_path / "out", target="all")
    rows = rows_in(tmp_path / "out")
    assert [row["row"] for row in rows] == [0, 0, 1, 2, 2]
    assert (summary.rows, summary.records) == (3, 5)
    for row, n in zip([*rows[:2], *rows[3:]], (0, 1, 0, 1), strict=True):
        assert_same(row, explainer.explain(row["text"], target="all"), n)


def test_the_target_of_each_row(explainer: Explainer, tmp_path: Path) -> None:
    targets = ["POSITIVE", "NEGATIVE", "positive", "0", None, "SOLID", "NEGATIVE"]
    source = tmp_path / "reviews.parquet"
    pd.DataFrame({"text": TEXTS, "gold": targets}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", target="column:gold", label="gold")
    rows = rows_in(tmp_path / "out")
    assert errors_of(rows) == {4: "target", 5: "target"}
    assert "SOLID" in rows[5]["error"]
    for row, target in zip(rows, targets, strict=True):
        assert row["label"] == target
        if row["error"] is None:
            assert_same(row, explainer.explain(row["text"], target=target))
    with pytest.raises(OptionError, match="stands alone"):
        explainer.corpus(source, target=["column:gold", "POSITIVE"])


def test_numbers_as_targets(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.parquet"
    pd.DataFrame({"text": TEXTS[:4], "gold": [1, 0, None, 7]}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", target="column:gold")
    rows = rows_in(tmp_path / "out")
    assert [row["target"] for row in rows] == ["POSITIVE", "NEGATIVE", None, None]
    assert errors_of(rows) == {2: "target", 3: "target"}


def test_options_reach_the_explainer(explainer: Explainer, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", [*TEXTS[:2], "one two three " * 40])
    how: dict[str, Any] = {
        "target": "POSITIVE",
        "contrast": "NEGATIVE",
        "readout": "logprob",
        "layer": 1,
        "long": "window",
        "norm": "word",
    }
    explainer.corpus(source, tmp_path / "out", **how)
    for row in rows_in(tmp_path / "out"):
        assert_same(row, explainer.explain(row["text"].strip(), **how))
    options = manifest_in(tmp_path / "out")["options"]
    assert {**options, **options["options"]}.items() >= how.items()


def test_hashes_take_the_place_of_texts(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "pairs.parquet"
    pd.DataFrame({"text": TEXTS, "other": TEXTS[::-1]}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", pair="other", hash=True)
    for row, text, other in zip(rows_in(tmp_path / "out"), TEXTS, TEXTS[::-1], strict=True):
        assert row["text"] is row["pair"] is None
        assert row["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["pair_sha256"] == hashlib.sha256(other.encode()).hexdigest()


def test_blank_texts_have_hashes(explainer: Explainer, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", ["one", "  "])
    explainer.corpus(source, tmp_path / "out", hash=True)
    rows = rows_in(tmp_path / "out")
    assert errors_of(rows) == {1: "blank"}
    assert rows[1]["text_sha256"] == hashlib.sha256(b"  ").hexdigest()


def test_float16(explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = lines_of(tmp_path / "reviews.txt", TEXTS[:2])
    explainer.corpus(source, tmp_path / "out", float16=True)
    schema = pq.read_schema(tmp_path / "out" / "shard-00000.parquet")
    assert schema.field("token_scores").type == pa.list_(pa.float16())
    for row in rows_in(tmp_path / "out"):
        expected = explainer.explain(row["text"]).scores
        np.testing.assert_array_equal(np.float16(expected), np.float16(row["token_scores"]))
    explain = Texts.explain

    def large(self: Texts, *arguments: Any) -> Any:
        attributions = explain(self, *arguments)
        first = attributions[0]
        assert isinstance(first, Attribution)
        first.scores[1] = 1e6
        return attributions

    monkeypatch.setattr(Texts, "explain", large)
    explainer.corpus(source, tmp_path / "large", float16=True)
    rows = rows_in(tmp_path / "large")
    assert list(errors_of(rows).values()) == ["overflow"]
    assert sum(row["token_scores"] is None for row in rows) == 1


def test_bad_rows_are_rows_with_an_error(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.jsonl"
    long = "one " * 25_000
    lines = [
        b'{"text": "one", "id": 1}',
        b'{"text": null, "id": 2}',
        b'{"text": "   "}',
        b'{"text": 7}',
        b'{"text": ["one"]}',
        b'{"text": "caf\xe9"}',
        b'{"text": "half \\ud800"}',
        b'{"text": "one"',
        b'["one"]',
        b'{"txt": "one"}',
        b"",
        json.dumps({"text": long}).encode(),
        b"[" * 100_000,
        b'{"text": "two", "id": 1}',
    ]
    source.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    summary = explainer.corpus(source, tmp_path / "out", id="id")
    rows = rows_in(tmp_path / "out")
    assert len(rows) == 13
    assert errors_of(rows) == {
        1: "null",
        2: "blank",
        3: "not_text",
        4: "not_text",
        5: "undecodable",
        6: "undecodable",
        7: "broken_row",
        8: "broken_row",
        9: "missing_column",
        10: "too_long",
        11: "broken_row",
    }
    assert summary.errors == {
        "blank": 1,
        "broken_row": 3,
        "missing_column": 1,
        "not_text": 2,
        "null": 1,
        "too_long": 1,
        "undecodable": 2,
    }
    assert manifest_in(tmp_path / "out")["counts"]["errors"] == summary.errors
    assert [rows[0]["id"], rows[1]["id"], rows[12]["id"]] == ["1", "2", "1"]
    assert rows[10]["text"] == long
    assert "25002 tokens" in rows[10]["error"]
    assert_same(rows[12], explainer.explain("two"))
    with pytest.raises(InputError, match=r"row 1 \(row 1 of reviews.jsonl\): text is null"):
        explainer.corpus(source, tmp_path / "strict", strict=True)
    assert not list((tmp_path / "strict").glob("*.parquet"))


def test_mixed_encodings(explainer: Explainer, tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftext\ncaf\xc3\xa9\ncaf\xe9\n"one\ntwo"\n'
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\r\none\x0btwo\r\ncaf\xc3\xa9")
    column = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.array([0, 3, 4], pa.int32()).buffers()[1], pa.py_buffer(b"one\xe9")],
    )
    pq.write_table(pa.table({"text": column}), tmp_path / "c.parquet")
    explainer.corpus(tmp_path, tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert errors_of(rows) == {1: "undecodable", 3: "undecodable", 7: "undecodable"}
    texts = ["café", None, "one\ntwo", None, "one\x0btwo", "café", "one", None]
    assert [row["text"] for row in rows] == texts


def test_names_that_are_not_utf8(explainer: Explainer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_bytes(b"caf\xe9\none\n")
    (data / "b.jsonl").write_text('{"text": "one"}\n{"\\ud800": "one"}\n')
    Path(os.fsdecode(os.fsencode(data) + b"/c\xe9.txt")).write_text("two\n")
    explainer.corpus(data, tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert [row["text"] for row in rows] == ["one", None, "two"]
    assert [row["file"] for row in rows] == ["b.jsonl", "b.jsonl", "c?.txt"]
    assert explainer.corpus(data, tmp_path / "out").was_finished


def test_broken_rows_of_a_csv(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text(
        'a,text\n1,one\n2\n3,two,three\n\n4,"four"x\n5,five\n6,"never closed\n7,seven\n'
    )
    explainer.corpus(source, tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert [row["text"] for row in rows] == ["one", None, None, None, "five", None]
    assert errors_of(rows) == dict.fromkeys((1, 2, 3, 5), "broken_row")
    assert "lines 8 to 9" in rows[5]["error"]


@pytest.mark.parametrize("end", FORMATS)
def test_an_empty_file_has_no_rows(end: str, explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / f"empty{end}"
    if end == ".parquet":
        pd.DataFrame({"text": pd.Series([], dtype="str")}).to_parquet(source)
    else:
        source.touch()
    summary = explainer.corpus(source, tmp_path / "out")
    assert (summary.rows, summary.errors, len(summary.shards)) == (0, {}, 1)
    assert list(pd.read_parquet(summary.shards[0]).columns) == shards.schema(float16=False).names
    assert explainer.corpus(source, tmp_path / "out").was_finished
    assert list(explainer.corpus(source)) == []


def test_a_column_that_is_missing(explainer: Explainer, tmp_path: Path) -> None:
    for end, write in WRITERS.items():
        source = tmp_path / f"reviews{end}"
        write(source, pd.DataFrame({"text": TEXTS, "stars": 3}))
        columns = "text" if end == ".txt" else "text, stars"
        with pytest.raises(InputError, match=f"reviews{end} has no column 'review'.*: {columns}"):
            explainer.corpus(source, tmp_path / "out", text="review")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_broken_files(explainer: Explainer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.parquet").write_bytes(b"PAR1 is how it begins")
    csv_file(data / "b.csv", pd.DataFrame({"review": TEXTS}))
    csv_file(data / "c.csv", pd.DataFrame({"text": TEXTS}))
    plain_lines(data / "d.txt", pd.DataFrame({"text": TEXTS}))
    (data / "e.txt").write_bytes("one".encode("utf-16"))
    csv_file(data / "f.csv", pd.DataFrame([TEXTS[:2]] * 2, columns=["text", "text"]))
    (data / "README.md").write_text("what it is")
    (data / ".hidden.csv").write_text("x")
    summary = explainer.corpus(data, tmp_path / "out")
    assert list(summary.broken) == ["a.parquet", "b.csv", "e.txt", "f.csv"]
    assert "no column 'text'" in summary.broken["b.csv"]
    assert "UTF-16" in summary.broken["e.txt"]
    assert "two columns" in summary.broken["f.csv"]
    assert summary.ignored == ("README.md",)
    rows = rows_in(tmp_path / "out")
    assert [row["file"] for row in rows] == ["c.csv"] * 7 + ["d.txt"] * 7
    assert [row["row"] for row in rows] == list(range(14))
    manifest = manifest_in(tmp_path / "out")
    assert manifest["broken"] == summary.broken
    assert manifest["ignored"] == ["README.md"]
    again = explainer.corpus(data, tmp_path / "out")
    assert again.was_finished
    assert again.broken == summary.broken
    with pytest.raises(InputError, match=r"a\.parquet"):
        explainer.corpus(data, tmp_path / "strict", strict=True)
    with pytest.raises(InputError, match=r"a\.parquet"):
        explainer.corpus(data, tmp_path / "out", strict=True)


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    table = pa.table({"text": [f"one {n} {random.Random(n).random()}" for n in range(4000)]})
    pq.write_table(table, data / "a.parquet", row_group_size=2000, compression="none")
    content = bytearray((data / "a.parquet").read_bytes())
    column = pq.read_metadata(data / "a.parquet").row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 2000] = b"\xff" * 2000
    (data / "a.parquet").write_bytes(content)
    lines_of(data / "b.txt", ["two"])
    source = open_source_rows(data)
    assert len(source) == 2001
    assert source[-1] == "two"


def open_source_rows(folder: Path) -> list[str | None]:
    """The texts of a folder, and a check of what it notes of files that break off."""
    from normxlogit.data.rows import Columns
    from normxlogit.data.source import open_source

    source = open_source(folder, subset=None, split=None)
    texts = [row.text for row in source.rows(Columns(), strict=False)]
    assert "after 2000 rows" in source.broken["a.parquet"]
    return texts


def test_what_is_no_source(explainer: Explainer, tmp_path: Path) -> None:
    (tmp_path / "reviews.docx").touch()
    (tmp_path / "empty").mkdir()
    cases: dict[str | Path, str] = {
        tmp_path / "none.csv": "there is no file",
        str(tmp_path / "none"): "there is no file",
        "none.csv": "there is no file",
        tmp_path / "reviews.docx": "must end in one of .parquet, .csv",
        tmp_path / "empty": "has no file that ends in",
    }
    for source, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            explainer.corpus(source, tmp_path / "out")
    with pytest.raises(OptionError, match="data sets of the Hub"):
        explainer.corpus(tmp_path / "reviews.docx", split="train")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small")
def test_a_data_set(explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = [f"one {n}" for n in range(25)]
    pd.DataFrame({"text": texts, "n": range(25)}).to_parquet(data / "train.parquet")
    pd.DataFrame({"text": ["two", None], "n": [0, 1]}).to_parquet(data / "test.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def local(name: str, **options: Any) -> Any:
        assert name == "someone/reviews"
        return open_dataset(str(data), **options)

    monkeypatch.setattr("normxlogit.data.source.open_dataset", local)
    summary = explainer.corpus("someone/reviews", tmp_path / "out", id="n")
    rows = rows_in(tmp_path / "out")
    assert [row["text"] for row in rows] == [*texts, "two", None]
    assert [row["file"] for row in rows] == ["train"] * 25 + ["test"] * 2
    assert summary.errors == {"null": 1}
    for path in summary.shards[1:]:
        Path(path).unlink()
    unfinish(tmp_path / "out")
    explainer.corpus("someone/reviews", tmp_path / "out", id="n")
    assert rows_in(tmp_path / "out") == rows
    explainer.corpus("someone/reviews", tmp_path / "test", split="test")
    assert [row["text"] for row in rows_in(tmp_path / "test")] == ["two", None]
    with pytest.raises(OptionError, match=r"has no split 'dev'\. It has train, test"):
        explainer.corpus("someone/reviews", split="dev")
    with pytest.raises(InputError, match="train has no column 'review'"):
        explainer.corpus("someone/reviews", text="review")
    with pytest.raises(InputError, match="nor could it be had as a data set"):
        open_dataset(str(tmp_path / "none"), subset=None, split=None)


class Flaky:
    """A split whose connection breaks off once."""

    column_names = ("text",)
    is_down = True

    def select_columns(self, _: list[str]) -> "Flaky":
        return self

    def skip(self, start: int) -> Iterator[dict[str, str]]:
        for n in range(start, 25):
            if n == 17 and self.is_down:
                self.is_down = False
                raise ConnectionError("the line is dead")
            yield {"text": f"one {n}"}


@pytest.mark.usefixtures("small")
def test_a_connection_that_breaks_off(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Source([Split("train", Flaky(), 25)], {"dataset": "reviews"})
    monkeypatch.setattr("normxlogit.data.source.open_dataset", lambda *_, **__: flaky)
    with pytest.raises(InputError, match="cannot read on in train: the line is dead"):
        explainer.corpus("reviews", tmp_path / "out")
    assert manifest_in(tmp_path / "out")["counts"]["rows"] == 10
    assert explainer.corpus("reviews", tmp_path / "out").broken == {}
    assert [row["text"] for row in rows_in(tmp_path / "out")] == [f"one {n}" for n in range(25)]


def unfinish(folder: Path) -> None:
    """Leave a run as if it had been stopped."""
    data = manifest_in(folder) | {"state": "unfinished"}
    (folder / "manifest.json").write_text(json.dumps(data))


def test_the_schema(explainer: Explainer, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "corpus.md").read_text("utf-8")
    schema = shards.schema(float16=False)
    for name in schema.names:
        assert f"| `{name}` |" in page
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
    (path,) = explainer.corpus(source, tmp_path / "out").shards
    assert pq.read_schema(path).metadata[b"normxlogit.schema"] == b"normxlogit/shard/1"
    assert pq.read_schema(path).equals(schema)
    frame = pd.read_parquet(path)
    assert frame.explode("words")["words"].notna().all()


def test_the_manifest(explainer: Explainer, model: Path, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", [*TEXTS[:6], ""])
    explainer.corpus(source, tmp_path / "out", method="logat")
    manifest = manifest_in(tmp_path / "out")
    assert manifest["state"] == "finished"
    assert manifest["counts"] == {
        "rows": 7,
        "errors": {"blank": 1},
        "records": 7,
        "tokens": sum(len(explainer.explain(text)) for text in TEXTS[:6]),
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
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
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
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
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
    lines_of(source, [*TEXTS[:-1], TEXTS[-1].upper()])
    refused("the file reviews.txt was of .* bytes")
    source = lines_of(tmp_path / "more.txt", TEXTS)
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
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
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
    unfinish(out)
    (out / "notes.txt").write_text("mine")
    (out / "shard-00001.parquet").write_text("mine")
    with pytest.raises(InputError, match=r"shard-00001.parquet is not a whole shard"):
        explainer.corpus(source, out)
    (out / "shard-00001.parquet").unlink()
    assert not explainer.corpus(source, out).was_finished
    assert (out / "notes.txt").read_text() == "mine"


class StopError(Exception):
    pass


@pytest.mark.usefixtures("small")
def test_a_run_goes_on_where_it_was(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = [TEXTS[n % 7] + f" {n}" if n % 9 else "" for n in range(57)]
    pd.DataFrame({"text": texts[:25]}).to_parquet(data / "a.parquet", row_group_size=4)
    (data / "b.csv").write_text("nothing\n1\n")
    lines_of(data / "c.txt", [text.replace("\n", " ") for text in texts[25:]])
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
        assert manifest_in(out)["state"] == "unfinished"
        assert manifest_in(out)["counts"]["rows"] == 10 * stopped_at
    monkeypatch.setattr(shards.Writer, "close", close)
    resumed = explainer.corpus(data, out, batch_size=2)
    assert (resumed.rows, resumed.errors, resumed.broken) == (
        whole.rows,
        whole.errors,
        whole.broken,
    )
    assert rows_in(out) == rows_in(tmp_path / "whole")
    for shard, expected in zip(resumed.shards, whole.shards, strict=True):
        assert pq.read_table(shard).equals(pq.read_table(expected))
    counts = manifest_in(out)["counts"]
    assert counts == manifest_in(tmp_path / "whole")["counts"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("when", range(1, 10))
def test_a_full_disk(
    when: int, explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines_of(tmp_path / "reviews.txt", [f"one {n}" for n in range(35)])
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
    assert not [path for path in out.iterdir() if path.name.startswith((".shard", ".manifest"))]
    explainer.corpus(source, out)
    assert [row["text"] for row in rows_in(out)] == [f"one {n}" for n in range(35)]


def test_leftovers_are_taken_away(explainer: Explainer, tmp_path: Path) -> None:
    source, out = lines_of(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    out.mkdir()
    (out / ".shard-00000.parquet.0123").write_bytes(b"half")
    (out / ".manifest.json.0123").write_bytes(b"half")
    (out / ".lock").write_text("1")
    explainer.corpus(source, out)
    assert len(list(out.iterdir())) == 3


def test_without_pyarrow(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines_of(tmp_path / "reviews.txt", TEXTS[:2])
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install .normxlogit\[corpus\]"):
        explainer.corpus(source, tmp_path / "out")
    assert len(list(explainer.corpus(source))) == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BrokenFileError("cannot read a.csv: it is UTF-16"), InputError),
        (OptionError("there is no layer 9"), OptionError),
        (UnsupportedHeadError("not of one token"), UnsupportedHeadError),
    ],
)
def test_a_worker_sends_its_error(error: NormXLogitError, kind: type[NormXLogitError]) -> None:
    from normxlogit.corpus.ray import pack_error, unpack_error

    received = unpack_error(json.loads(json.dumps(pack_error(error))))
    assert (type(received), str(received)) == (kind, str(error))


def test_models_that_read_no_text(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    from normxlogit.tasks import Task

    monkeypatch.setattr(explainer, "task", Task.IMAGE)
    with pytest.raises(ModelError, match="image-classification"):
        explainer.corpus(TEXTS)


def test_options_that_do_not_exist(explainer: Explainer, tmp_path: Path) -> None:
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
    for options in (
        {"method": "magic"},
        {"target": "SOLID"},
        {"layer": "all"},
        {"layer": 99},
        {"long": "never"},
        {"batch_size": 0},
        {"magic": 1},
    ):
        with pytest.raises(OptionError):
            explainer.corpus(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# The command


def command(model: Path, source: Path, out: Path, *more: str) -> list[str]:
    arguments = ["corpus", str(source), "--model", str(model), "--output", str(out)]
    return [*arguments, "--dtype", "float32", *more]


def run(model: Path, source: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(cli.app, command(model, source, out, *more))


def test_the_command(model: Path, explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    texts = [*TEXTS[:3], "  "]
    csv_file(source, pd.DataFrame({"review": texts, "id": 1, "stars": [1, 0, 1, 0]}))
    out = tmp_path / "out"
    more = ["--text", "review", "--id", "id", "--label", "stars"]
    more += ["--target", "column:stars", "--option", "norm=word"]
    result = run(model, source, out, *more)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"4 rows, 1 error (1 blank); in {out}\n"
    assert result.stderr == ""
    rows = rows_in(out)
    assert [row["id"] for row in rows] == ["1"] * 4
    for row, target in zip(rows[:3], (1, 0, 1), strict=True):
        assert row["label"] == str(target)
        assert_same(row, explainer.explain(row["text"], target=target, norm="word"))
    again = run(model, source, out, *more)
    assert (again.exit_code, again.stdout) == (0, f"already finished: {result.stdout}")
    other = run(model, source, out, *more, "--hash")
    assert other.exit_code == 1
    assert "hash was false and is true" in other.stderr
    assert other.stderr.count("\n") == 1
    strict = run(model, source, tmp_path / "strict", *more, "--strict")
    assert strict.exit_code == 1
    assert strict.stderr == "normxlogit: row 3 (row 3 of reviews.csv): review is blank\n"


def test_exit_codes(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines_of(data / "a.txt", TEXTS[:1])
    (data / "b.parquet").write_text("broken")
    result = run(model, data, tmp_path / "out")
    assert result.exit_code == 1
    assert "b.parquet" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout.startswith("1 row, 0 errors, files that could not be read: b.parquet;")
    assert run(model, data / "none.csv", tmp_path / "none").exit_code == 1
    assert run(model, data, tmp_path / "none", "--layer", "0").exit_code == 2
    assert run(model, data, tmp_path / "none", "--option", "x").exit_code == 2
    assert CliRunner().invoke(cli.app, ["corpus", str(data)]).exit_code == 2
    assert CliRunner().invoke(cli.app, ["corpus", "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("has", "dtype"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_auto_is_bfloat16_where_the_processor_has_it(
    has: dict[str, bool],
    dtype: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = lines_of(tmp_path / "reviews.txt", TEXTS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    result = run(model, source, tmp_path / "out", "--dtype", "auto", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert manifest_in(tmp_path / "out")["model"]["dtype"] == dtype
    half = Explainer.from_pretrained(str(model), dtype=dtype)
    for row in rows_in(tmp_path / "out"):
        expected = half.explain(row["text"].strip()).scores
        largest = np.abs(expected).max()
        np.testing.assert_allclose(row["token_scores"], expected, atol=0.05 * largest)


@pytest.mark.parametrize("total", [100, None])
def test_progress(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("normxlogit.data.progress.time.monotonic", lambda: now)
    written = {}
    for is_terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=100)
        monkeypatch.setattr(
            "normxlogit.data.progress.Console", lambda console=console, **_: console
        )
        with Meter(total, 20, 400, shown=True) as meter:
            now += 2
            meter.show(60, 1400)
            now += 0.5
        written[is_terminal] = file.getvalue()
    assert written[False] == ""
    assert "20 rows/s  500 tokens/s" in written[True]
    assert ("60/100" if total else "60/?") in written[True]
    assert ("0:00:01 left" in written[True]) is (total is not None)


def test_progress_in_steps_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("normxlogit.data.progress.time.monotonic", lambda: now)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("normxlogit.data.progress.Console", lambda **_: console)
    with Meter(96, 32, 0, shown=True) as meter:
        assert "-:--:-- left" in file.getvalue()
        now += 300
        meter.show(32 + 1.5, 6000)
    assert "33/96" in file.getvalue()
    assert "0.005 rows/s  20 tokens/s 3:28:20 left" in file.getvalue()


def test_progress_says_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("normxlogit.data.progress.Console", lambda **_: console)
    with Meter(96, 0, 0, shown=True) as meter:
        meter.show(96, 6000)
        before = len(file.getvalue())
        meter.say("timing the methods")
    *_, last = (line for line in file.getvalue()[before:].splitlines() if "96/96" in line)
    assert "timing the methods -:--:-- left" in last
    assert "rows/s" not in last


SLOW = """
from normxlogit.corpus import folder, shards
from normxlogit.tasks import fingerprint

shards.ROWS = 16
write = shards.Writer.write

def slowly(self, window):
    time.sleep(0.02)
    return write(self, window)

shards.Writer.write = slowly
"""


def test_killed_at_twenty_moments(model: Path, explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.parquet"
    texts = [f"{TEXTS[n % 7]} {n}" if n % 11 else None for n in range(2000)]
    pd.DataFrame({"text": texts}).to_parquet(source, row_group_size=50)

    def after(folder: str, times: int, seed: int) -> int:
        """How many shards there are after so many kills; without any, at the end."""
        arguments = command(model, source, tmp_path / folder, "--batch-size", "8")
        pattern = tmp_path / folder / "shard-*.parquet"
        return run_killed(arguments, pattern, times=times, seed=seed, patch=SLOW)

    out, whole = tmp_path / "out", tmp_path / "whole"
    assert 20 <= after("out", 20, 1) < 125
    assert manifest_in(out)["state"] == "unfinished"
    assert after("out", 0, 2) == after("whole", 0, 3) == 125
    assert rows_in(out) == rows_in(whole)
    assert [row["row"] for row in rows_in(out)] == list(range(2000))
    assert not [p for p in out.iterdir() if p.name.startswith(".") and p.name != ".lock"]
    assert_same(rows_in(out)[1999], explainer.explain(texts[1999]))


def test_one_run_at_a_time(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = lines_of(tmp_path / "reviews.txt", TEXTS[:6]), tmp_path / "out"
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
    source = lines_of(tmp_path / "reviews.txt", [f"one {n}" for n in range(300)])
    (path,) = explainer.corpus(source, tmp_path / "out", batch_size=1).shards
    metadata = pq.read_metadata(path)
    assert max(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) == 32
