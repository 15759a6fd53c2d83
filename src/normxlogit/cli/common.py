"""What the commands share: input, output, loading, errors."""

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normxlogit.data.files import write_whole
from normxlogit.data.option_values import parse_option
from normxlogit.errors import InputError, NormXLogitError

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer
    from normxlogit.results.base import Result
    from normxlogit.results.text import Failure

FAILURE_SCHEMA = "normxlogit/failure/1"


class Format(str, Enum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


class Long(str, Enum):
    """What to do with a text over the model's limit."""

    ERROR = "error"
    TRUNCATE = "truncate"
    WINDOW = "window"


Method = Annotated[
    str, typer.Option(help="normxlogit, or one to compare with: see 'normxlogit methods'.")
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model on the Hugging Face Hub, or a folder; 'demo' comes with this package.",
    ),
]
Contrast = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Explain the target rather than this label."),
]
Readout = Annotated[
    str | None,
    typer.Option(
        help="The number read from the head: logit, margin, logprob, centered; of a regression "
        "closeness, distance."
    ),
]
Threshold = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="With several labels: the probability that predicts a label."
    ),
]
Words = Annotated[
    bool, typer.Option("--words/--tokens", help="Scores of words, or of the model's tokens.")
]
Revision = Annotated[str | None, typer.Option(help="The model's branch, tag or commit on the Hub.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="Of the weights: auto, float32, bfloat16 or float16.")]
Gguf = Annotated[
    str | None,
    typer.Option("--gguf-file", metavar="NAME", help="The GGUF file to load, of the model's."),
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file, whole or not at all."),
]
Shape = Annotated[Format, typer.Option("--format", help="json is one object a line; html a page.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks, and what the libraries log.")
]


def one_or_several(target: list[str] | None) -> str | list[str] | None:
    """One label is no list, so that the result has no axis of targets."""
    if not target:
        return None
    return target[0] if len(target) == 1 else target


def options_of(given: list[str]) -> dict[str, Any]:
    """Options by name, see `parse_option`."""
    found = {}
    for part in given:
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"--option takes NAME=VALUE, such as norm=word; got {part!r}.")
        if name in found:
            raise typer.BadParameter(f"--option {name} is given twice.")
        found[name] = parse_option(value)
    return found


def texts_of(texts: list[str], file: Path | None, example: str) -> list[str]:
    """The texts on the command line, else that of a file, else of standard input."""
    if file is not None and texts:
        raise typer.BadParameter("give either TEXT or --file, not both.")
    if file is not None:
        texts = [decoded(bytes_of(file), str(file))]
    elif not texts and sys.stdin.isatty():
        raise typer.BadParameter(f"no TEXT. Try: {example}")
    elif texts in ([], ["-"]):
        texts = [decoded(sys.stdin.buffer.read(), "standard input")]
    check_utf8(texts)
    return list(texts)


def check_utf8(texts: Iterable[str]) -> None:
    """Raise `InputError` for text that was not valid UTF-8."""
    if not all(map(is_utf8, texts)):
        raise InputError("TEXT is not valid UTF-8.")


def is_utf8(text: str) -> bool:
    """Whether a text has no halves of characters, which stand for bytes that were not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from error


def decoded(content: bytes, name: str) -> str:
    """The text without its last line break, which ends a line rather than being of the text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x})."
        ) from error
    if "\0" in text:
        raise InputError(f"{name} is not text: it holds NUL characters.")
    return text.removesuffix("\n").removesuffix("\r")


def check_output(output: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    if output is None:
        if sys.stdout is None:
            raise InputError("standard output is closed. Name a file with --output.")
        return
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise InputError(f"cannot write {output}: it is not a plain file.")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {output}: the folder {folder} cannot be written to.")


def prefer_cache(model: str) -> None:
    """Leave the Hub alone if it cannot be reached: asking it takes its client most of a minute."""
    if model != "demo" and not Path(model).exists() and not _hub_answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


def prefer_cached_data(source: str) -> None:
    """The same for a data set; URIs, and paths with an ending, are none."""
    if "://" not in source and not Path(source).suffix:
        prefer_cache(source)


def _hub_answers() -> bool:
    import ssl
    import urllib.error
    import urllib.request

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):
        return False
    return True


def load(
    model: str,
    *,
    revision: str | None,
    device: str,
    dtype: str,
    gguf_file: str | None,
    trust_remote_code: bool,
) -> "Explainer":
    """The explainer of a model."""
    from rich.console import Console

    prefer_cache(model)
    console = Console(stderr=True)
    options = {} if gguf_file is None else {"gguf_file": gguf_file}
    with console.status("Loading") if console.is_terminal else contextlib.nullcontext():
        from normxlogit.explainer import Explainer

        return Explainer.from_pretrained(
            model,
            revision=revision,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            **options,
        )


def show(
    results: Iterable["Result | Failure"],
    form: Format,
    output: Path | None,
    *,
    words: bool,
    special: bool,
    count: int,
) -> list["Failure"]:
    """Print or write the results, tell of the failures among them, and return these."""
    from normxlogit.results.text import Attribution, Failure

    failures: list[Failure] = []
    kept: list[Result | Failure] = []
    for position, result in enumerate(results, 1):
        if isinstance(result, Failure):
            failures.append(result)
            complain(f"text {position}: {result.error}" if count > 1 else str(result.error))
        elif words and isinstance(result, Attribution):
            result = result.words()
        if output is None and form is not Format.HTML:
            _print(result, form, special, f"{position} of {count}" if count > 1 else None)
        else:
            kept.append(result)
    if kept and (form is Format.JSON or len(failures) < len(kept)):
        whole = _whole(kept, form, special)
        if output is None:
            sys.stdout.write(whole)
        else:
            write_whole(output, whole)
    if output is None:
        sys.stdout.flush()
    return failures


def _print(result: "Result | Failure", form: Format, special: bool, heading: str | None) -> None:
    from rich.console import Console

    from normxlogit.results.text import Failure
    from normxlogit.show.dispatch import render

    if form is Format.JSON:
        sys.stdout.write(_json(result))
        sys.stdout.flush()
    elif not isinstance(result, Failure):
        console = Console()
        if heading:
            console.rule(heading, align="left", style="dim")
        console.print(render(result, special=special))


def _whole(results: list["Result | Failure"], form: Format, special: bool) -> str:
    """All results as one text."""
    from normxlogit.results.text import Failure
    from normxlogit.show.dispatch import page, plain

    if form is Format.HTML:
        return page(results, special=special)
    if form is Format.JSON:
        return "".join(_json(result) for result in results)
    shown = [plain(r, special=special) + "\n" for r in results if not isinstance(r, Failure)]
    return "\n".join(shown)


def _json(result: "Result | Failure") -> str:
    from normxlogit.results.text import Failure

    if isinstance(result, Failure):
        data = {"schema": FAILURE_SCHEMA, "item": result.item, "error": str(result.error)}
    else:
        data = result.to_dict()
    return json.dumps(data, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Make every error one line, and the exit code what it should be."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, NormXLogitError):
            complain(str(error))
        else:
            complain(f"{type(error).__name__}: {error} (--debug shows where)")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Keep what the libraries log and warn of out of the output; our own warnings are one line."""
    if debug:
        yield
        return
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module=r"normxlogit\.")
            warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
            from transformers.utils import logging as progress

            had_bars = progress.is_progress_bar_enabled()
            progress.disable_progress_bar()  # type: ignore[no-untyped-call]
            try:
                yield
            finally:
                if had_bars:
                    progress.enable_progress_bar()  # type: ignore[no-untyped-call]
    finally:
        logging.disable(disabled)


def complain(message: str) -> None:
    typer.echo(f"normxlogit: {' '.join(message.split())}", err=True)


def write_utf8() -> None:
    """Pipes and files get UTF-8; a terminal that lacks a character gets "?" in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
