"""The command `corpus`: its shards, exit codes and choice of dtype."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from normxlogit import Explainer, cli
from tests.helpers.corpora import (
    TEXTS,
    assert_row_explains,
    read_manifest,
    read_shards,
    run_corpus,
    write_csv,
    write_lines,
)


@pytest.fixture(scope="module")
def explainer(model: Path) -> Explainer:
    return Explainer.from_pretrained(str(model))


def test_the_command(model: Path, explainer: Explainer, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    texts = [*TEXTS[:3], "  "]
    write_csv(source, pd.DataFrame({"review": texts, "id": 1, "stars": [1, 0, 1, 0]}))
    out = tmp_path / "out"
    more = ["--text", "review", "--id", "id", "--label", "stars"]
    more += ["--target", "column:stars", "--option", "norm=word"]
    result = run_corpus(model, source, out, *more)
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"4 rows, 1 error (1 blank); in {out}\nTo see what is in it: normxlogit summary {out}\n"
    )
    assert result.stderr == ""
    rows = read_shards(out)
    assert [row["id"] for row in rows] == ["1"] * 4
    for row, target in zip(rows[:3], (1, 0, 1), strict=True):
        assert row["label"] == str(target)
        assert_row_explains(row, explainer.explain(row["text"], target=target, norm="word"))
    again = run_corpus(model, source, out, *more)
    assert (again.exit_code, again.stdout) == (0, f"already finished: {result.stdout}")
    other = run_corpus(model, source, out, *more, "--hash")
    assert other.exit_code == 1
    assert "hash was false and is true" in other.stderr
    assert other.stderr.count("\n") == 1
    strict = run_corpus(model, source, tmp_path / "strict", *more, "--strict")
    assert strict.exit_code == 1
    assert strict.stderr == "normxlogit: row 3 (row 3 of reviews.csv): review is blank\n"


def test_exit_codes(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_lines(data / "a.txt", TEXTS[:1])
    (data / "b.parquet").write_text("broken")
    result = run_corpus(model, data, tmp_path / "out")
    assert result.exit_code == 1
    assert "b.parquet" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout.startswith("1 row, 0 errors, files that could not be read: b.parquet;")
    assert run_corpus(model, data / "none.csv", tmp_path / "none").exit_code == 1
    assert run_corpus(model, data, tmp_path / "none", "--layer", "0").exit_code == 2
    assert run_corpus(model, data, tmp_path / "none", "--option", "x").exit_code == 2
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
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    result = run_corpus(model, source, tmp_path / "out", "--dtype", "auto", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "out")["model"]["dtype"] == dtype
    half = Explainer.from_pretrained(str(model), dtype=dtype)
    for row in read_shards(tmp_path / "out"):
        expected = half.explain(row["text"].strip()).scores
        largest = np.abs(expected).max()
        np.testing.assert_allclose(row["token_scores"], expected, atol=0.05 * largest)
