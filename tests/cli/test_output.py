"""Where commands write, in which format, and what their tables and pages show of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from normxlogit import cli
from normxlogit.cli import tables, terminal
from normxlogit.cli.options import SUFFIXES, Format, find_format
from normxlogit.show.dispatch import page, plain
from normxlogit.show.phrases import without_folders
from normxlogit.show.terminal import column_blocks
from tests.helpers.results import word_attribution


def test_the_name_of_the_output_implies_the_format(model: Path, tmp_path: Path) -> None:
    contents = {
        "why.html": "<!DOCTYPE html>.*</html>\n",
        "why.JSON": r'\{.*"kind": "text".*\}\n',
        "why.jsonl": r'\{.*"kind": "text".*\}\n',
        "why": r"[A-Z]+ \d.*\n\+ supports .*\n",
    }
    for name, content in contents.items():
        file = tmp_path / name
        arguments = ["explain", "--model", str(model), "good bad", "--output", str(file)]
        result = CliRunner().invoke(cli.app, arguments)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"Wrote {file}\n"
        assert re.fullmatch(content, file.read_text("utf-8"), re.DOTALL)


def test_a_format_that_is_named_comes_first() -> None:
    assert find_format(Format.TEXT, Path("why.html")) is Format.TEXT
    assert find_format(None, None) is Format.TEXT
    for suffix, implied in SUFFIXES.items():
        assert find_format(None, Path(f"why{suffix}")) is implied


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("demo", "demo"),
        ("owner/model", "owner/model"),
        ("/home/someone/secret/model", "model"),
        ("/home/someone/secret/model/", "model"),
        ("./model", "model"),
        ("~/model", "model"),
        ("a/b/model", "model"),
        ("s3://bucket/secret/run", "run"),
        (r"C:\Users\someone\model", "model"),
    ],
)
def test_pages_and_terminals_show_no_path(given: str, shown: str) -> None:
    assert without_folders(given) == shown
    result = word_attribution("good bad", [1, -1], model=given)
    assert plain(result).rstrip().endswith(f"model {shown}")
    html = page([result])
    assert "someone" not in html
    assert "secret" not in html
    assert result.to_dict()["provenance"]["model"] == given


@pytest.mark.parametrize(
    ("widths", "room", "counts"),
    [
        ([10] * 6, 58, [3, 3]),  # of which five would fit
        ([10] * 7, 58, [4, 3]),
        ([30, 5, 5, 5], 40, [1, 3]),
        ([10] * 6, 70, [6]),
        ([90, 6, 6], 20, [1, 2]),
        ([6, 6], -3, [1, 1]),
        ([], 20, []),
    ],
)
def test_blocks_of_columns_are_balanced(widths: list[int], room: int, counts: list[int]) -> None:
    blocks = column_blocks(widths, room, 2)
    assert [len(block) for block in blocks] == counts
    assert [n for block in blocks for n in block] == list(range(len(widths)))


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_figure_of_a_table_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(width=width, color_system=None)
    monkeypatch.setattr(terminal, "console", lambda **_: console)
    random = np.random.default_rng(0)
    headers = ["method", *(f"metric {n} ↑" for n in range(8)), "cost"]
    rows = [
        [f"method:{n}", *(f"{value:.3f} [0.100, 0.200] =" for value in random.random(8)), "1.04"]
        for n in range(3)
    ]
    tables.print_figures(headers, rows)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    for cell in [*headers, *(cell for row in rows for cell in row)]:
        assert cell in printed
    blocks = printed.split("\n\n")
    assert all(block.split()[0] == "method" for block in blocks)
