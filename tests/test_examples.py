"""Notebooks, sample files and figures: what examples of the README and examples/ rest on."""

import csv
import importlib
import json
import shlex
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from normxlogit import Explainer, cli
from tests.helpers.documents import code_blocks
from tests.helpers.paths import ROOT
from tools import screenshot
from tools.check_messages import check, read
from tools.notebooks.cells import run_cell

notebooks = importlib.import_module("tools.notebooks.__main__")
NAMES = [source.stem for source in notebooks.SOURCES]


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of examples/, in a working directory that can be written to."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "examples"


def test_notebooks_are_those_that_the_script_makes() -> None:
    kept = {path.stem: path.read_text("utf-8") for path in (ROOT / "examples").glob("*.ipynb")}
    assert kept == {source.stem: notebooks.as_text(source) for source in notebooks.SOURCES}
    for text in kept.values():
        kinds = [cell["cell_type"] for cell in json.loads(text)["cells"]]
        assert kinds[0] == "markdown"
        assert kinds.count("code") >= 4


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.models if n == "generation" else ()) for n in NAMES],
)
def test_the_cells_of_a_notebook_run(
    name: str,
    examples: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(examples)
    names: dict[str, Any] = {}
    cells = json.loads((examples / f"{name}.ipynb").read_text("utf-8"))["cells"]
    shown = [
        run_cell("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"
    ]
    assert any(hasattr(value, "_repr_html_") and value._repr_html_() for value in shown)
    assert "nan" not in capsys.readouterr().out.split()


@pytest.mark.filterwarnings("ignore:Do not use it")  # a head that was fitted to sixty texts
@pytest.mark.usefixtures("examples")
def test_commands_of_the_readme_run_on_the_sample_files() -> None:
    """Line by line, in the order of the page; the first command and the tests have their own."""
    lines = [
        line
        for block in code_blocks("README.md", "sh")
        for line in block.splitlines()
        if line.startswith("normxlogit") and "evaluate" not in line
    ]
    assert sum("examples/" in line for line in lines) >= 3
    for line in lines:
        command, _, source = line.partition("<")
        given = Path(source.strip()).read_text("utf-8") if source else None
        result = CliRunner().invoke(cli.app, shlex.split(command)[1:], input=given)
        assert result.exit_code == 0, (line, result.output)
    assert Path("why.html").is_file()
    assert Path("reviews.head").is_file()
    assert "POSITIVE" in Path("summary.html").read_text("utf-8")


def test_the_reviews_can_be_evaluated(examples: Path) -> None:
    (line,) = [
        line
        for block in code_blocks("README.md", "sh")
        for line in block.splitlines()
        if line.startswith("normxlogit evaluate")
    ]
    few = ["--limit", "4", "--methods", "normxlogit,random", "--draws", "1"]
    result = CliRunner().invoke(cli.app, [*shlex.split(line)[1:], *few])
    assert result.exit_code == 0, result.output
    with (examples / "reviews.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["label"] for row in rows} == {"POSITIVE", "NEGATIVE"}


def test_a_chat_is_a_sample() -> None:
    chat = json.loads((ROOT / "examples/messages.json").read_text("utf-8"))
    assert [message["role"] for message in chat] == ["system", "user"]


def cells_of(page: str, section: str) -> dict[str, list[str]]:
    """The rows of the first table below a headline, by the first cell without its marks."""
    text = (ROOT / page).read_text("utf-8").split(f"\n{section}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].replace("`", "").strip(): [cell.strip(" *") for cell in row[1:]] for row in rows}


def test_figures_of_the_readme_are_those_of_their_pages() -> None:
    ours = cells_of("README.md", "## Which method when")
    times = cells_of("docs/cost-methods.md", "## MiniLM, 6 layers of 384")
    results = {
        name: row
        for preset in ("preset `corrected`", "a later method, preset `corrected`")
        for name, row in cells_of("docs/results.md", f"### Sentiment: SST-2, {preset}").items()
    }
    heads = cells_of("docs/attribution-head.md", "## What the figures mean")
    footnote = (ROOT / "README.md").read_text("utf-8").partition("¹ On")[2].partition("\n\n")[0]
    for name, (_, time, figure) in ours.items():
        if name == "attribution_head":
            assert heads[name][1].startswith(figure[:4])
            continue
        assert times[name.partition(",")[0]][0] == time
        assert results[name.replace('baseline="mask"', "mask")][1].startswith(figure)
    for name in ("late_lrp", "normxlogit"):
        assert f"`{name}` has {heads[name][1][:4]}" in footnote or (
            f"`{name}` {heads[name][1][:4]}" in footnote
        )


def test_the_picture_is_small() -> None:
    kept = screenshot.PICTURE.read_bytes()
    assert len(kept) < 200_000
    assert struct.unpack(">II", kept[16:24]) == screenshot.SIZE
    assert "](docs/figures/page.png)" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.browser
def test_the_picture_can_be_drawn_again(tmp_path: Path) -> None:
    screenshot.draw("<h1>a page</h1>", tmp_path / "page.png")
    drawn = (tmp_path / "page.png").read_bytes()
    assert struct.unpack(">II", drawn[16:24]) == screenshot.SIZE


def test_the_first_sentence_names_a_word_that_a_reader_would_name() -> None:
    """By the demo's head; the sentences and words were written before it was run on them."""
    explainer = Explainer.from_pretrained("demo", device="cpu", head="demo")
    rows = read("demo")
    checked = check(explainer, rows)
    assert len(checked) == 10
    for row, (sentence, _) in zip(rows, checked, strict=True):
        assert str(explainer.explain(row["text"])).partition("\n")[0].startswith(sentence[:60])
    assert sum(is_named for _, is_named in checked) >= 9
