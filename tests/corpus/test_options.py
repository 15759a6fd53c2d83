"""Every head and option of `explain` in a corpus, row by row."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normxlogit import Attribution, Explainer, ModelError, OptionError
from normxlogit.tasks.batches import Texts
from tests.helpers.corpora import (
    TEXTS,
    assert_row_explains,
    error_kinds,
    read_manifest,
    read_shards,
    write_lines,
)
from tests.helpers.models import causal_lm, explainer_with_head, token_classifier


def test_pairs(explainer: Explainer, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": TEXTS[:3], "b": [TEXTS[4], None, TEXTS[5]]})
    frame.to_parquet(tmp_path / "pairs.parquet")
    explainer.corpus(tmp_path / "pairs.parquet", tmp_path / "out", text="a", pair="b")
    rows = read_shards(tmp_path / "out")
    assert error_kinds(rows) == {1: "null"}
    assert rows[1]["text"] == TEXTS[1]
    for n in (0, 2):
        assert rows[n]["pair"] == frame["b"][n]
        assert_row_explains(rows[n], explainer.explain((frame["a"][n], frame["b"][n])))
        assert set(rows[n]["segments"]) == {-1, 0, 1}


HEADS: dict[str, Callable[[], Explainer]] = {
    "tags": token_classifier,
    "an answer": lambda: explainer_with_head("bert", "question-answering"),
    "the word at a mask": lambda: explainer_with_head("bert", "masked-lm"),
    "the next token": causal_lm,
}


@pytest.mark.parametrize("head", HEADS)
def test_other_heads(head: str, tmp_path: Path) -> None:
    explainer = HEADS[head]()
    is_pair, is_mask = head == "an answer", "mask" in head
    texts = [f"{text} <mask>" if is_mask else text for text in TEXTS[:3]]
    source = tmp_path / "texts.parquet"
    pd.DataFrame({"text": texts, "context": TEXTS[1:4]}).to_parquet(source)
    summary = explainer.corpus(source, tmp_path / "out", pair="context" if is_pair else None)
    rows = read_shards(tmp_path / "out")
    assert summary.errors == {}
    for n, text in enumerate(texts):
        a = explainer.explain((text, TEXTS[n + 1]) if is_pair else text)
        own = [row for row in rows if row["row"] == n]
        assert [row["target_position"] for row in own] == [t.position for t in a.targets]
        for number, row in enumerate(own):
            assert_row_explains(row, a, number)


def test_all_targets(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [TEXTS[0], "", TEXTS[1]])
    summary = explainer.corpus(source, tmp_path / "out", target="all")
    rows = read_shards(tmp_path / "out")
    assert [row["row"] for row in rows] == [0, 0, 1, 2, 2]
    assert (summary.rows, summary.records) == (3, 5)
    for row, n in zip([*rows[:2], *rows[3:]], (0, 1, 0, 1), strict=True):
        assert_row_explains(row, explainer.explain(row["text"], target="all"), n)


def test_the_target_of_each_row(explainer: Explainer, tmp_path: Path) -> None:
    targets = ["POSITIVE", "NEGATIVE", "positive", "0", None, "SOLID", "NEGATIVE"]
    source = tmp_path / "reviews.parquet"
    pd.DataFrame({"text": TEXTS, "gold": targets}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", target="column:gold", label="gold")
    rows = read_shards(tmp_path / "out")
    assert error_kinds(rows) == {4: "target", 5: "target"}
    assert "SOLID" in rows[5]["error"]
    for row, target in zip(rows, targets, strict=True):
        assert row["label"] == target
        if row["error"] is None:
            assert_row_explains(row, explainer.explain(row["text"], target=target))
    with pytest.raises(OptionError, match="stands alone"):
        explainer.corpus(source, target=["column:gold", "POSITIVE"])


def test_numbers_as_targets(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.parquet"
    pd.DataFrame({"text": TEXTS[:4], "gold": [1, 0, None, 7]}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", target="column:gold")
    rows = read_shards(tmp_path / "out")
    assert [row["target"] for row in rows] == ["POSITIVE", "NEGATIVE", None, None]
    assert error_kinds(rows) == {2: "target", 3: "target"}


def test_options_reach_the_explainer(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*TEXTS[:2], "one two three " * 40])
    how: dict[str, Any] = {
        "target": "POSITIVE",
        "contrast": "NEGATIVE",
        "readout": "logprob",
        "layer": 1,
        "long": "window",
        "norm": "word",
    }
    explainer.corpus(source, tmp_path / "out", **how)
    for row in read_shards(tmp_path / "out"):
        assert_row_explains(row, explainer.explain(row["text"].strip(), **how))
    options = read_manifest(tmp_path / "out")["options"]
    assert {**options, **options["options"]}.items() >= how.items()


def test_hashes_take_the_place_of_texts(explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "pairs.parquet"
    pd.DataFrame({"text": TEXTS, "other": TEXTS[::-1]}).to_parquet(source)
    explainer.corpus(source, tmp_path / "out", pair="other", hash=True)
    for row, text, other in zip(read_shards(tmp_path / "out"), TEXTS, TEXTS[::-1], strict=True):
        assert row["text"] is row["pair"] is None
        assert row["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["pair_sha256"] == hashlib.sha256(other.encode()).hexdigest()


def test_blank_texts_have_hashes(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", ["one", "  "])
    explainer.corpus(source, tmp_path / "out", hash=True)
    rows = read_shards(tmp_path / "out")
    assert error_kinds(rows) == {1: "blank"}
    assert rows[1]["text_sha256"] == hashlib.sha256(b"  ").hexdigest()


def test_float16(explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS[:2])
    explainer.corpus(source, tmp_path / "out", float16=True)
    schema = pq.read_schema(tmp_path / "out" / "shard-00000.parquet")
    assert schema.field("token_scores").type == pa.list_(pa.float16())
    for row in read_shards(tmp_path / "out"):
        expected = explainer.explain(row["text"]).scores
        np.testing.assert_array_equal(np.float16(expected), np.float16(row["token_scores"]))
    explain = Texts.explain

    def large(self: Texts, *arguments: Any) -> Any:
        found = explain(self, *arguments)
        first = found[0]
        assert isinstance(first, Attribution)
        first.scores[1] = 1e6
        return found

    monkeypatch.setattr(Texts, "explain", large)
    explainer.corpus(source, tmp_path / "large", float16=True)
    rows = read_shards(tmp_path / "large")
    assert list(error_kinds(rows).values()) == ["overflow"]
    assert sum(row["token_scores"] is None for row in rows) == 1


def test_models_that_read_no_text(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    from normxlogit.tasks import Task

    monkeypatch.setattr(explainer, "task", Task.IMAGE)
    with pytest.raises(ModelError, match="image-classification"):
        explainer.corpus(TEXTS)


def test_options_that_do_not_exist(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
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
