"""A run's folder that was changed by hand is summed up, or is an error that says what is wrong."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normxlogit import Explainer, InputError, ModelError
from normxlogit.corpus import summary
from tests.helpers.corpora import read_manifest, run_corpus, write_signed_shard
from tests.helpers.mutations import mutate, places
from tests.helpers.tiny import tiny_classifier

ROWS = "text,label\none two,NEGATIVE\ngood plot,POSITIVE\n,NEGATIVE\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "rows.csv"
    path.write_text(ROWS)
    return path


@pytest.fixture(scope="module")
def whole(model: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "out"
    assert run_corpus(model, source, out, "--label", "label").exit_code == 0
    return out


def copied(whole: Path, folder: Path, manifest: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for shard in whole.glob("*.parquet"):
        (folder / shard.name).write_bytes(shard.read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_any_manifest_is_read_or_refused(whole: Path, tmp_path: Path) -> None:
    draw, refused = random.Random(0), 0
    for _ in range(400):
        manifest = read_manifest(whole)
        mutate(manifest, draw)
        try:
            findings = summary(copied(whole, tmp_path / "out", manifest))
        except InputError:
            refused += 1
            continue
        str(findings)
        findings.to_html()
    assert 50 < refused < 400


def test_a_manifest_with_a_missing_key_is_an_error_of_a_run_too(
    model: Path, source: Path, whole: Path, tmp_path: Path
) -> None:
    count = len(list(places(read_manifest(whole))))
    for number in range(count):
        manifest = read_manifest(whole)
        container, key = list(places(manifest))[number]
        del container[key]
        out = copied(whole, tmp_path / f"out-{number}", manifest)
        result = run_corpus(model, source, out, "--label", "label")
        assert result.exit_code in (0, 1)
        assert "--debug" not in result.stderr, key


def test_any_note_of_a_shard_is_read_or_refused(whole: Path, tmp_path: Path) -> None:
    draw, out = random.Random(1), copied(whole, tmp_path / "out", read_manifest(whole))
    (shard,) = out.glob("*.parquet")
    table = pq.read_table(shard)
    original = json.loads(pq.read_metadata(shard).metadata[b"normxlogit.shard"])
    for _ in range(200):
        note = json.loads(json.dumps(original))
        mutate(note, draw)
        write_signed_shard(shard, table, json.dumps(note).encode())
        try:
            str(summary(out))
        except InputError:
            continue


@pytest.mark.parametrize("column", ["prediction", "target_value", "words", "word_scores"])
def test_records_that_lack_a_value_are_refused(column: str, whole: Path, tmp_path: Path) -> None:
    out = copied(whole, tmp_path / "out", read_manifest(whole))
    (shard,) = out.glob("*.parquet")
    table, note = pq.read_table(shard), pq.read_metadata(shard).metadata[b"normxlogit.shard"]
    rows = table.to_pylist()
    rows[0][column] = rows[0][column][:1] if "word" in column else None
    broken = pa.Table.from_pylist(rows, table.schema)
    write_signed_shard(shard, broken, note)
    with pytest.raises(InputError, match=r"shard-00000\.parquet: a row .* lacks a value"):
        summary(out)
    write_signed_shard(shard, broken.drop_columns([column]), note)
    with pytest.raises(InputError, match=r"shard-00000\.parquet is not a whole shard"):
        summary(out)


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000, "null", '{"schema": NaN}', "\xff"])
def test_json_that_readers_choke_on(content: str, whole: Path, tmp_path: Path) -> None:
    out = copied(whole, tmp_path / "out", {})
    (out / "manifest.json").write_text(content, "latin-1")
    with pytest.raises(InputError, match=r"manifest\.json"):
        summary(out)


def test_labels_that_no_file_can_hold(source: Path, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "model", labels=("a\ud800", "b"))
    explainer = Explainer.from_pretrained(str(folder))
    assert "a\ufffd" in str(explainer.explain("one", target=0))
    with pytest.raises(ModelError, match="half a surrogate pair"):
        explainer.corpus(source, tmp_path / "out")
