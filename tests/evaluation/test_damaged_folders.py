"""An evaluation's folder that was changed by hand is read, or is an error that says why not."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from normxlogit.cli.evaluation_tables import print_evaluation
from normxlogit.data.plain import Plain
from normxlogit.errors import InputError
from normxlogit.evaluation.finished import check_results
from normxlogit.evaluation.run import Evaluation
from tests.helpers.evaluation import run_evaluate, write_reviews
from tests.helpers.mutations import mutate, places


@pytest.fixture(scope="module")
def usual(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    data = write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv", 4)
    usual = ["-m", model, "--data", data, "--label", "label", "--operator", "unk", "--draws", "2"]
    return [*usual, "--methods", "norm,random"]


@pytest.fixture(scope="module")
def whole(usual: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("evaluations") / "out"
    assert run_evaluate(*usual, "-o", out).exit_code == 0
    return out


def assert_said(result: Any, name: str) -> None:
    """Assert that a command ended well, or by one line that names the file."""
    if result.exit_code == 0:
        assert "The report: " in result.stdout
        return
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--debug" not in result.stderr, result.stderr
    assert name in result.stderr or "other settings" in result.stderr


@pytest.mark.parametrize("name", ["results.json", "cost.json", "settings.json"])
def test_any_change_to_a_file_is_read_or_refused(
    name: str, usual: list[Any], whole: Path, tmp_path: Path
) -> None:
    out, draw = tmp_path / "out", random.Random(name)
    shutil.copytree(whole, out)
    original = json.loads((whole / name).read_text("utf-8"))
    for _ in range(12):
        data = json.loads(json.dumps(original))
        mutate(data, draw)
        (out / name).write_text(json.dumps(data))
        assert_said(run_evaluate(*usual, "-o", out), name)
    for content in ("", "[" * 100_000, "[]", "{}"):
        (out / name).write_text(content)
        result = run_evaluate(*usual, "-o", out)
        assert result.exit_code == 1
        assert_said(result, name)


def test_results_without_any_one_key_are_read_or_refused(whole: Path) -> None:
    text = (whole / "results.json").read_text("utf-8")
    costs = json.loads((whole / "cost.json").read_text("utf-8"))
    scores = pq.read_table(whole / "scores.parquet")
    refused = 0
    for number in range(len(list(places(json.loads(text))))):
        results = json.loads(text)
        container, key = list(places(results))[number]
        del container[key]
        try:
            check_results(Plain(results, "results.json", "No."))
        except InputError:
            refused += 1
            continue
        print_evaluation(Evaluation(results, scores, costs, whole))
    assert refused > 20


def test_scores_that_are_not_whole(usual: list[Any], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    path = out / "scores.parquet"
    table, content = pq.read_table(path), path.read_bytes()
    pq.write_table(table.drop_columns(["method"]), path)
    other = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], other, None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        result = run_evaluate(*usual, "-o", out)
        assert result.exit_code == 1
        assert_said(result, "scores.parquet")


def test_parts_that_are_not_whole(usual: list[Any], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "results.json").unlink()
    (out / ".parts").mkdir()
    part = out / ".parts" / "000000.parquet"
    table = pq.read_table(whole / "scores.parquet").replace_schema_metadata()
    for note in (None, b"{}", b"[", b"[]", b'{"gold": 1}'):
        metadata = {} if note is None else {b"normxlogit": note}
        pq.write_table(table.replace_schema_metadata(metadata), part)
        result = run_evaluate(*usual, "-o", out)
        assert result.exit_code == 1
        assert_said(result, "part")
    part.write_bytes(b"PAR1")
    assert_said(run_evaluate(*usual, "-o", out), "000000.parquet")


@pytest.mark.parametrize(
    "content", ["[" * 20_000, "seed: !!int x", "a: 2024-99-99", "a: !!bool x", "a: !!timestamp x"]
)
def test_yaml_that_its_reader_chokes_on(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(content)
    result = run_evaluate("--config", tmp_path / "c.yaml", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "is not valid YAML" in result.stderr
