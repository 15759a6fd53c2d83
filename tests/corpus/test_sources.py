"""Sources of texts: files of every format, iterables and data sets, each row once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normxlogit import (
    Explainer,
    InputError,
    OptionError,
)
from normxlogit.corpus import Kind
from normxlogit.data.formats import FORMATS
from normxlogit.data.source import Source, Split, open_dataset
from tests.helpers.corpora import (
    TEXTS,
    WRITERS,
    assert_row_explains,
    mark_unfinished,
    read_manifest,
    read_shards,
    write_lines,
)


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
    rows = read_shards(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(len(TEXTS)))
    texts = [text.replace("\n", " ") for text in TEXTS] if end == ".txt" else TEXTS
    for row, text in zip(rows, texts, strict=True):
        assert row["text"] == text
        assert row["file"] == source.name
        assert_row_explains(row, explainer.explain(text))
    assert source.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".lock",
        "manifest.json",
        "shard-00000.parquet",
    ]


def test_the_iterator_has_the_same_and_writes_nothing(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*TEXTS[:3], "", TEXTS[3]])
    found = list(explainer.corpus(source))
    assert [e.row.number for e in found] == [0, 1, 2, 3, 4]
    assert found[3].bad is not None
    assert found[3].bad.kind is Kind.BLANK
    for explained in found[:3]:
        assert explained.attribution is not None
        text = explained.row.text
        assert text is not None
        expected = explainer.explain(text)
        np.testing.assert_allclose(explained.attribution.scores, expected.scores, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.txt"]


@pytest.mark.parametrize("make", [list, iter])
def test_texts_and_mappings_are_sources(make: Callable[[Any], Any], explainer: Explainer) -> None:
    plain = list(explainer.corpus(make(TEXTS)))
    named = list(explainer.corpus(make([{"t": text, "k": 7} for text in TEXTS]), text="t", id="k"))
    for one, other, text in zip(plain, named, TEXTS, strict=True):
        assert one.attribution is not None
        assert other.attribution is not None
        assert one.row.text == other.row.text == text
        assert (one.row.id, other.row.id) == (None, "7")
        np.testing.assert_array_equal(one.attribution.scores, other.attribution.scores)


def pandas_frame(columns: dict[str, list[Any]]) -> Any:
    return pd.DataFrame(columns, index=range(7, 7 + len(columns["t"])))


def polars_frame(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_data_frames_are_sources(make: Callable[[Any], Any], explainer: Explainer) -> None:
    frame = make({"n": [1, 2, None, 4], "t": ["one", None, "two three", "  "], "u": [1, 2, 3, 4]})
    explained = list(explainer.corpus(frame, text="t", id="u", label="n"))
    assert [e.row.text for e in explained] == ["one", None, "two three", "  "]
    assert [e.bad and e.bad.kind for e in explained] == [None, Kind.NULL, None, Kind.BLANK]
    assert [e.row.id for e in explained] == ["1", "2", "3", "4"]
    assert explained[2].row.label is None
    assert explained[2].attribution is not None
    expected = explainer.explain("two three")
    np.testing.assert_allclose(explained[2].attribution.scores, expected.scores, atol=1e-5)
    with pytest.raises(InputError, match="the DataFrame is empty: it has no column, and 'text'"):
        explainer.corpus(pd.DataFrame())
    with pytest.raises(InputError, match=r"DataFrame has no column 'text'\. Its columns: n, t, u"):
        explainer.corpus(frame)


def test_a_data_frame_with_two_columns_of_a_name(explainer: Explainer) -> None:
    frame = pd.DataFrame([["one", "two"]], columns=["text", "text"])
    with pytest.raises(InputError, match="DataFrame has 2 columns 'text'"):
        explainer.corpus(frame)


class ColumnsOnly:
    """A table that iterates over the names of its columns, and has no rows to offer."""

    columns = ("text", "label")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


def test_what_iterates_over_names_is_refused(explainer: Explainer) -> None:
    splits = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": ["one"]}) for name in ("train", "test")}
    )
    sources: dict[str, tuple[Any, str]] = {
        "DatasetDict": (splits, "train, test"),
        "dict": ({"text": ["one"], "label": [1]}, "text, label"),
        "ColumnsOnly": (ColumnsOnly(), "text, label"),
    }
    for kind, (source, names) in sources.items():
        message = f"{kind} gives names, {names}.*Give one of these parts"
        for use in (explainer.corpus, partial(explainer.evaluate, operator="remove")):
            with pytest.raises(InputError, match=message):
                use(source)
        # What has columns is a table, of which one column may be meant.
        if kind != "dict":
            message = f"{kind} is a table with columns: {names}. Give the one that holds the texts"
        for read in (explainer.stream, explainer.token_counts):
            with pytest.raises(InputError, match=message):
                read(source)
    with pytest.raises(InputError, match="DataFrame is a table with columns: text"):
        explainer.stream(pd.DataFrame({"text": ["one"]}))
    rows = list(explainer.corpus(splits["train"]))
    assert [row.row.text for row in rows] == ["one"]


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

    found = explainer.corpus(texts())
    assert next(found).row.text == "one"
    with pytest.raises(RuntimeError, match="the source"):
        next(found)


@pytest.mark.parametrize("end", [".csv", ".tsv", ".parquet"])
def test_two_columns_of_a_name(end: str, explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / f"reviews{end}"
    if end == ".parquet":
        pq.write_table(pa.table([["one"], ["two"], ["a"]], names=["text", "text", "a"]), source)
    else:
        source.write_text("text,text,a\none,two,a\n".replace(",", "\t" if end == ".tsv" else ","))
    for output in (None, tmp_path / "out"):
        with pytest.raises(InputError, match=f"reviews{end} has 2 columns 'text'"):
            explainer.corpus(source, output)
    assert not (tmp_path / "out").exists()
    unread = explainer.corpus(source, tmp_path / "out", text="a")
    assert (unread.rows, unread.broken) == (1, {})


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
    rows = read_shards(tmp_path / "out")
    assert [row["text"] for row in rows] == [*texts, "two", None]
    assert [row["file"] for row in rows] == ["train"] * 25 + ["test"] * 2
    assert summary.errors == {"null": 1}
    for path in summary.shards[1:]:
        Path(path).unlink()
    mark_unfinished(tmp_path / "out")
    explainer.corpus("someone/reviews", tmp_path / "out", id="n")
    assert read_shards(tmp_path / "out") == rows
    explainer.corpus("someone/reviews", tmp_path / "test", split="test")
    assert [row["text"] for row in read_shards(tmp_path / "test")] == ["two", None]
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
    made = Source([Split("train", Flaky(), 25)], {"dataset": "reviews"})
    monkeypatch.setattr("normxlogit.data.source.open_dataset", lambda *_, **__: made)
    with pytest.raises(InputError, match="cannot read on in train: the line is dead"):
        explainer.corpus("reviews", tmp_path / "out")
    assert read_manifest(tmp_path / "out")["counts"]["rows"] == 10
    assert explainer.corpus("reviews", tmp_path / "out").broken == {}
    assert [row["text"] for row in read_shards(tmp_path / "out")] == [f"one {n}" for n in range(25)]
