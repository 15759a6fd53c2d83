"""`corpus` by ONNX Runtime and OpenVINO: the rows of torch, resumed in the same runtime only."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from normxlogit import Explainer, InputError, MissingExtraError, ModelError, OptionError
from normxlogit.exporting import cache
from normxlogit.exporting.runtime import GraphRuntime
from normxlogit.query import Query
from normxlogit.tasks import InputOptions
from tests.helpers.corpora import (
    TEXTS,
    assert_rows_close,
    mark_unfinished,
    read_manifest,
    read_shards,
    run_corpus,
    write_lines,
)
from tests.helpers.heads import fit_tiny

RUNTIMES = ["onnx", "openvino"]
LINES = [*TEXTS[:6], "", "one " * 100, *(f"The plot is not bad {n}" for n in range(30))]


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of caches for all these tests, so that each model is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("caches")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tiny(model: Path) -> Explainer:
    return Explainer.from_pretrained(model, dtype="float32")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("options", [{}, {"target": "all", "long": "window"}])
def test_rows_are_those_of_torch(
    runtime: str, options: dict[str, Any], tiny: Explainer, tmp_path: Path, caches: Path
) -> None:
    source = write_lines(tmp_path / "reviews.txt", LINES)
    expected = tiny.corpus(source, tmp_path / "torch", batch_size=4, **options)
    done = tiny.corpus(source, tmp_path / "out", batch_size=4, runtime=runtime, **options)
    assert (done.rows, done.errors, done.records) == (
        expected.rows,
        expected.errors,
        expected.records,
    )
    for row, other in zip(
        read_shards(tmp_path / "out"), read_shards(tmp_path / "torch"), strict=True
    ):
        assert_rows_close(row, other)
    manifests = [read_manifest(tmp_path / name) for name in ("out", "torch")]
    ours, theirs = (manifest.pop("runtime") for manifest in manifests)
    assert theirs == {"name": "torch", "precision": "float32"}
    assert (ours["name"], ours["precision"]) == (runtime, "float32")
    assert ours["version"]
    assert ours["drift"]["largest_difference"] < 1e-4
    for manifest in manifests:
        del manifest["run"]
    assert manifests[0] == manifests[1]
    assert len(list((caches / "normxlogit" / "exports").glob("[!.]*/"))) == 1


def test_without_files_and_with_a_head(tiny: Explainer) -> None:
    explainer = fit_tiny(tiny)
    expected, actual = (
        list(explainer.corpus(TEXTS[:4], **options)) for options in ({}, {"runtime": "onnx"})
    )
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.attribution is not None
        assert ours.attribution.provenance.method == "attribution_head"
        assert ours.attribution.scores == pytest.approx(
            theirs.attribution.scores, abs=1e-4, nan_ok=True
        )


def test_a_run_goes_on_in_its_own_runtime_only(tiny: Explainer, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", LINES), tmp_path / "out"
    tiny.corpus(source, out, runtime="onnx")
    mark_unfinished(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for runtime, name in (("torch", "torch"), ("openvino", "openvino in float32")):
        with pytest.raises(InputError, match=f"the runtime was onnx in float32 and is {name}"):
            tiny.corpus(source, out, runtime=runtime)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not tiny.corpus(source, out, runtime="onnx").was_finished
    other = tmp_path / "other"
    tiny.corpus(source, other)
    # Runs of earlier versions do not say that it was torch.
    manifest = {k: v for k, v in read_manifest(other).items() if k != "runtime"}
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert tiny.corpus(source, other).was_finished
    with pytest.raises(InputError, match="the runtime was torch and is onnx in float32"):
        tiny.corpus(source, other, runtime="onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "logat"}, "has no method 'logat'"),
        ({"method": "attribution_head"}, "has no method 'attribution_head'"),
        ({"layer": 1}, "has no layer"),
        ({"readout": "margin"}, "has no readout"),
        ({"norm": "word"}, "has no norm"),
        ({"engine": "ray"}, "engine='ray' runs torch"),
        ({"precision": "bfloat16"}, "precision of onnx must be one of float32, int8"),
        ({"runtime": "tflite"}, "runtime must be one of torch, onnx, openvino"),
        ({"runtime": "torch", "precision": "float32"}, "Leave precision out"),
    ],
)
def test_what_a_graph_does_not_hold_is_refused(
    options: dict[str, Any], message: str, tiny: Explainer, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "reviews.txt", LINES)
    with pytest.raises(OptionError, match=message) as error:
        tiny.corpus(source, tmp_path / "out", **{"runtime": "onnx", **options})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_models_and_machines_without_a_graph(
    tiny: Explainer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", LINES), tmp_path / "out"
    half = Explainer.from_pretrained(model, dtype="bfloat16")
    with pytest.raises(ModelError, match="this one is in bfloat16"):
        half.corpus(source, out, runtime="onnx")
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(InputError, match="Name another folder of caches in XDG_CACHE_HOME"):
            tiny.corpus(source, out, runtime="onnx")
    monkeypatch.setattr("normxlogit.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"normxlogit\[onnx\]"):
        tiny.corpus(source, out, runtime="onnx")
    assert not out.exists()


def test_a_graph_that_says_something_else_is_not_run(
    tiny: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", LINES), tmp_path / "out"
    other = Explainer.from_pretrained(tiny.name, dtype="float32")
    model: Any = other.model
    model.classifier.bias.data[0] += 0.01
    folder = cache.cached_export(tiny)
    monkeypatch.setattr("normxlogit.exporting.runtime.cached_export", lambda *_, **__: folder)
    with pytest.raises(ModelError, match="says when onnx runs it"):
        other.corpus(source, out, runtime="onnx")
    assert not out.exists()


def test_the_cache(tiny: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache.cached_export(tiny)
    exports = list[str]()

    def export(_explainer: Any, place: Path, **_: Any) -> None:
        exports.append(place.name)
        shutil.copytree(whole, place)

    whole = shutil.copytree(folder, tmp_path / "whole")
    monkeypatch.setattr(cache, "export", export)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    threads = [threading.Thread(target=cache.cached_export, args=(tiny,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exports == [folder.name]  # the others waited for the first
    mine = cache.cached_export(tiny)
    assert mine != folder
    (mine / "model.onnx").write_bytes(b"damaged")
    begun = mine.with_name(f".{mine.name}.{'0' * 32}")
    begun.mkdir()
    assert cache.cached_export(tiny) == mine
    assert len(exports) == 2
    assert not begun.exists()  # what a process that was killed had begun
    # A single weight, which a sample of them may miss, makes another graph.
    other = Explainer.from_pretrained(tiny.name, dtype="float32")
    model: Any = other.model
    model.bert.embeddings.word_embeddings.weight.data.view(-1)[7] += 1
    assert cache.cached_export(other).name not in (mine.name, folder.name)


def test_the_command(model: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", LINES[:6])
    out = tmp_path / "out"
    refused = run_corpus(model, source, out, "--runtime", "onnx", "--device", "cuda")
    assert refused.exit_code == 1
    assert "only torch runs on 'cuda'" in refused.stderr
    refused = run_corpus(model, source, out, "--runtime", "onnx", "--layer", "1")
    assert "has no layer" in refused.stderr
    assert run_corpus(model, source, out, "--runtime", "tflite").exit_code == 2
    assert not out.exists()
    done = run_corpus(model, source, out, "--runtime", "onnx", "--dtype", "int8")
    assert done.exit_code == 0, done.output
    runtime = read_manifest(out)["runtime"]
    assert runtime["precision"] == "int8"
    assert 1e-4 < runtime["drift"]["largest_difference"] < 0.5
    refused = run_corpus(model, source, out)
    assert refused.exit_code == 1
    assert "the runtime was onnx in int8 and is torch" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_runtime_that_cannot_run_a_text(tiny: Explainer) -> None:
    """The error of one text is that text's, and the others are explained."""
    runner = GraphRuntime(tiny, "onnx", "float32").open(Query())
    session: Any = runner.texts._session  # type: ignore[attr-defined]
    run = session._run

    def failing(inputs: Any, names: Any) -> Any:
        if (inputs["input_ids"] == unlucky).any():
            raise RuntimeError("no memory\nfor this")
        return run(inputs, names)

    unlucky = int(tiny.tokenizer("two")["input_ids"][1])
    session._run = failing
    texts = ["one", "two", "three", "one two three", "one three"]
    items = {n: runner.texts.encode(text, InputOptions()) for n, text in enumerate(texts)}
    results = runner.texts.explain(items, Query(), 8)
    failed = {n for n, result in results.items() if isinstance(result, ModelError)}
    assert failed == {1, 3}
    assert "onnx could not run the graph on 1 x 3 tokens: no memory for this." in str(results[1])
