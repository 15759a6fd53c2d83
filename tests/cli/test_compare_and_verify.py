"""`normxlogit explain` with several methods, and with --verify."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from normxlogit import Attribution, Explainer, cli

TEXT = "A great movie with poor performers."
METHODS = "normxlogit, occlusion,attribution_head"


def explain(model: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["explain", "--model", str(model), *map(str, arguments)])


def test_several_methods_are_a_comparison(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(model.parent)
    name = Path(model.name)
    explainer = Explainer.from_pretrained(model.name)
    methods = ["normxlogit", "occlusion", "attribution_head"]
    compared = explainer.compare(TEXT, methods, target="NEGATIVE")
    options = ("--method", METHODS, "--target", "NEGATIVE")
    assert explain(name, TEXT, *options).stdout.split() == str(compared).split()
    data = json.loads(explain(name, TEXT, *options, "--format", "json").stdout)
    assert data == json.loads(json.dumps(compared.to_dict()))
    page = tmp_path / "page.html"
    result = explain(name, TEXT, "Bad.", "", *options, "--format", "html", "--output", page)
    assert result.exit_code == 1
    assert result.stderr == (
        "normxlogit: text 3: the text is empty or blank, so there is nothing to explain.\n"
        f"Wrote {page}\n"
    )
    assert page.read_text("utf-8").count("s rank correlation of") == 2


def test_verify_adds_what_was_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    name = Path(model.name)
    explainer = Explainer.from_pretrained(model.name)
    verified = explainer.verify(explainer.explain(TEXT)).words()
    result = explain(name, TEXT, "--verify")
    assert result.stdout.split() == str(verified).split()
    assert "Checked by hiding words" in result.stdout
    (line,) = explain(name, TEXT, "--verify", "--format", "json").stdout.splitlines()
    assert Attribution.from_dict(json.loads(line)).verification == verified.verification
    page = explain(name, TEXT, "", "--verify", "--format", "html")
    assert "further forward passes" in page.stdout
    assert "text 2: the text is empty" in page.stderr
    windows = explain(name, TEXT * 20, "--verify", "--long", "window")
    assert windows.exit_code == 1
    assert "in one window" in windows.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--option", "norm=word"), ("--verify",), ("--tokens",), ("--special",)],
)
def test_what_several_methods_do_not_take_is_wrong_usage(
    model: Path, arguments: tuple[str, ...]
) -> None:
    assert explain(model, TEXT, "--method", "normxlogit,occlusion", *arguments).exit_code == 2
