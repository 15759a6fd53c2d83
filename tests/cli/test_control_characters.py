"""No text, label or name steers the terminal that a command runs in."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from normxlogit import cli
from normxlogit.cli import terminal
from normxlogit.generation.stream import Stream
from tests.helpers.builders import tokenizer
from tests.helpers.control_characters import HOSTILE, assert_visible
from tests.helpers.tiny import tiny_classifier
from tests.helpers.zoo import tiny_config

HOSTILE = HOSTILE.replace("\ud800", "")  # which no argument and no file in UTF-8 has
NAME = HOSTILE.replace("/", "")


class Output(io.StringIO):
    """Standard output, or standard error, on a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in a folder of its own; returns its exit code and all that it printed."""
    monkeypatch.setenv("TERM", "dumb")  # without colours, so that nothing else has an escape
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, is_terminal: bool = True) -> tuple[int, str]:
        streams = Output(is_terminal), Output(is_terminal)
        monkeypatch.setattr(sys, "argv", ["normxlogit", *map(str, arguments)])
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return int(ended.value.code or 0), "".join(stream.getvalue() for stream in streams)

    return run


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_classifier(tmp_path_factory.mktemp("model") / NAME, labels=(HOSTILE, "B" + HOSTILE))


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose chat template raises an error with what the user said."""
    folder = tmp_path_factory.mktemp("talker")
    words = tokenizer("bpe", add_eos=False)
    auto: Any = AutoModelForCausalLM
    auto.from_config(tiny_config("llama", vocab_size=len(words))).save_pretrained(folder)
    words.chat_template = "{{ raise_exception(messages[0]['content']) }}"
    words.save_pretrained(folder)
    return folder


EXPLAIN: dict[str, tuple[str, ...]] = {
    "labels and text": ("one two " + HOSTILE,),
    "several": ("one", "two", "--target", "all"),
    "json": ("one " + HOSTILE, "--format", "json"),
    "html": ("one " + HOSTILE, "--format", "html"),
    "all layers": ("one two " + HOSTILE, "--layer", "all", "--tokens", "--special"),
    "unknown label": ("one", "--target", f"X{HOSTILE}"),
    "unknown contrast": ("one", "--contrast", f"X{HOSTILE}"),
    "unknown method": ("one", "--method", HOSTILE),
    "unknown method, traced": ("one", "--method", HOSTILE, "--debug"),
    "unknown readout": ("one", "--readout", HOSTILE),
    "unknown device": ("one", "--device", HOSTILE),
    "unknown dtype": ("one", "--dtype", HOSTILE),
    "unknown option": ("one", "--" + HOSTILE),
    "wrong choice": ("one", "--long", HOSTILE),
    "wrong number": ("one", "--threshold", HOSTILE),
    "wrong layer": ("one", "--layer", HOSTILE),
    "option of the method": ("one", "--option", f"norm={HOSTILE}"),
    "unknown option of the method": ("one", "--option", f"a{HOSTILE}=1"),
    "no file": ("--file", NAME),
    "no folder": ("one", "--output", f"{NAME}/{NAME}"),
    "position": ("one", "--position", HOSTILE),
}


@pytest.mark.parametrize("case", EXPLAIN)
def test_explain(case: str, run: Run, hostile_model: Path) -> None:
    code, printed = run("explain", "--model", hostile_model, *EXPLAIN[case])
    assert (code == 0) == (case in ("labels and text", "several", "json", "html", "all layers"))
    assert printed
    assert_visible(printed)


@pytest.mark.parametrize(
    "arguments",
    [(HOSTILE,), ("--" + HOSTILE,), ("methods", HOSTILE), ("summary", NAME), ("methods",),
     ("explain", "-m", f"./{NAME}", "one"), ("generate", "-m", f"./{NAME}", "one"),
     ("corpus", f"{NAME}.csv", "-o", "out"), ("evaluate", "--data", f"{NAME}.csv", "-o", "out"),
     ("evaluate", "--data", f"{NAME}.csv", "-o", "s3://" + NAME), ("methods", "a", HOSTILE)],
)  # fmt: skip
def test_names_that_are_none(arguments: tuple[str, ...], run: Run) -> None:
    code, printed = run(*arguments)
    assert code == (0 if arguments == ("methods",) else 2 if "Usage" in printed else 1)
    assert_visible(printed)


def test_corpus_and_summary(run: Run, hostile_model: Path, tmp_path: Path) -> None:
    rows = "".join(f'"one {HOSTILE}","{HOSTILE}"\n' for _ in range(6))
    source = tmp_path / f"{NAME}.csv"
    source.write_text(f"{HOSTILE},label\n{rows}", "utf-8", newline="")
    for columns in (("--text", "none"), ("--text", HOSTILE, "--label", "none")):
        code, printed = run("corpus", source, "-m", hostile_model, "-o", "out", *columns)
        assert code == 1
        assert_visible(printed)
    out = tmp_path / ("out" + NAME)
    header = HOSTILE.partition("\r")[0]
    source.write_text(f"text,{header}\n{rows}", "utf-8", newline="")
    code, printed = run("corpus", source, "-m", hostile_model, "-o", out, "--label", header)
    assert code == 0, printed
    assert_visible(printed)
    for form in ("text", "html", "json"):
        code, printed = run("summary", out, "--format", form)
        assert code == 0
        assert_visible(printed)
    code, printed = run("corpus", source, "-m", hostile_model, "-o", out, "--text", header)
    assert code == 1
    assert "other settings" in printed
    assert_visible(printed)


def test_evaluate(run: Run, hostile_model: Path, tmp_path: Path) -> None:
    source = tmp_path / f"{NAME}.csv"
    source.write_text("text,label\n" + "one two,0\nbad plot,1\n" * 2, "utf-8")
    usual = ["-m", hostile_model, "--data", source, "--label", "label", "--operator", "unk"]
    usual += ["--draws", 2, "--methods", "norm,progressive_inference,random"]
    code, printed = run("evaluate", *usual, "-o", tmp_path / ("out" + NAME))
    assert code == 0, printed
    assert "left out" in printed
    assert_visible(printed)


@pytest.mark.parametrize(
    "content",
    ['? "a\\e[31m\\u202e"\n: 1', 'model: [1, "\\e[2J"]', "a: \x1b", "[\u202e", "- \u2066", "a: *b"],
)
def test_settings_in_yaml(content: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(content, "utf-8")
    code, printed = run("evaluate", "--config", "c.yaml", "-o", "out")
    assert code in (1, 2)
    assert "c.yaml" in printed
    assert_visible(printed)


def test_a_chat_template_that_raises(run: Run, talker: Path, tmp_path: Path) -> None:
    chat = [{"role": HOSTILE, "content": HOSTILE}]
    (tmp_path / f"{NAME}.json").write_text(json.dumps(chat))
    code, printed = run("generate", "-m", talker, "--chat", f"{NAME}.json")
    assert code == 1
    assert "chat template refuses" in printed
    assert_visible(printed)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_text_as_it_is_generated(
    is_terminal: bool, run: Run, talker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes in parts, between which even a line break is cut."""
    parts = ["one\x1b[2J", "\r", "\n\u202e", "\x9b31m", "two", "\r"]
    answers = iter(["".join(parts[: n + 1]) for n in range(len(parts))])
    step = Stream.__next__
    monkeypatch.setattr(
        Stream, "__next__", lambda self: SimpleNamespace(of=step(self), answer=next(answers))
    )
    code, printed = run(
        "generate", "-m", talker, "a", "--max-new-tokens", 6, is_terminal=is_terminal
    )
    assert code == 0, printed
    assert printed.count("Answer  ") == 1
    whole = "one\x1b[2J\r\n\u202e\x9b31mtwo\r"
    if is_terminal:
        assert_visible(printed)
        assert printed.startswith("Answer      one␛[2J\n\ufffd\ufffd31mtwo\n\n\n")
    else:
        assert printed.startswith(f"Answer      {whole}\n\n")


def test_pipes_get_texts_as_they_are(run: Run, hostile_model: Path) -> None:
    arguments = ("explain", "-m", hostile_model, "one", "--target", HOSTILE.strip() + "x")
    _, printed = run(*arguments, is_terminal=False)
    assert "\\x1b" in printed or "\x1b" in printed
    code, printed = run(
        "explain", "-m", hostile_model, "one", "--format", "json", is_terminal=False
    )
    assert code == 0
    labels = [output["label"] for output in json.loads(printed)["prediction"]["outputs"]]
    assert labels == [HOSTILE, "B" + HOSTILE]
    assert "\u202e" in printed


@pytest.mark.parametrize("columns", ["0", "1", "3", "7", "20", "100000000"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_widths_that_no_terminal_has(
    columns: str, is_terminal: bool, run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    for arguments in (("methods",), ("explain", "-m", model, "one two", "three")):
        code, printed = run(*arguments, is_terminal=is_terminal)
        assert code == 0
        assert 30 < len(printed) < 10**6


def test_commands_write_through_one_module() -> None:
    """So that what is written anywhere passes what makes it visible."""
    direct = re.compile(r"(?<![.\w])(typer\.echo|print|Console)\(|sys\.std(out|err)\.write")
    folder = Path(cli.__file__).parent
    writers = [path.name for path in folder.glob("*.py") if direct.search(path.read_text("utf-8"))]
    assert writers == ["terminal.py"]
    assert terminal.shown(HOSTILE) == HOSTILE
