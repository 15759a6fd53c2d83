"""Texts explained by an exported graph, without torch, and what is refused."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normxlogit import (
    Explainer,
    ExportedModel,
    Failure,
    InputError,
    MissingExtraError,
    NormXLogitError,
    OptionError,
    load_exported,
)
from normxlogit.exporting.manifest import Manifest
from normxlogit.exporting.running import sessions
from tests.helpers.exports import TEXTS, assert_same, signed
from tests.helpers.heads import reviews

LONG = " ".join(reviews(30))
QUESTIONS: list[dict[str, Any]] = [
    {},
    {"method": "normxlogit"},
    {"target": ["LABEL_2", 0]},
    {"target": 1, "contrast": "label_0"},
    {"target": "all", "method": "normxlogit", "batch_size": 2},
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_those_of_explain(
    question: dict[str, Any], with_head: Explainer, exported: ExportedModel
) -> None:
    texts = [*TEXTS, *reviews(10)]
    expected = [with_head.explain(text, **question) for text in texts]
    for actual, one in zip(exported.stream(texts, **question), expected, strict=True):
        assert_same(actual, one)


@pytest.mark.parametrize("method", ["normxlogit", "attribution_head"])
@pytest.mark.parametrize("long", ["truncate", "window"])
@pytest.mark.parametrize("text", [LONG, ("premise one", LONG)])
def test_long_texts(
    text: Any, long: str, method: str, with_head: Explainer, exported: ExportedModel
) -> None:
    expected = with_head.explain(text, long=long, method=method)
    assert_same(exported.explain(text, long=long, method=method), expected)


def test_split_words_and_what_results_offer(with_head: Explainer, exported: ExportedModel) -> None:
    split = ["a", "great", "movie's", "unbelievably", "bad"]
    expected: Any = with_head.explain(split, is_split_into_words=True)
    actual: Any = exported.explain(split, is_split_into_words=True)
    assert_same(actual, expected)
    ours, theirs = actual.words("sum"), expected.words("sum")
    assert ours.tokens == theirs.tokens
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    assert type(actual).from_dict(actual.to_dict()).tokens == actual.tokens
    provenance = actual.provenance
    assert provenance.method == "attribution_head"
    assert provenance.options == expected.provenance.options
    assert provenance.dtype == "float32"
    assert "onnxruntime" in provenance.versions


def test_a_list_has_failures_in_the_place_of_what_is_wrong(exported: ExportedModel) -> None:
    answers: Any = exported.explain(["bad", " ", 7, LONG])
    good, blank, number, long = answers
    assert not isinstance(good, Failure)
    assert "blank" in str(blank.error)
    assert "expected text, got int" in str(number.error)
    assert "over the limit of 64" in str(long.error)
    assert list(exported.stream(iter([]))) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "other"}, "no label 'other'"),
        ({"target": []}, "empty list"),
        ({"target": 1, "contrast": 1}, "leaves nothing to explain"),
        ({"method": "lime"}, "method must be one of attribution_head, normxlogit"),
        ({"layer": 1}, "an exported model has no 'layer'"),
        ({"long": "cut"}, "long must be one of"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1 << 21}, "batch_size must be a whole number from 1 to"),
        ({"threshold": 2}, "threshold must be a number from 0 to 1"),
        ({"threshold": "high"}, "threshold must be a number"),
        ({"contrast": "all"}, "no label 'all'"),
    ],
)
def test_options_that_do_not_fit(
    options: dict[str, Any], message: str, exported: ExportedModel
) -> None:
    with pytest.raises(OptionError, match=message) as error:
        exported.explain("bad", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_neither_torch_nor_transformers_is_imported(
    runtime: str, folder: Path, with_head: Explainer
) -> None:
    if find_spec({"onnx": "onnxruntime", "openvino": "openvino"}[runtime]) is None:
        pytest.skip("the runtime is not installed")
    text = "a great movie with bad plot"
    script = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "safetensors"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
import json
import normxlogit as nxl

model = nxl.load_exported({str(folder)!r}, {runtime!r})
result = model.explain({text!r})
assert str(result) and result._repr_html_()
print(json.dumps(result.to_dict()))
assert not any(name.partition(".")[0] == "openvino_telemetry" for name in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    actual = type(with_head.explain(text)).from_dict(json.loads(run.stdout))
    assert_same(actual, with_head.explain(text))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "README.md"])
def test_a_file_that_was_changed_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match="is not the file that was exported") as error:
        load_exported(copy)
    assert "\n" not in str(error.value)
    (copy / name).unlink()
    with pytest.raises(InputError, match="No such file"):
        load_exported(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "newer normxlogit"),
        ({"kind": "other"}, "no whole export"),
        ({"files": {}}, "no whole export"),
        ({"files": {"model.onnx": "", "tokenizer.json": "", "../x": ""}}, "no whole export"),
        ({"labels": 3}, "no whole export"),
        ({"text": {}}, "no whole export"),
        ({"outputs": ["logits"]}, "outputs must be the list logits, scores"),
        ({"methods": {}}, "methods must be an object of normxlogit"),
        ({"labels": ["LABEL_2", "LABEL_1", "LABEL_0"]}, "labels must be the model's labels"),
        ({"problem": "regression"}, "problem must be the model's problem"),
        ({"model": {"name": "mine"}}, "architecture is missing in model"),
        ({"depth": 9}, "is not as it was written"),
    ],
)
def test_a_manifest_that_is_not_whole(
    change: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | change), "utf-8")
    with pytest.raises(InputError, match=message) as error:
        load_exported(tmp_path)
    assert "\n" not in str(error.value)


def test_there_must_be_an_export_and_a_runtime(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="holds no exported model"):
        load_exported(tmp_path / "none")
    with pytest.raises(OptionError, match="runtime must be one of onnx, openvino"):
        load_exported(folder, "torch")
    with pytest.raises(OptionError, match="Leave bfloat16 out"):
        load_exported(folder, bfloat16=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[onnx\]"'):
        load_exported(folder)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[openvino\]"'):
        load_exported(folder, "openvino")


def test_a_manifest_part_by_part(folder: Path, tmp_path: Path) -> None:
    """Wherever a value is of another kind, the manifest is refused and nothing else is raised."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))

    def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
        if isinstance(value, dict):
            for name, part in value.items():
                yield from places(part, (*path, name))
        elif path:
            yield path

    others: list[Any] = [None, -1, [], {"x": 1}, "x", 0.5]
    for path in places(manifest):
        for other in others:
            changed = json.loads(json.dumps(manifest))
            place = changed
            for name in path[:-1]:
                place = place[name]
            if place[path[-1]] == other:
                continue
            place[path[-1]] = other
            (tmp_path / "manifest.json").write_text(json.dumps(changed), "utf-8")
            with pytest.raises(InputError) as error:
                Manifest.read(tmp_path)
            assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_numbers(exported: ExportedModel) -> None:
    targets: list[Any] = [np.int64(1), np.array([0, 2]), np.str_("label_1")]
    half: Any = np.float32(0.5)
    for target in targets:
        plain: Any = target.tolist()
        assert_same(
            exported.explain("bad", target=target, threshold=half),
            exported.explain("bad", target=plain),
        )


def test_bfloat16_of_a_runtime_is_named_beside_the_graphs_precision(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    monkeypatch.setattr(sessions, "_computes_in_bfloat16", lambda _: False)
    with pytest.raises(OptionError, match="does not compute in bfloat16"):
        load_exported(folder, "openvino", bfloat16=True)
    monkeypatch.setattr(sessions, "_computes_in_bfloat16", lambda _: True)  # on any machine
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    for stored, named in (("float32", "bfloat16"), ("float16", "float16 and bfloat16")):
        (copy / "manifest.json").write_text(signed(manifest | {"precision": stored}), "utf-8")
        exported = load_exported(copy, "openvino", bfloat16=True)
        answer: Any = exported.explain("bad")
        assert exported.precision == answer.provenance.dtype == named
        assert named in repr(exported)
    (copy / "manifest.json").write_text(signed(manifest | {"precision": "int8"}), "utf-8")
    with pytest.raises(OptionError, match="Take runtime='onnx'"):
        load_exported(copy, "openvino")


def test_a_graph_that_a_runtime_cannot_load(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(NormXLogitError, match="onnx cannot load") as error:
        sessions.open_session("onnx", path, ["logits"])
    assert "\n" not in str(error.value)
