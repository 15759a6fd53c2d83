import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import typer
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from normxlogit import Attribution, Explainer, __version__, cli
from normxlogit.cli.io import read_texts
from normxlogit.cli.model import prefer_cache
from normxlogit.methods import METHODS
from normxlogit.results.interchange.several import to_csv
from tests.helpers.tiny import tiny_classifier

TEXT = "A great movie with poor performers."


def explain(model: Path | str, *arguments: str | Path, stdin: str | bytes = "") -> Result:
    command = ["explain", "--model", str(model), *map(str, arguments)]
    return CliRunner().invoke(cli.app, command, input=stdin)


def one_line(result: Result, code: int = 1) -> str:
    """The line that says why nothing could be done."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("normxlogit: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.strip()


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "normxlogit", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_text_has_prediction_words_and_numbers(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)  # a name that is short wherever the tests run
    result = explain(Path(model.name), TEXT)
    assert result.exit_code == 0
    assert result.stderr == ""
    words = Explainer.from_pretrained(model.name).explain(TEXT).words()
    assert result.stdout.strip() == str(words)
    assert words.prediction.label in result.stdout


def test_words_and_tokens_are_listed_in_the_order_asked_for(model: Path) -> None:
    def listed(*options: str) -> list[str]:
        lines = explain(model, "unbelievable good film", *options).stdout.splitlines()
        return [line.split()[0] for line in lines if "│" in line]

    assert listed("--order", "text") == ["unbelievable", "good", "film"]
    assert sorted(listed()) == ["film", "good", "unbelievable"]
    pieces = listed("--order", "text", "--tokens")
    assert "".join(pieces) == "unbelievablegoodfilm"
    assert len(pieces) > 3
    assert "In text order" in explain(model, TEXT, "--order", "text", "--format", "html").stdout


def test_json_is_the_attribution(model: Path) -> None:
    explainer = Explainer.from_pretrained(str(model))
    result = explain(model, TEXT, "--format", "json", "--tokens")
    (data,) = objects(result)
    assert data == explainer.explain(TEXT).to_dict()
    (data,) = objects(explain(model, TEXT, "--format", "json"))
    assert data == explainer.explain(TEXT).words().to_dict()


def test_csv_is_the_table(model: Path, tmp_path: Path) -> None:
    explainer = Explainer.from_pretrained(str(model))
    result = explain(model, TEXT, " ", "not bad", "--format", "csv")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    results = explainer.explain([TEXT, " ", "not bad"])
    words = [r.words() if isinstance(r, Attribution) else r for r in results]
    assert result.stdout == to_csv(words)
    path = tmp_path / "why.csv"
    assert explain(model, TEXT, "--tokens", "--format", "csv", "--output", path).exit_code == 0
    assert path.read_text("utf-8") == to_csv([explainer.explain(TEXT)])


def test_a_text_that_is_the_name_of_a_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my letter.txt").write_text("not bad")
    result = explain(
        model, "my letter.txt", TEXT, "x" * 5000, ".", "--format", "json", "--long", "truncate"
    )
    assert result.exit_code == 0
    assert len(objects(result)) == 4
    assert result.stderr.startswith(
        "normxlogit: warning: TEXT 'my letter.txt' is the name of a file"
    )
    assert result.stderr.endswith("--file 'my letter.txt'\n")
    assert result.stderr.count("\n") == 1
    assert explain(model, "--file", "my letter.txt").stderr == ""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nosuch.txt", "To read what is in a file: --file nosuch.txt"),
        ("in/all.CSV", "To explain each row of a file: normxlogit corpus in/all.CSV --output"),
        ("Bad. I read notes.txt", None),
        ("great.really", None),
    ],
)
def test_a_text_that_looks_like_the_name_of_a_file(
    model: Path, text: str, hint: str | None
) -> None:
    result = explain(model, text)
    assert result.exit_code == 0
    if hint is None:
        assert result.stderr == ""
    else:
        assert f"TEXT '{text}' looks like the name of a file" in result.stderr
        assert hint in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_words_are_reduced_as_asked(model: Path, reduction: str) -> None:
    text = "unbelievably great"
    explainer = Explainer.from_pretrained(str(model))
    (data,) = objects(explain(model, text, "--format", "json", "--reduce", reduction))
    assert data == explainer.explain(text).words(reduce=reduction).to_dict()


def test_only_words_are_reduced(model: Path) -> None:
    result = explain("never-loaded", TEXT, "--tokens", "--reduce", "max")
    assert result.exit_code == 2
    assert "--reduce is for words" in result.stderr
    arguments = ["--reduce", "max", "--method", "occlusion", "--option", "replacement=5"]
    assert "occlusion scores whole words" in one_line(explain(model, TEXT, *arguments))


def test_options_reach_the_library(model: Path) -> None:
    options = {"target": "NEGATIVE", "method": "logat", "layer": 1, "readout": "centered"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    (data,) = objects(explain(model, TEXT, "--format", "json", "--tokens", *arguments))
    explainer = Explainer.from_pretrained(str(model))
    assert data == explainer.explain(TEXT, **options).to_dict()
    arguments = ["--target", "0", "--contrast", "positive", "--layer", "all"]
    arguments += ["--option", "norm=word"]
    (data,) = objects(explain(model, TEXT, "--format", "json", "--tokens", *arguments))
    expected = explainer.explain(TEXT, target=0, contrast="positive", layer="all", norm="word")
    assert Attribution.from_dict(data).scores.tolist() == expected.scores.tolist()


def test_several_targets(model: Path) -> None:
    for arguments in (["--target", "all"], ["--target", "NEGATIVE", "--target", "POSITIVE"]):
        (data,) = objects(explain(model, TEXT, "--format", "json", *arguments))
        assert data["axes"] == ["target"]
        assert [target["label"] for target in data["targets"]] == ["NEGATIVE", "POSITIVE"]


def test_threshold_of_a_multi_label_model(tmp_path: Path) -> None:
    several = tiny_classifier(
        tmp_path, labels=("joy", "fear", "awe"), problem_type="multi_label_classification"
    )
    (none,) = objects(explain(several, TEXT, "--format", "json", "--threshold", "1"))
    (every,) = objects(explain(several, TEXT, "--format", "json", "--threshold", "0"))
    assert none["prediction"]["predicted"] == []
    assert [label["id"] for label in every["prediction"]["predicted"]] == [0, 1, 2]
    assert "Prediction  no label" in explain(several, TEXT, "--threshold", "1").stdout


def test_regression(tmp_path: Path) -> None:
    value = tiny_classifier(tmp_path, labels=("LABEL_0",))
    result = explain(value, TEXT)
    assert result.exit_code == 0
    assert "closer to the prediction" in result.stdout


def test_pair(model: Path) -> None:
    (data,) = objects(explain(model, "first text", "--pair", "second", "--format", "json"))
    assert data["texts"] == ["first text", "second"]
    assert explain(model, "a", "b", "--pair", "c").exit_code == 2


def test_text_comes_from_standard_input_or_a_file(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("\ufeffdas Mädchen\r\nläuft\r\n".encode())
    for result in (
        explain(model, "--format", "json", stdin=file.read_bytes()),
        explain(model, "-", "--format", "json", stdin=file.read_bytes()),
        explain(model, "--file", file, "--format", "json"),
    ):
        assert objects(result)[0]["texts"] == ["das Mädchen\r\nläuft"]
    assert explain(model, TEXT, "--file", file).exit_code == 2


def test_one_bad_text_does_not_lose_the_others(model: Path) -> None:
    result = explain(model, "good", "  ", "bad", "--format", "json")
    assert result.exit_code == 1
    good, failure, bad = objects(result)
    assert (good["texts"], bad["texts"]) == (["good"], ["bad"])
    assert failure["schema"] == "normxlogit/failure/1"
    assert failure["item"] == "  "
    assert "blank" in failure["error"]
    assert result.stderr.startswith("normxlogit: text 2: ")
    result = explain(model, "good", "  ", "bad")
    assert result.exit_code == 1
    assert result.stdout.count("; model ") == 2
    assert "Not explained" in explain(model, "good", "  ", "--format", "html").stdout


def test_output_is_the_same_in_a_file(model: Path, tmp_path: Path) -> None:
    for form in ("text", "json", "html"):
        file = tmp_path / form
        printed = explain(model, "ä good", "bad", "--format", form)
        written = explain(model, "ä good", "bad", "--format", form, "--output", file)
        assert written.exit_code == 0
        assert written.stdout == ""
        text = file.read_text("utf-8")
        if form == "text":
            assert text.count("; model ") == 2
        else:
            assert text == printed.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["html", "json", "text"]


def test_html_keeps_script_tags_as_text(model: Path) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    names, texts = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, _: Any) -> None:
            names.append(tag)

        def handle_data(self, data: str) -> None:
            texts.append(data)

    reader = Reader()
    reader.feed(explain(model, hostile, "--format", "html").stdout)
    assert "mark" in names
    assert "script" not in names
    assert hostile in "".join(texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TEXT, "--target", "HAPPY"], "no label 'HAPPY'. Its labels: NEGATIVE, POSITIVE"),
        ([TEXT, "--contrast", "HAPPY"], "no label 'HAPPY'"),
        ([TEXT, "--method", "magic"], "no method 'magic'"),
        ([TEXT, "--readout", "magic"], "readout 'magic'"),
        ([TEXT, "--layer", "77"], "no layer 77"),
        ([TEXT, "--method", "logat", "--option", "norm=word"], "no option 'norm'"),
        ([TEXT, "--option", "norm=big"], "embedding, word; got 'big'"),
        ([TEXT, "--device", "toaster"], "no device 'toaster'"),
        ([TEXT, "--dtype", "float8"], "no dtype 'float8'"),
        ([""], "empty or blank"),
        ([" \n"], "empty or blank"),
        ([], "empty or blank"),
        (["good " * 200], "over the limit of 64"),
        (["a\udcffb"], "not valid UTF-8"),
        ([TEXT, "--pair", "a\udcffb"], "not valid UTF-8"),
        (["--file", "missing.txt"], "cannot read missing.txt"),
        (["--file", "."], "cannot read ."),
        ([TEXT, "--output", "missing/page.html"], "there is no folder"),
        ([TEXT, "--output", "."], "not a plain file"),
    ],
)
def test_mistakes_are_one_clear_line(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in one_line(explain(model, *arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"caf\xe9", "not UTF-8 text (byte 3 is 0xe9)"), (b"PK\0\0", "not text"), (b"\n", "blank")],
)
def test_what_is_no_text_is_refused(
    model: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert message in one_line(explain(model, "--file", file))
    assert message in one_line(explain(model, stdin=content))


def test_models_that_cannot_be_used_are_one_clear_line(model: Path, tmp_path: Path) -> None:
    assert "cannot load a model from the folder" in one_line(explain(tmp_path, TEXT))
    weights = load_file(model / "model.safetensors")
    tiny_classifier(tmp_path)
    spoiled = {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()}
    save_file(spoiled, tmp_path / "model.safetensors", {"format": "pt"})
    output = tmp_path / "page.html"
    assert one_line(explain(tmp_path, TEXT, "--format", "html", "-o", output))
    assert not output.exists()


def test_an_untrained_head_is_warned_of_in_one_line(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    result = explain(folder, TEXT)
    assert result.exit_code == 0
    assert result.stderr.startswith("normxlogit: warning: the head of this Bert")
    assert result.stderr.count("\n") == 1


def test_a_warning_of_many_texts_is_shown_once(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("a,b\nGreat acting.,Dull plot.\nDull.,Great.\nBad food.,Nice staff.\n")
    arguments = ["corpus", table, "--text", "a", "--pair", "b", "--output", tmp_path / "run"]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("demo was trained on single texts (sst2)") == 1


def test_long_texts_can_be_cut_or_windowed(model: Path) -> None:
    long = "good " * 100
    for how, count in (("truncate", 62), ("window", 100)):
        (data,) = objects(explain(model, long, "--long", how, "--format", "json"))
        assert sum(not special for special in data["special"]) == count


@pytest.mark.parametrize(
    "arguments",
    [
        ["--layer", "top"],
        ["--layer", "0"],
        ["--format", "pdf"],
        ["--long", "maybe"],
        ["--option", "norm"],
        ["--option", "=word"],
        ["--threshold", "2"],
        ["--batch-size", "0"],
        ["--unknown"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert explain("never-loaded", TEXT, *arguments).exit_code == 2


def test_no_text_and_no_pipe_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(typer.BadParameter, match="no TEXT"):
        read_texts([], None, "normxlogit explain TEXT")


def test_debug_shows_the_traceback(model: Path) -> None:
    result = explain(model, TEXT, "--target", "HAPPY", "--debug")
    assert result.exit_code == 1
    assert "HAPPY" in str(result.exception)


def test_an_unexpected_error_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(Explainer, "stream", explode)
    assert one_line(explain(model, TEXT)) == (
        "normxlogit: RuntimeError: out of luck (--debug shows where)"
    )


def test_the_libraries_settings_are_as_before(model: Path) -> None:
    def settings() -> tuple[bool, int, Any]:
        bars = transformers.utils.logging.is_progress_bar_enabled()
        return bars, logging.root.manager.disable, warnings.showwarning

    logging.disable(logging.NOTSET)
    before = settings()
    explain(model, TEXT)
    explain(model, "")
    assert settings() == before


def test_the_hub_is_left_alone_if_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    prefer_cache("demo")
    assert not constants.HF_HUB_OFFLINE
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    prefer_cache("no/such")
    assert constants.HF_HUB_OFFLINE
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def without_network(home: Path) -> dict[str, str]:
    """The environment of a process that cannot reach the Hub and has its cache in `home`."""
    return {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "no_proxy": "*",
    }


def test_without_network_a_cached_model_is_loaded_at_once(model: Path, tmp_path: Path) -> None:
    cached, commit = tmp_path / "hub" / "models--some--model", "0" * 40
    shutil.copytree(model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    arguments = ["explain", TEXT, "--model", "some/model", "--format", "json"]
    process = command(*arguments, env=without_network(tmp_path))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["provenance"]["model"] == "some/model"


def test_without_network_and_cache_it_is_one_line(tmp_path: Path) -> None:
    process = command("explain", TEXT, "--model", "no/such", env=without_network(tmp_path))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == b""
    assert err.startswith(b"normxlogit: cannot load 'no/such'")
    assert err.count(b"\n") == 1
    assert b"Retry" not in err


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["--version"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom normxlogit.cli import main\n"
        f"sys.argv = ['normxlogit', *{arguments!r}]\n"
        "try:\n    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub', 'jinja2'}\n"
        "    heavy &= set(sys.modules)\n"
        "    print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")
    if arguments == ["--version"]:
        assert done.stdout.startswith(f"normxlogit {__version__}\n")


def test_the_methods_are_listed_and_told_about() -> None:
    result = CliRunner().invoke(cli.app, ["methods"])
    assert result.exit_code == 0
    for method in METHODS.values():
        assert method.name in result.stdout
        shown = CliRunner().invoke(cli.app, ["methods", method.name])
        assert shown.exit_code == 0
        assert method.source in shown.stdout
        assert all(f"{option}=" in shown.stdout for option in method.options)
    wrong = CliRunner().invoke(cli.app, ["methods", "magic"])
    assert wrong.exit_code == 1
    assert "no method 'magic'" in wrong.stderr


def test_options_of_methods(model: Path) -> None:
    arguments = ["--method", "integrated_gradients", "--option", "n_steps=7"]
    arguments += ["--option", "baseline=pad", "--option", "reduce=l1"]
    (data,) = objects(explain(model, TEXT, "--format", "json", "--tokens", *arguments))
    options = {"n_steps": 7, "baseline": "pad", "reduce": "l1"}
    expected = Explainer.from_pretrained(str(model)).explain(
        TEXT, method="integrated_gradients", **options
    )
    assert data["provenance"]["options"] == options
    np.testing.assert_allclose(data["scores"], expected.scores, rtol=1e-4, atol=1e-6)
    assert data["notes"]["completeness_gap"] == list(expected.notes["completeness_gap"])
    text = explain(model, TEXT, *arguments).stdout
    assert "integrated_gradients, n_steps=7, baseline=pad, reduce=l1, readout logit" in text
    assert "completeness gap" in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_broken_pipe_is_quiet(model: Path, form: str) -> None:
    process = command("explain", "--model", model, "--format", form, *["good"] * 300)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_an_interrupt_is_quiet(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = command("explain", "--model", model, "--file", pipe)
    with pipe.open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_options_that_cannot_be_a_methods_own(model: Path) -> None:
    for option, message in (("target=POSITIVE", "no option 'target'"), ("inputs=1", "no option")):
        result = explain(model, TEXT, "--method", "occlusion", "--option", option)
        assert result.exit_code == 1
        assert message in result.stderr
    twice = explain(model, TEXT, "--option", "norm=word", "--option", "norm=embedding")
    assert twice.exit_code == 2
    one_word = explain(model, TEXT, "--method", "position", "--option", "first=False")
    assert "nearer to the end" in one_word.stdout
    (data,) = objects(
        explain(
            model, TEXT, "--method", "frequency", "--option", 'counts={"5": 3}', "--format", "json"
        )
    )
    assert data["provenance"]["options"] == {"counts": "dict of 1"}
