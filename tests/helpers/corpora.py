"""Files of texts, and the folders of shards that are written for them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from normxlogit import Attribution, cli

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


def read_shards(folder: Path) -> list[dict[str, Any]]:
    """All rows of a folder of shards."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


def read_manifest(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return data


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def error_kinds(rows: list[dict[str, Any]]) -> dict[int, str]:
    """The kind of error of each row that has one."""
    return {row["row"]: row["error_kind"] for row in rows if row["error"] is not None}


def assert_row_explains(row: dict[str, Any], a: Attribution, number: int = 0) -> None:
    """Assert that a row of a shard has the explanation of its text, for target `number`."""
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


def assert_rows_close(row: dict[str, Any], other: dict[str, Any]) -> None:
    """Assert that rows of two processes, which may add up in another order, are the same."""
    for name, value in row.items():
        if name.endswith(("scores", "value")) and value is not None:
            np.testing.assert_allclose(value, other[name], atol=1e-5)
        else:
            assert value == other[name]


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path, row_group_size=3)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def write_json_lines(path: Path, frame: pd.DataFrame) -> None:
    records = frame.to_dict("records")
    path.write_text("".join(f"{json.dumps(r)}\n" for r in records), "utf-8")


def write_plain_lines(path: Path, frame: pd.DataFrame) -> None:
    write_lines(path, [text.replace("\n", " ") for text in frame["text"]])


WRITERS: dict[str, Callable[[Path, pd.DataFrame], None]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
    ".tsv": write_csv,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".txt": write_plain_lines,
}


def mark_unfinished(folder: Path) -> None:
    """Make a finished run look like one that was stopped."""
    data = read_manifest(folder) | {"state": "unfinished"}
    (folder / "manifest.json").write_text(json.dumps(data))


class StopError(Exception):
    """Raised by tests to stop a run in its midst."""


def corpus_command(model: Path, source: Path, out: Path, *more: str) -> list[str]:
    usual = ["corpus", str(source), "--model", str(model), "--output", str(out)]
    return [*usual, "--dtype", "float32", *more]


def run_corpus(model: Path, source: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(cli.app, corpus_command(model, source, out, *more))


SLOW_WRITING = """
from normxlogit.corpus import folder, shards
from normxlogit.tasks import fingerprint

shards.ROWS = 16
write = shards.Writer.write

def slowly(self, window):
    time.sleep(0.02)
    return write(self, window)

shards.Writer.write = slowly
"""
"""Code to run before a command: small shards, written slowly enough to be stopped in between."""


def write_mixed_folder(folder: Path) -> Path:
    """Write files of several formats, two of them broken, and some rows that are bad."""
    folder.mkdir()
    texts: list[Any] = [f"{TEXTS[n % 7]} {n}" if n % 9 else None for n in range(83)]
    frame = pd.DataFrame({"text": texts, "id": range(83), "label": "POSITIVE"})
    frame[:25].to_parquet(folder / "a.parquet", row_group_size=4)
    (folder / "b.parquet").write_text("PAR1 is how it begins")
    frame[25:50].to_csv(folder / "c.csv", index=False)
    lines = [json.dumps(record) for record in frame[50:].to_dict("records")]
    lines += [
        "[]",
        json.dumps({"text": "one " * 100, "label": 1}),
        json.dumps({"text": "half \ud800"}),
    ]
    (folder / "d.jsonl").write_text("\n".join(lines))
    (folder / "e.csv").write_text("nothing\n1\n")
    return folder


def assert_same_output(folder: Path, expected: Path) -> None:
    """Assert that two folders have the same rows, shards of the same names, and manifests."""
    ours, theirs = read_shards(folder), read_shards(expected)
    assert [row["row"] for row in ours] == [row["row"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert_rows_close(row, other)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in expected.iterdir())
    for name in names:
        if name.endswith(".parquet"):
            lengths = [pq.read_metadata(path / name).num_rows for path in (folder, expected)]
            assert lengths[0] == lengths[1]
    manifest, expected_manifest = (read_manifest(path) for path in (folder, expected))
    del manifest["run"], expected_manifest["run"]
    assert manifest == expected_manifest


def write_signed_shard(path: Path, table: pa.Table, note: bytes) -> None:
    """Write a shard that holds what its digest says, with any records and any note."""
    digest = b""
    for _ in range(2):  # what stands before the footer does not depend on what is in it
        metadata = {b"normxlogit.shard": note, b"normxlogit.sha256": digest}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        footer = pq.read_metadata(path).serialized_size + 8
        digest = hashlib.sha256(path.read_bytes()[:-footer] + note).hexdigest().encode()
