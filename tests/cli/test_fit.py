"""`normxlogit fit`, and `--head` of the commands that use what it writes."""

import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from normxlogit import Explainer, InputError, cli
from normxlogit.cli.evaluation_tables import print_held_out
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.methods.attribution_head.head import FitRecord
from normxlogit.model.targets import Problem
from tests.helpers.builders import CORPUS
from tests.helpers.corpora import read_manifest, read_shards
from tests.helpers.tiny import tiny_classifier

TEXT = "A great movie with poor performers."
SMALL = ("--texts", "45", "--masks", "2", "--width", "4", "--layers", "0, 1")
command = import_module("normxlogit.cli.commands.fit")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def one_line(result: Result, code: int = 1) -> str:
    """The line that says why nothing could be done."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 texts in the column "review"."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    words = " ".join(CORPUS).replace('"', "").split()
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(words, 3 + n % 4)) for n in range(60)]
    path.write_text("review\n" + "".join(f'"{text}"\n' for text in texts), "utf-8")
    return path


@pytest.fixture(scope="module")
def fitted(model: Path, reviews: Path) -> Result:
    """What the command said that made the file of `head`."""
    file = reviews.parent / "reviews.head"
    result = run("fit", reviews, "--text", "review", "--model", model, "-o", file, *SMALL)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def head(fitted: Result, reviews: Path) -> Path:  # noqa: ARG001
    return reviews.parent / "reviews.head"


def test_it_says_what_it_costs_and_how_good_the_head_is(fitted: Result, head: Path) -> None:
    assert "\n180 forward passes over 45 texts, and up to " in f"\n{fitted.stderr}"
    held_out = AttributionHead.load(head).record.held_out
    lines = fitted.stdout.splitlines()
    shown = {line.split()[0]: line for line in lines[1:5]}
    assert set(shown) == {"attribution_head", "normxlogit", "late_lrp", "random"}
    for name, line in shown.items():
        for metric in ("comprehensiveness", "sufficiency"):
            figure = held_out["methods"][name][metric]
            value, low, high = (round(figure[key], 3) + 0.0 for key in ("value", "low", "high"))
            assert f"{value:6.3f} [{low:6.3f}, {high:6.3f}]".replace("-", "−") in line
    assert held_out["verdict"] in lines
    assert "of the variance." in fitted.stdout
    assert f"--head {head} 'A text.'" in lines[-1]
    assert not head.with_name("reviews.head.fit").exists()


def test_a_file_named_as_the_demos_head_is_told_from_it(
    head: Path, model: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--head demo` would be the head that comes with the package."""
    monkeypatch.setattr("normxlogit.fitting.run.fit", lambda *_, **__: AttributionHead.load(head))
    monkeypatch.chdir(tmp_path)
    for output in ("demo", "./demo", tmp_path / "demo"):
        result = run("fit", reviews, "--text", "review", "--model", model, "-o", output)
        path = output if output == tmp_path / "demo" else "./demo"
        assert f"--head {path} 'A text.'" in result.stdout


def test_the_head_is_that_of_python(fitted: Result, head: Path, model: Path, reviews: Path) -> None:  # noqa: ARG001
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Do not use it")
        again = Explainer.from_pretrained(str(model)).fit(
            reviews, text="review", texts=45, masks=2, width=4, layers=[0, 1]
        )
    assert AttributionHead.load(head).identity == again.identity


def test_explain_takes_the_head_by_default(head: Path, model: Path) -> None:
    usual = ["explain", "--model", model, "--head", head, TEXT, "--format", "json"]
    data = json.loads(run(*usual).stdout)
    assert data["provenance"]["method"] == "attribution_head"
    logits = [output["logit"] for output in data["prediction"]["outputs"]]
    target = data["targets"][0]["logit"]
    total = data["base"][0] + sum(score for score in data["scores"] if score is not None)
    assert total == pytest.approx(target - np.mean(logits), abs=1e-5)
    other = json.loads(run(*usual, "--method", "normxlogit").stdout)
    assert other["provenance"]["method"] == "normxlogit"
    assert json.loads(run(*usual[:3], TEXT, *usual[-2:]).stdout)["scores"] == other["scores"]


def test_corpus_takes_the_head_by_default(
    head: Path, model: Path, reviews: Path, tmp_path: Path
) -> None:
    usual = ["corpus", reviews, "--text", "review", "--model", model, "-o", tmp_path / "out"]
    result = run(*usual, "--head", head)
    assert result.exit_code == 0, result.output
    manifest = json.dumps(read_manifest(tmp_path / "out"))
    assert AttributionHead.load(head).identity in manifest
    (first, *_) = read_shards(tmp_path / "out")
    explainer = Explainer.from_pretrained(str(model), head=head)
    expected = explainer.explain(first["text"]).words()
    assert expected.provenance.method == "attribution_head"
    np.testing.assert_allclose(
        first["word_scores"], expected.scores[~expected.special], rtol=0.1, atol=0.01
    )
    assert "other settings" in one_line(run(*usual))


@pytest.mark.parametrize("place", ["command line", "file"])
def test_evaluate_compares_the_head_by_default(
    place: str, head: Path, model: Path, reviews: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)
    monkeypatch.setattr("normxlogit.explainer.METHODS", ("normxlogit", "random"))
    (tmp_path / "settings.yaml").write_text(f"head: {head}\n")
    names = (
        ["--head", head] if place == "command line" else ["--config", tmp_path / "settings.yaml"]
    )
    usual = ["--model", model, "--data", reviews, "--text", "review", "--limit", "4"]
    usual += ["--draws", "2", "--operator", "unk"]
    result = run("evaluate", *usual, *names, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert set(results["methods"]) == {"attribution_head", "normxlogit", "random"}
    assert results["settings"]["model"]["head"] == AttributionHead.load(head).identity


@pytest.mark.parametrize("name", ["explain", "corpus", "evaluate"])
def test_a_file_that_does_not_fit_is_refused(
    name: str, head: Path, model: Path, reviews: Path, tmp_path: Path
) -> None:
    options: dict[str, list[Any]] = {
        "explain": [TEXT],
        "corpus": [reviews, "--text", "review", "-o", tmp_path / "out"],
        "evaluate": ["--data", reviews, "--text", "review", "-o", tmp_path / "out"],
    }
    inputs = options[name]
    newer = tmp_path / "newer.head"
    with safe_open(head, framework="pt") as file:
        ((key, record),) = file.metadata().items()
    save_file(load_file(head), newer, {key: json.dumps({**json.loads(record), "schema": 99})})
    save_file(load_file(head), tmp_path / "tensors.head")
    for file, why in (
        (reviews, "is no attribution head"),
        (tmp_path / "none.head", "there is no file"),
        (tmp_path, "is no attribution head"),
        (tmp_path / "tensors.head", "is a file of tensors but no attribution head"),
        (newer, "was made by a newer normxlogit (schema 99;"),
    ):
        assert why in one_line(run(name, "--model", model, "--head", file, *inputs))
    other = tiny_classifier(tmp_path / "other", labels=("no", "yes"))
    line = one_line(run(name, "--model", other, "--head", head, *inputs))
    assert f"this attribution head was fitted to {model}" in line
    assert not (tmp_path / "out").exists()


def test_it_refuses_early(
    model: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_options: Any) -> Explainer:
        raise InputError("loaded.")

    monkeypatch.setattr(command, "load", load)
    usual = ["fit", reviews, "--text", "review", "--model", model]
    for output, why in (
        (tmp_path, "it is not a plain file"),
        (tmp_path / "no" / "a.head", f"there is no folder {tmp_path / 'no'}"),
        ("s3://bucket/a.head", "a head is written to a file on this machine"),
    ):
        assert why in one_line(run(*usual, "-o", output))
    usual += ["-o", tmp_path / "a.head"]
    assert "masks must be even" in one_line(run(*usual, "--masks", "3"))
    for wrong in ("0;2", "-1", "", "last"):
        result = run(*usual, "--layers", wrong)
        assert result.exit_code == 2
        assert "such as 0,2,4,6" in " ".join(result.stderr.replace("│", " ").split())
    assert run(*usual, "--texts", "0").exit_code == 2
    assert run(*usual[:-2]).exit_code == 2
    assert one_line(run(*usual)) == "normxlogit: loaded.\n"
    assert not list(tmp_path.iterdir())


def test_it_refuses_a_layer_that_is_not_there(model: Path, reviews: Path, tmp_path: Path) -> None:
    usual = ["fit", reviews, "--text", "review", "--model", model, "-o", tmp_path / "a.head"]
    assert "there is no layer 9" in one_line(run(*usual, "--layers", "0,9"))
    assert not list(tmp_path.iterdir())


def record(*, use: bool, verdict: str) -> FitRecord:
    """A record of made-up figures: the head 0.5 and 0.1, a method that is better in one."""

    def figure(value: float, less: float, room: float) -> dict[str, Any]:
        between = {"value": less, "low": less - room, "high": less + room}
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "head_less_this": between}

    def figures(comprehensiveness: float, sufficiency: float, room: float) -> dict[str, Any]:
        return {
            "comprehensiveness": figure(comprehensiveness, 0.5 - comprehensiveness, room),
            "sufficiency": figure(sufficiency, 0.1 - sufficiency, room),
        }

    held_out = {
        "texts": 1200,
        "head": "attribution_head",
        "methods": {
            "attribution_head": figures(0.5, 0.1, 0),
            "normxlogit": figures(0.7, 0.3, 0.05),
            "late_lrp": {"not_measured": "its blocks are of another kind."},
            "random": figures(0.49, 0.11, 0.05),
        },
        "explained_variance": [0.62, 0.874],
        "use": use,
        "verdict": verdict,
    }
    return FitRecord({}, Problem.SINGLE_LABEL, (0,), "mask", {}, {}, held_out, {})


def test_the_table_says_which_methods_are_ahead(capsys: pytest.CaptureFixture[str]) -> None:
    print_held_out(record(use=False, verdict="Do not use it: it is behind."))
    lines = capsys.readouterr().out.splitlines()
    marks = {line.split()[0]: [m for m in line.split() if m in ("*", "=", "behind", "ahead")]
             for line in lines[1:4]}  # fmt: skip
    assert marks == {
        "attribution_head": ["*", "*"],
        "normxlogit": ["ahead", "behind"],
        "random": ["=", "="],
    }
    assert "late_lrp left out: its blocks are of another kind." in lines
    assert lines[-1] == "Do not use it: it is behind."
    assert "explains 62 to 87% of the variance" in lines[-2]
    assert lines[-3].startswith("On 1,200 texts that the head was not fitted on")


def test_it_needs_no_extra(model: Path, reviews: Path, tmp_path: Path) -> None:
    """With CSV and the packages alone that normxlogit itself needs."""
    absent = ("pyarrow", "datasets", "pandas", "scipy", "sklearn", "matplotlib", "captum")
    arguments = ["fit", reviews, "--text", "review", "--model", model, *SMALL]
    arguments += ["-o", tmp_path / "a.head"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"sys.argv = ['normxlogit', *{list(map(str, arguments))!r}]\n"
        "from normxlogit.cli import main; main()"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "a.head").exists()
