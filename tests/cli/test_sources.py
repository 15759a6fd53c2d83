"""`normxlogit sources`."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from normxlogit import Explainer, SourceAttribution, cli
from normxlogit.cli.commands.sources import ARGUMENTS
from tests.helpers.answers import answerer


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random language model that takes chats."""
    folder = tmp_path_factory.mktemp("talker")
    explainer = answerer()
    explainer.model.save_pretrained(folder)
    explainer.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    (folder / "Plot.txt").write_text("The plot is not bad at all. The acting is a mess.\n")
    (folder / "movie.md").write_text("A great movie.")
    (folder / "other.png").write_text("no document")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["sources", *map(str, arguments)])


def one_line(result: Result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def asked(talker: Path, notes: Path, *more: object) -> tuple[Any, ...]:
    answer = ("--answer", "The acting is a mess.")
    return ("--model", talker, "-d", notes, "-q", "Is it good?", *answer, *more)


def test_text_json_and_page(talker: Path, notes: Path, tmp_path: Path) -> None:
    shown = run(*asked(talker, notes, "--threshold", "-100"))
    assert shown.exit_code == 0, shown.output
    assert "leave_one_out of 2 sources: 4 forward passes" in shown.stderr
    first, *lines = shown.stdout.splitlines()
    assert first.startswith(("Rests on", "Rests mostly on", "No document"))
    assert any(line.startswith("Answer      The acting is a mess. [1] [2]") for line in lines)
    assert any("[1] Plot" in line for line in lines)
    file = tmp_path / "answer.json"
    assert run(*asked(talker, notes, "-o", file)).exit_code == 0
    result = SourceAttribution.load(file)
    assert [source.name for source in result.sources] == ["Plot", "movie"]
    assert result.answer == "The acting is a mess."
    page = run(*asked(talker, notes, "--format", "html")).stdout
    assert page.startswith("<!DOCTYPE html>")
    assert "The acting is a mess." in page


def test_documents_of_a_file(talker: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "text": "A great movie."}\n\n"The plot is a mess."\n')
    result = run(*asked(talker, file, "--format", "json", "--method", "normxlogit"))
    data = json.loads(result.stdout)
    assert [source["name"] for source in data["sources"]] == ["a", ""]
    assert data["threshold"] is None
    text = "The plot\u2028is a\x85mess.\x0c"
    file.write_text(json.dumps({"text": text}, ensure_ascii=False) + "\r\n", "utf-8")
    result = run(*asked(talker, file, "--format", "json", "--method", "normxlogit"))
    assert [source["text"] for source in json.loads(result.stdout)["sources"]] == [text]
    file.write_text("{")
    assert "line 1 of" in one_line(run(*asked(talker, file)))


def test_a_file_of_questions(talker: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "questions.jsonl", tmp_path / "answers"
    rows = [{"question": "Is it?", "documents": documents} for documents in (["It is."], ["No."])]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = (file, "--model", talker, "-o", folder, "--max-new-tokens", 5, "--parquet")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "2 rows, 0 errors" in result.stdout
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 2
    assert (folder / "answers.parquet").exists()
    assert "already finished: 2 rows" in run(*command).stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("-q", "Is it?"), "name a language model with --model", 2),
        (("-m", "x"), "give either --question, --chat, or a FILE", 2),
        (("-m", "x", "-q", "Is it?", "--format", "csv"), "shown as text, json or html", 2),
        (("f.jsonl", "-m", "x"), "name a folder for the answers", 2),
        (("f.jsonl", "-m", "x", "-q", "Is it?"), "--question is for one question", 2),
        (("-m", "x", "-q", "Is it?", "--parquet"), "--parquet goes with a FILE", 2),
        (("-m", "x", "-q", "Is it?", "-d", "nowhere"), "neither a folder of text files", 1),
        (("-m", "x", "-q", "Is it?"), "--question goes with --documents", 2),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, code: int) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_empty_folders(talker: Path, tmp_path: Path) -> None:
    assert "has no file that ends in .txt or .md" in one_line(run(*asked(talker, tmp_path)))
    (tmp_path / "a.txt").write_text("It is.")
    (tmp_path / "b.txt").write_text(" \n")
    assert f"{tmp_path / 'b.txt'} is empty" in one_line(run(*asked(talker, tmp_path)))


def test_a_question_of_its_own_sentences(talker: Path) -> None:
    question = (
        "-q",
        "The plot is bad. Is it good?",
        "--sources",
        "sentences",
        "--answer",
        "It is.",
    )
    result = run("-m", talker, *question, "--format", "json")
    assert [source["kind"] for source in json.loads(result.stdout)["sources"]] == ["sentence"] * 2


def test_options_of_a_method_are_no_others(tmp_path: Path) -> None:
    """Every argument in Python is refused that would stand beside one of the command's."""
    calls = (Explainer.sources, Explainer.sources_corpus)
    names = {
        name
        for call in calls
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert names - {"spans"} == ARGUMENTS
    for name in ARGUMENTS:
        for asked_of in (("-q", "Is it?", "-d", tmp_path), (tmp_path / "rows.jsonl", "-o", "out")):
            result = run("-m", "x", *asked_of, "--option", f"{name}=1")
            assert result.exit_code == 2, result.output
            assert f"and {name} is none" in " ".join(result.stderr.replace("│", " ").split())
    twice = ("--max-new-tokens", 5, "--option", "max_new_tokens=6")
    assert run("-m", "x", "-q", "Is it?", "-d", tmp_path, *twice).exit_code == 2


def test_what_is_beside_the_messages_of_a_chat(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps({"messages": [{"role": "user"}], "documents": ["It is."]}))
    said = one_line(run("-m", "x", "--chat", file))
    assert "Use Explainer.sources(messages, documents=...) in Python." in said
