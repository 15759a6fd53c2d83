"""`export` and `normxlogit export`: the folder is whole or not there."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from normxlogit import (
    Explainer,
    Failure,
    InputError,
    MissingExtraError,
    ModelError,
    OptionError,
    cli,
    export,
    load_exported,
)
from normxlogit.exporting import writing
from normxlogit.exporting.agreement import answers_of, drift
from normxlogit.tasks.fingerprint import model_fingerprint
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.heads import reviews


def test_what_lies_in_the_folder(folder: Path, with_head: Explainer) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= {"model.onnx", "manifest.json", "README.md", "tokenizer.json"}
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["model"] == model_fingerprint(with_head)
    assert manifest["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert set(manifest["methods"]) == {"normxlogit", "attribution_head"}
    assert {"onnx", "torch", "transformers"} <= set(manifest["versions"])
    assert manifest["opset"] >= 17
    head: Any = with_head.head
    values = np.array(manifest["base_values"]["values"])
    logits = head.empty.logits.numpy()
    np.testing.assert_allclose(values, logits - logits.mean(-1, keepdims=True), atol=1e-6)
    card = (folder / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in card for name in manifest["outputs"])
    # Nothing of the machine that made the graph stays in it.
    assert str(Path(writing.__file__).parent).encode() not in (folder / "model.onnx").read_bytes()


@pytest.fixture
def exported_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exporter, which takes seconds, write the graph of `folder` again."""

    def write(_module: Any, _inputs: Any, path: Path) -> int:
        shutil.copy(folder / "model.onnx", path)
        return 20

    monkeypatch.setattr(writing, "write_graph", write)


@pytest.mark.usefixtures("exported_before")
def test_smaller_graphs_say_how_far_they_are_from_the_model(
    with_head: Explainer, tmp_path: Path
) -> None:
    texts = reviews(20)
    manifest = export(with_head, tmp_path / "small", texts=texts, float16=True)
    exported = load_exported(tmp_path / "small")
    assert exported.manifest.drift == manifest.drift
    figures = manifest.drift["normxlogit"]
    assert figures.texts > 80
    assert figures.failures == 0
    # What was given is shown apart.
    assert manifest.given_drift["normxlogit"].texts == len(texts)
    card = (tmp_path / "small" / "README.md").read_text("utf-8")
    assert f"| normxlogit, texts given | {len(texts)} |" in card
    assert 1e-5 < figures.largest_difference < 0.1
    assert figures.rank_correlation is not None
    assert figures.rank_correlation > 0.9
    answer: Any = exported.explain("bad")
    assert answer.provenance.dtype == "float16"


@pytest.mark.usefixtures("exported_before")
def test_a_graph_that_says_something_else_is_not_written(
    with_head: Explainer, tmp_path: Path
) -> None:
    model: Any = copy.deepcopy(with_head.model)
    with torch.no_grad():
        model.classifier.bias[0] += 0.01
    other = Explainer(model, with_head.tokenizer).with_head(with_head.head)
    with pytest.raises(ModelError, match="does not say what the model says"):
        export(other, tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []


def test_drift_counts() -> None:
    words = tokenizer()
    explainer, other = (Explainer(classifier(words, seed=seed), words) for seed in (0, 1))
    texts = reviews(30)
    ours, theirs = (answers_of(model, texts, "normxlogit", 8) for model in (other, explainer))
    same = drift(theirs, theirs)
    assert (same.predictions_changed, same.strongest_changed) == (0, 0)
    assert same.rank_correlation == pytest.approx(1.0)
    assert same.largest_difference == 0.0
    figures = drift(ours, theirs)
    pairs: Any = list(zip(ours, theirs, strict=True))
    assert figures.predictions_changed == sum(a.prediction.id != b.prediction.id for a, b in pairs)
    strongest = [
        a.scores[b.prediction.id].argmax() != b.scores[b.prediction.id].argmax() for a, b in pairs
    ]
    assert figures.strongest_changed == sum(strongest)
    assert figures.largest_difference > 0.1
    failed = [Failure("x", ModelError("no")), *ours[1:]]
    assert (drift(failed, theirs).failures, drift(failed, theirs).texts) == (1, 29)
    assert drift(failed, [failed[0], *theirs[1:]]).failures == 0


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_the_command(model: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("A great movie.\n\nbad\n")
    texts = ("--texts", tmp_path / "texts.txt")
    result = run("--model", model, "--int8", *texts, "--output", tmp_path / "graph")
    assert result.exit_code == 0, result.output
    assert "normxlogit" in result.stdout
    assert "README.md" in result.stdout
    explainer = Explainer.from_pretrained(model)
    expected = explainer.explain("A great movie.")
    actual: Any = load_exported(tmp_path / "graph").explain("A great movie.")
    assert actual.provenance.dtype == "int8"
    assert np.corrcoef(actual.scores, expected.scores)[0, 1] > 0.95
    assert actual.target.label == expected.target.label


def test_the_command_refuses_in_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "link").symlink_to("here")
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for arguments, message in (
        (("--output", tmp_path / "full"), "holds something else (mine.txt)"),
        (("--output", tmp_path / "none" / "graph"), "there is no folder"),
        (("--output", tmp_path / "full" / "mine.txt"), "it is not a folder"),
        (("--output", tmp_path / "g", "--int8", "--float16"), "Leave one of both out"),
        (("--output", "s3://bucket/graph"), "on this machine"),
        (("--output", tmp_path / "g", "--head", tmp_path / "no.head"), "there is no file"),
        (("--output", "."), "it is the folder that this runs in"),
        (("--output", tmp_path / "link"), "it is a link"),
    ):
        result = run("--model", model, *arguments)
        assert result.exit_code == 1, result.output
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "here", "link"]


def test_python_refuses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tokenizer()
    explainer = Explainer(classifier(words), words)
    with pytest.raises(OptionError, match="explainer"):
        export(explainer.model, tmp_path / "graph")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="in bfloat16"):
        export(Explainer(classifier(words).bfloat16(), words), tmp_path / "graph")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is not a folder"):
        export(explainer, tmp_path / "file")
    with pytest.raises(InputError, match="expected a list or an iterator of texts"):
        export(explainer, tmp_path / "graph", texts="A great movie.")
    with pytest.raises(InputError, match=r"texts\[1\] cannot be read: .* blank"):
        export(explainer, tmp_path / "graph", texts=["bad", " "])
    monkeypatch.setattr("normxlogit.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"normxlogit\[onnx\]"):
        export(explainer, tmp_path / "graph")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sigterm_leaves_nothing(model: Path, tmp_path: Path) -> None:
    script = f"""
import os, signal
from normxlogit import cli
from normxlogit.exporting import writing

def write(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("not ended")

writing.write_graph = write
import sys
sys.argv = ["normxlogit", "export", "--model", {str(model)!r}, "--output", {str(tmp_path / "g")!r}]
cli.main()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert run.returncode == 143, run.stderr
    assert list(tmp_path.iterdir()) == []
