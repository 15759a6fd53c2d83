"""`normxlogit sources`."""

import json
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model
from normxlogit.cli.commands.generate import read_chat
from normxlogit.cli.errors import complain, quiet, reporting
from normxlogit.cli.io import check_output, check_utf8, read_text, use_utf8, write_results
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Debug,
    Device,
    Dtype,
    Format,
    GgufFile,
    LanguageModel,
    Revision,
    TrustRemoteCode,
    find_format,
    parse_options,
)
from normxlogit.errors import InputError

SUFFIXES = (".txt", ".md")
"""The files of a folder that are documents."""

ARGUMENTS = frozenset(
    {
        "self",
        "question",
        "documents",
        "answer",
        "sources",
        "method",
        "weights",
        "threshold",
        "batch_size",
        "progress",
        "source",
        "output",
        "parquet",
    }
)
"""The arguments in Python that are no options of a method; most are options of the command."""


class SourceKind(str, Enum):
    """What the sources are."""

    DOCUMENTS = "documents"
    MESSAGES = "messages"
    SENTENCES = "sentences"


def sources(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Questions with their documents, a row each (.jsonl, .parquet): question and "
            "documents, or messages; and, if there are, answer and id. Without it, --question.",
        ),
    ] = None,
    model: LanguageModel = "",
    question: Annotated[
        str | None, typer.Option("--question", "-q", metavar="TEXT", help="What to answer.")
    ] = None,
    chat: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A chat to answer, in place of --question; see generate."
        ),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents",
            "-d",
            metavar="FOLDER|FILE",
            help="A folder of text files (.txt, .md), or a .jsonl file with the text of a document "
            "on each line, and its title or id if it has one.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The answer to explain. Without it the model answers."),
    ] = None,
    kind: Annotated[
        SourceKind | None,
        typer.Option(
            "--sources",
            help="What the sources are: documents, the messages of a chat, or sentences. Default: "
            "what there is.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="leave_one_out asks for the answer again without each source; attention takes one "
            "pass, with --weights; surrogate takes 32; a method of 'normxlogit methods' takes few "
            "and finds the right one less often. Default: leave_one_out for up to 32 sources."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the method, such as reduce=max; may be given several times.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="What 'normxlogit fit-sources' fitted to this model: weights for --method "
            "attention, and thresholds.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="The score from which a source is cited, in the method's own unit."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="How many tokens to generate at most. Default: 128.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="How many prompts run together at most.")
    ] = 8,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="With FILE: write a table of all scores too.")
    ] = False,
    named_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="text, json or html. Default: what the name of --output ends in, else text.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Write to this file; with FILE, to this folder, where the same command goes on "
            "with a run that was stopped.",
        ),
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Answer a question from documents, and say which of them each sentence rests on.

    Example: normxlogit sources --model HuggingFaceTB/SmolLM2-135M-Instruct --documents notes
    --question "When was the library built?"
    """
    use_utf8()
    if not model:
        raise typer.BadParameter("name a language model with --model.")
    with reporting(debug):
        single = {
            "--question": question,
            "--chat": chat,
            "--documents": documents,
            "--answer": answer,
        }
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code)
        options: dict[str, Any] = {
            "method": method,
            "weights": weights,
            "sources": None if kind is None else kind.value,
            "threshold": threshold,
            "batch_size": batch_size,
            **_method_options(option or [], max_new_tokens),
        }
        check_utf8([question or "", answer or ""])
        if file is not None:
            _check_run(single, named_format, output)
            check_model(named)
            assert output is not None
            _run(file, output, named, options, parquet=parquet, debug=debug)
            return
        if parquet:
            raise typer.BadParameter("--parquet goes with a FILE of questions.")
        prompt = _question(question, chat)
        read = None if documents is None else read_documents(documents)
        output_format = find_format(named_format, output)
        if output_format is Format.CSV:
            raise typer.BadParameter(
                "sources are shown as text, json or html. In Python, to_pandas() is a table."
            )
        if question is not None and documents is None and kind is None:
            raise typer.BadParameter(
                "--question goes with --documents. To have its own sentences as sources: --sources "
                "sentences."
            )
        check_output(output)
        check_model(named)
        with quiet(debug):
            explainer = load(named)
            result = explainer.sources(prompt, read, answer=answer, progress=True, **options)
            write_results([result], output_format, output, reduction=None, special=False, count=1)


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a folder, by name, or of a file with one on each line.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"the folder {path} has no file that ends in {' or '.join(SUFFIXES)}.")
        texts = [(file, read_text(file)) for file in files]
        for file, text in texts:
            if not text.strip():
                raise InputError(f"{file} is empty. Remove it, or write something in it.")
        return [{"title": file.stem, "text": text} for file, text in texts]
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise InputError(
            f"{path} is neither a folder of text files nor a .jsonl file. Give one of these."
        )
    documents = []
    # Other line ends, such as U+2028, may stand in a text of JSON.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is not JSON: {error}.") from error
        documents.append({"text": document} if isinstance(document, str) else document)
    return documents


def _method_options(assignments: list[str], max_new_tokens: int | None) -> dict[str, Any]:
    """Return options of the method, and how many tokens to generate at most."""
    options = parse_options(assignments)
    for name in options:
        if name in ARGUMENTS or (name == "max_new_tokens" and max_new_tokens is not None):
            raise typer.BadParameter(
                f"--option is for options of the method, and {name} is none. Leave it out, or see "
                "--help for the option that sets it."
            )
    return options if max_new_tokens is None else {**options, "max_new_tokens": max_new_tokens}


def _question(question: str | None, chat: Path | None) -> Any:
    if (question is None) == (chat is None):
        raise typer.BadParameter("give either --question, --chat, or a FILE of questions.")
    return question if chat is None else read_chat(chat, "sources")


def _check_run(single: dict[str, Any], named_format: Format | None, output: Path | None) -> None:
    """Raise `typer.BadParameter` for what a file of questions does not go with."""
    for name, value in single.items():
        if value is not None:
            raise typer.BadParameter(f"{name} is for one question, and FILE has its own.")
    if named_format is not None:
        raise typer.BadParameter("a FILE of questions is answered as JSONL. Leave --format out.")
    if output is None:
        raise typer.BadParameter("name a folder for the answers with --output.")


def _run(
    file: Path,
    output: Path,
    named: ModelOptions,
    options: dict[str, Any],
    *,
    parquet: bool,
    debug: bool,
) -> None:
    with quiet(debug):
        explainer = load(named)
        done = explainer.sources_corpus(file, output, parquet=parquet, progress=True, **options)
    if done.first_error is not None:
        complain(done.first_error)
    terminal.say(f"{'already finished: ' if done.was_finished else ''}{done}")
    terminal.say(f"The answers: {quote(str(output / 'answers.jsonl'))}")
