"""The command `normxlogit`: parses, calls, prints.

Nothing heavy is imported before there is something to explain, so that `--help` is quick.
"""

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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import __version__
from .errors import InputError, NormXLogitError
from .files import write_whole

if TYPE_CHECKING:
    from .attribution import Attribution, Failure
    from .explainer import Explainer

FAILURE_SCHEMA = "normxlogit/failure/1"

app = typer.Typer(
    name="normxlogit",
    help="Which words a transformer's prediction rests on, at the price of one forward pass.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


class Norm(str, Enum):
    """Which embedding's length the scores are multiplied by."""

    EMBEDDING = "embedding"
    WORD = "word"


def main() -> None:
    """The entry point."""
    app()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"normxlogit {__version__}")
        raise typer.Exit


@app.callback()
def _normxlogit(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


def _layer(value: str | None) -> int | Literal["all"] | None:
    if value is None:
        return None
    if value == "all":
        return "all"
    if not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"--layer {value!r} is neither a number from 1 nor 'all'.")
    return int(value)


@app.command()
def explain(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="One or more texts. Without any, or as '-', standard input is one text.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A model on the Hugging Face Hub, or a folder; 'demo' comes with this package.",
        ),
    ] = "demo",
    pair: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The second text of a pair.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read one text from a file (UTF-8).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="What to explain: a label or its number, or 'all'; may be given several times. "
            "Without it, what the model predicts.",
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Explain the target rather than this label."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="normxlogit; or logat, norm, random to compare with.")
    ] = "normxlogit",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|all",
            help="Read this layer instead of the last, or all of them.",
        ),
    ] = None,
    readout: Annotated[
        str | None,
        typer.Option(
            help="The number read from the head: logit, margin, logprob, centered; of a regression "
            "closeness, distance."
        ),
    ] = None,
    norm: Annotated[
        Norm | None,
        typer.Option(help="The length of the whole embedding, or of the bare word embedding."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words/--tokens", help="Scores of words, or of the model's tokens.")
    ] = True,
    special: Annotated[
        bool, typer.Option("--special", help="Show special tokens such as [CLS] too.")
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="With several labels: the probability that predicts a label."
        ),
    ] = 0.5,
    long: Annotated[
        Long,
        typer.Option(
            help="With a text over the model's limit: stop, explain its beginning, or explain it "
            "in windows that overlap."
        ),
    ] = Long.ERROR,
    form: Annotated[
        Format,
        typer.Option("--format", help="json is one object a line; html a page."),
    ] = Format.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file, whole or not at all."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="The model's branch, tag or commit on the Hub.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Of the weights: auto, float32, bfloat16 or float16.")
    ] = "auto",
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run code that comes with the model."),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="How many texts run together.")] = 32,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, and what the libraries log.")
    ] = False,
) -> None:
    """Show which words a prediction rests on.

    Example: normxlogit explain "A great movie with poor performers."
    """
    _write_utf8()
    with _reporting(debug):
        which_layer = _layer(layer)
        inputs = _inputs(texts or [], pair, file)
        _check_output(output)
        _prefer_cache(model)
        options: dict[str, Any] = {"norm": norm.value} if norm else {}
        with _quiet(debug):
            explainer = _explainer(
                model,
                revision=revision,
                device=device,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
            )
            results = explainer.stream(
                inputs,
                target=_target(target),
                contrast=contrast,
                method=method,
                layer=which_layer,
                readout=readout,
                threshold=threshold,
                batch_size=batch_size,
                long=long.value,
                **options,
            )
            failures = _show(results, form, output, words=words, special=special, count=len(inputs))
        if failures and debug:
            raise failures[0].error
        if failures:
            raise typer.Exit(1)


def _target(target: list[str] | None) -> str | list[str] | None:
    """One label is no list, so that the result has no axis of targets."""
    if not target:
        return None
    return target[0] if len(target) == 1 else target


def _inputs(texts: list[str], pair: str | None, file: Path | None) -> list[Any]:
    """What is to be explained: texts, or one pair."""
    if file is not None and texts:
        raise typer.BadParameter("give either TEXT or --file, not both.")
    if file is not None:
        texts = [_decoded(_bytes_of(file), str(file))]
    elif not texts and sys.stdin.isatty():
        raise typer.BadParameter('no TEXT. Try: normxlogit explain "A great movie."')
    elif texts in ([], ["-"]):
        texts = [_decoded(sys.stdin.buffer.read(), "standard input")]
    if any(
        "\ud800" <= character <= "\udfff" for text in [*texts, pair or ""] for character in text
    ):
        raise InputError("TEXT is not valid UTF-8.")
    if pair is None:
        return list(texts)
    if len(texts) != 1:
        raise typer.BadParameter(f"--pair takes one TEXT before it, got {len(texts)}.")
    return [(texts[0], pair)]


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from error


def _decoded(content: bytes, name: str) -> str:
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


def _check_output(output: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    if output is None:
        return
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise InputError(f"cannot write {output}: it is not a plain file.")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {output}: the folder {folder} cannot be written to.")


def _prefer_cache(model: str) -> None:
    """Leave the Hub alone if it cannot be reached: asking it takes its client most of a minute."""
    if model != "demo" and not Path(model).exists() and not _hub_answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


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


def _explainer(model: str, **options: Any) -> "Explainer":
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Loading") if console.is_terminal else contextlib.nullcontext():
        from .explainer import Explainer

        return Explainer.from_pretrained(model, **options)


def _show(
    results: Iterable["Attribution | Failure"],
    form: Format,
    output: Path | None,
    *,
    words: bool,
    special: bool,
    count: int,
) -> list["Failure"]:
    """Print or write the results, tell of the failures among them, and return these."""
    from .attribution import Failure

    failures: list[Failure] = []
    kept: list[Attribution | Failure] = []
    for position, result in enumerate(results, 1):
        if isinstance(result, Failure):
            failures.append(result)
            _complain(f"text {position}: {result.error}" if count > 1 else str(result.error))
        elif words:
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
    sys.stdout.flush()
    return failures


def _print(
    result: "Attribution | Failure", form: Format, special: bool, heading: str | None
) -> None:
    from rich.console import Console

    from .attribution import Attribution
    from .show.terminal import render

    if form is Format.JSON:
        sys.stdout.write(_json(result))
        sys.stdout.flush()
    elif isinstance(result, Attribution):
        console = Console()
        if heading:
            console.rule(heading, align="left", style="dim")
        console.print(render(result, special=special))


def _whole(results: list["Attribution | Failure"], form: Format, special: bool) -> str:
    """All results as one text."""
    from .attribution import Attribution
    from .show.html import page
    from .show.terminal import plain

    if form is Format.HTML:
        return page(results, special=special)
    if form is Format.JSON:
        return "".join(_json(result) for result in results)
    shown = [plain(r, special=special) + "\n" for r in results if isinstance(r, Attribution)]
    return "\n".join(shown)


def _json(result: "Attribution | Failure") -> str:
    from .attribution import Attribution

    if isinstance(result, Attribution):
        data = result.to_dict()
    else:
        data = {"schema": FAILURE_SCHEMA, "item": result.item, "error": str(result.error)}
    return json.dumps(data, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def _reporting(debug: bool) -> Iterator[None]:
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
            _complain(str(error))
        else:
            _complain(f"{type(error).__name__}: {error} (--debug shows where)")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _quiet(debug: bool) -> Iterator[None]:
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
            warnings.showwarning = lambda message, *_: _complain(f"warning: {message}")
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


def _complain(message: str) -> None:
    typer.echo(f"normxlogit: {' '.join(message.split())}", err=True)


def _write_utf8() -> None:
    """Pipes and files get UTF-8; a terminal that lacks a character gets "?" in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
