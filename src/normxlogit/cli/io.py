"""Texts in, results out: what commands read and write."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from normxlogit.cli import terminal
from normxlogit.cli.errors import complain
from normxlogit.cli.options import Format
from normxlogit.data.files import check_replaceable, write_whole
from normxlogit.data.formats import FORMATS
from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import InputError

if TYPE_CHECKING:
    from normxlogit.results.text import Failure
    from normxlogit.show.dispatch import Shown

Look = dict[str, bool | str]
"""Options of `show.dispatch`."""

_FILES = {*FORMATS, ".json", ".md", ".html", ".log", ".pdf", ".docx"}
"""What names of files with texts end in."""


def read_texts(texts: list[str], file: Path | None, example: str) -> list[str]:
    """Return the texts on the command line, else the text in `file`, else standard input.

    Raises:
        typer.BadParameter: `texts` and `file` are both there, or neither on a terminal; then the
            message shows `example`.
        InputError: a text is not valid UTF-8.
    """
    if file is not None and texts:
        raise typer.BadParameter("give either TEXT or --file, not both.")
    if file is not None:
        texts = [read_text(file)]
    elif not texts and sys.stdin.isatty():
        raise typer.BadParameter(f"no TEXT. Try: {example}")
    elif texts in ([], ["-"]):
        texts = [_decode(sys.stdin.buffer.read(), "standard input")]
    check_utf8(texts)
    return list(texts)


def check_utf8(texts: Iterable[str]) -> None:
    """Raise `InputError` if any text was not valid UTF-8."""
    if any(map(lone_surrogate, texts)):
        raise InputError("TEXT is not valid UTF-8.")


def read_text(file: Path) -> str:
    """Return the text in a UTF-8 file without its final line break.

    Raises:
        InputError: it cannot be read, or is not text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from error
    return _decode(content, str(file))


def _decode(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x})."
        ) from error
    if "\0" in text:
        raise InputError(f"{name} is not text: it contains NUL characters.")
    return text.removesuffix("\n").removesuffix("\r")


def note_file_names(texts: Iterable[str]) -> None:
    """Say on standard error which texts of the command line are, or look like, names of files.

    The name is explained all the same: it may be the text that is meant.
    """
    for text in texts:
        is_file = False
        # Longer names than a system knows raise an error.
        with contextlib.suppress(OSError, ValueError):
            is_file = Path(text).is_file()
        suffix = Path(text).suffix.lower()
        if is_file or (suffix in _FILES and not any(map(str.isspace, text))):
            likeness = "is the name of a file here" if is_file else "looks like the name of a file"
            complain(
                f"warning: TEXT {text!r} {likeness}, and the text that is read is the name itself. "
                + (
                    f"To explain each row of a file: normxlogit corpus {shlex.quote(text)} "
                    "--output FOLDER"
                    if suffix in FORMATS and suffix != ".txt"
                    else f"To read what is in a file: --file {shlex.quote(text)}"
                )
            )


def check_output(output: Path | None) -> None:
    """Raise `InputError` if `output` cannot be written, before any work is done for it."""
    if output is None:
        if sys.stdout is None:
            raise InputError("standard output is closed. Name a file with --output.")
        return
    check_replaceable(output)
    # Of a link, the file that it points to is written.
    folder = Path(os.path.realpath(output) if output.is_symlink() else output.absolute()).parent
    if not folder.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {output}: the folder {folder} cannot be written to.")


def write_results(
    results: Iterable["Shown | Failure"],
    output_format: Format,
    output: Path | None,
    *,
    reduction: str | None,
    special: bool,
    count: int,
    order: str = "strength",
    streamed: bool = False,
) -> list["Failure"]:
    """Print results, or write them to `output`; report failures on standard error.

    Text and JSON are printed as they come; pages, tables and files are written at the end, in one
    piece.

    Args:
        results: what to write.
        output_format: how to write it.
        output: the file; standard output if not given.
        reduction: how texts' tokens become words, see `Attribution.words`; None for tokens.
        special: whether to show special tokens.
        count: how many results there are.
        order: of the words, see `show.dispatch`.
        streamed: whether the answers of generations have been printed already.

    Returns:
        The failures among `results`.
    """
    from normxlogit.results.text import Attribution, Failure

    failures: list[Failure] = []
    kept: list[Shown | Failure] = []
    look: Look = {"special": special, "order": order, "tokens": reduction is None}
    if streamed:
        look["streamed"] = True
    for position, result in enumerate(results, 1):
        if isinstance(result, Failure):
            failures.append(result)
            complain(f"text {position}: {result.error}" if count > 1 else str(result.error))
        elif reduction is not None and isinstance(result, Attribution):
            result = result.words(reduction)
        if output is None and output_format in (Format.TEXT, Format.JSON):
            _print(result, output_format, look, f"{position} of {count}" if count > 1 else None)
        else:
            kept.append(result)
    if kept and (output_format in (Format.JSON, Format.CSV) or len(failures) < len(kept)):
        write_text(_join(kept, output_format, look), output)
    elif output is None:
        sys.stdout.flush()
    return failures


def write_text(text: str, output: Path | None) -> None:
    """Write `text` to a file and say so on standard error, or print it."""
    if output is None:
        terminal.write(text)
        return
    write_whole(output, text)
    terminal.say(f"Wrote {output}", err=True)


def _print(
    result: "Shown | Failure",
    output_format: Format,
    look: Look,
    heading: str | None,
) -> None:
    from normxlogit.results.text import Failure
    from normxlogit.show.dispatch import render

    if output_format is Format.JSON:
        terminal.write(_json(result))
    elif not isinstance(result, Failure):
        console = terminal.console()
        if heading:
            console.rule(heading, align="left", style="dim")
        console.print(render(result, **look))


def _join(results: list["Shown | Failure"], output_format: Format, look: Look) -> str:
    from normxlogit.results.base import Result
    from normxlogit.results.interchange.several import to_csv
    from normxlogit.results.text import Failure
    from normxlogit.show.dispatch import page, plain

    if output_format is Format.HTML:
        return page(results, **look)
    if output_format is Format.JSON:
        return "".join(_json(result) for result in results)
    if output_format is Format.CSV:
        tables = (result for result in results if isinstance(result, (Result, Failure)))
        return to_csv(tables)
    explained = [result for result in results if not isinstance(result, Failure)]
    return "\n".join(plain(result, **look) + "\n" for result in explained)


def _json(result: "Shown | Failure") -> str:
    from normxlogit.data.plain import dump_json

    return dump_json(result.to_dict()) + "\n"


def use_utf8() -> None:
    """Write UTF-8 to pipes and files, and "?" for what a terminal cannot show.

    UTF-8 has no halves of surrogate pairs. They become escapes, which in JSON mean the same.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
