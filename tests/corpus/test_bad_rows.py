"""Rows and files that cannot be read are errors of these rows and files, and of no other."""

import json
import os
import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normxlogit import (
    Explainer,
    InputError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.corpus import shards
from normxlogit.corpus.ray import pack_error, unpack_error
from normxlogit.data.formats import FORMATS
from normxlogit.data.rows import BrokenFileError
from tests.helpers.corpora import (
    TEXTS,
    WRITERS,
    assert_row_explains,
    error_kinds,
    read_manifest,
    read_shards,
    write_csv,
    write_lines,
    write_plain_lines,
)


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
    rows = read_shards(tmp_path / "out")
    assert len(rows) == 13
    assert error_kinds(rows) == {
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
    assert read_manifest(tmp_path / "out")["counts"]["errors"] == summary.errors
    assert [rows[0]["id"], rows[1]["id"], rows[12]["id"]] == ["1", "2", "1"]
    assert rows[10]["text"] == long
    assert "25002 tokens" in rows[10]["error"]
    assert_row_explains(rows[12], explainer.explain("two"))
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
    rows = read_shards(tmp_path / "out")
    assert error_kinds(rows) == {1: "undecodable", 3: "undecodable", 7: "undecodable"}
    texts = ["café", None, "one\ntwo", None, "one\x0btwo", "café", "one", None]
    assert [row["text"] for row in rows] == texts


def test_names_that_are_not_utf8(explainer: Explainer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_bytes(b"caf\xe9\none\n")
    (data / "b.jsonl").write_text('{"text": "one"}\n{"\\ud800": "one"}\n')
    Path(os.fsdecode(os.fsencode(data) + b"/c\xe9.txt")).write_text("two\n")
    explainer.corpus(data, tmp_path / "out")
    rows = read_shards(tmp_path / "out")
    assert [row["text"] for row in rows] == ["one", None, "two"]
    assert [row["file"] for row in rows] == ["b.jsonl", "b.jsonl", "c?.txt"]
    assert explainer.corpus(data, tmp_path / "out").was_finished


def test_broken_rows_of_a_csv(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text(
        'a,text\n1,one\n2\n3,two,three\n\n4,"four"x\n5,five\n6,"never closed\n7,seven\n'
    )
    explainer.corpus(source, tmp_path / "out")
    rows = read_shards(tmp_path / "out")
    assert [row["text"] for row in rows] == ["one", None, None, None, "five", None]
    assert error_kinds(rows) == dict.fromkeys((1, 2, 3, 5), "broken_row")
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
        there = "text" if end == ".txt" else "text, stars"
        with pytest.raises(InputError, match=f"reviews{end} has no column 'review'.*: {there}"):
            explainer.corpus(source, tmp_path / "out", text="review")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_broken_files(explainer: Explainer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.parquet").write_bytes(b"PAR1 is how it begins")
    write_csv(data / "b.csv", pd.DataFrame({"review": TEXTS}))
    write_csv(data / "c.csv", pd.DataFrame({"text": TEXTS}))
    write_plain_lines(data / "d.txt", pd.DataFrame({"text": TEXTS}))
    (data / "e.txt").write_bytes("one".encode("utf-16"))
    write_csv(data / "f.csv", pd.DataFrame([TEXTS[:2]] * 2, columns=["text", "text"]))
    (data / "README.md").write_text("what it is")
    (data / ".hidden.csv").write_text("x")
    summary = explainer.corpus(data, tmp_path / "out")
    assert list(summary.broken) == ["a.parquet", "b.csv", "e.txt", "f.csv"]
    assert "no column 'text'" in summary.broken["b.csv"]
    assert "UTF-16" in summary.broken["e.txt"]
    assert "has 2 columns 'text'" in summary.broken["f.csv"]
    assert summary.ignored == ("README.md",)
    rows = read_shards(tmp_path / "out")
    assert [row["file"] for row in rows] == ["c.csv"] * 7 + ["d.txt"] * 7
    assert [row["row"] for row in rows] == list(range(14))
    manifest = read_manifest(tmp_path / "out")
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
    write_lines(data / "b.txt", ["two"])
    source = open_source_rows(data)
    assert len(source) == 2001
    assert source[-1] == "two"


def open_source_rows(folder: Path) -> list[str | None]:
    """The texts of a folder, and a check of what it notes of files that break off."""
    from normxlogit.data.rows import Columns
    from normxlogit.data.source import open_source

    source = open_source(folder, subset=None, split=None)
    found = [row.text for row in source.rows(Columns(), strict=False)]
    assert "after 2000 rows" in source.broken["a.parquet"]
    return found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BrokenFileError("cannot read a.csv: it is UTF-16"), InputError),
        (OptionError("there is no layer 9"), OptionError),
        (UnsupportedHeadError("not of one token"), UnsupportedHeadError),
    ],
)
def test_a_worker_sends_its_error(error: NormXLogitError, kind: type[NormXLogitError]) -> None:
    received = unpack_error(json.loads(json.dumps(pack_error(error))))
    assert (type(received), str(received)) == (kind, str(error))
