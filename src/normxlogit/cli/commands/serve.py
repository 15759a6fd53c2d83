"""`normxlogit serve`."""

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model
from normxlogit.cli.errors import complain, quiet, reporting
from normxlogit.cli.io import use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import Debug, Device, Dtype, TrustRemoteCode
from normxlogit.errors import ModelError, NormXLogitError, OptionError
from normxlogit.serve.limits import Limits
from normxlogit.show.phrases import without_folders

if TYPE_CHECKING:
    from normxlogit.serve.models import ServedModel

KEY = "NORMXLOGIT_API_KEY"
"""The variable of the environment that holds the key."""

NEEDED = ("fastapi", "uvicorn", "prometheus_client")

_NAMED = re.compile(r"([\w][\w.-]*)=(.+)")
_ORIGIN = re.compile(r"https?://[^/\s?#@]+")
_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="[NAME=]MODEL",
            help="A model on the Hugging Face Hub, or a folder, and what requests call it; may be "
            "given several times. 'demo' comes with this package. Requests that name none get the "
            "first.",
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="[NAME=]FILE",
            help="An attribution head that 'normxlogit fit' fitted to the first model, or to the "
            "one of that name.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 is every network of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8000,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Pages of other servers that may ask, such as https://example.org; may be given "
            "several times.",
        ),
    ] = None,
    max_characters: Annotated[
        int, typer.Option(min=1, help="The longest text that is explained.")
    ] = Limits.characters,
    max_items: Annotated[
        int, typer.Option(min=1, help="The most texts in a request.")
    ] = Limits.items,
    max_body: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="The largest request.")
    ] = Limits.body,
    max_queue: Annotated[
        int, typer.Option(min=1, help="How many requests may wait for a model.")
    ] = Limits.queue,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer that is generated.")
    ] = Limits.new_tokens,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long an answer may take.")
    ] = Limits.seconds,
    device: Device = "auto",
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Answer requests over HTTP with explanations; /docs describes them.

    Requests need the key that the environment variable NORMXLOGIT_API_KEY holds, if it is set.

    Example: normxlogit serve --model MODEL --port 8000
    """
    use_utf8()
    with reporting(debug):
        from normxlogit.extras import check_installed

        options = {
            name: ModelOptions(named, None, device, dtype, None, trust_remote_code, file)
            for name, (named, file) in _parse_models(model or ["demo"], head or []).items()
        }
        key, origins = _read_key(), _check_origins(allow_origin or [])
        check_installed(NEEDED, "serve")
        if len(options) == 1:
            check_model(*options.values())

        from normxlogit.serve.server import listen
        from normxlogit.serve.server import serve as run

        limits = Limits(
            characters=max_characters,
            items=max_items,
            body=max_body,
            queue=max_queue,
            seconds=timeout,
            new_tokens=max_new_tokens,
        )
        # Before the models, which take longer to load than an address to be refused.
        with listen(host, port) as listening:
            with quiet(debug):
                served = _load(options)
            from normxlogit.serve.application import create_app
            from normxlogit.serve.gate import Access, Traffic
            from normxlogit.serve.models import Models

            traffic = Traffic()
            app = create_app(
                Models(served),
                limits=limits,
                access=Access(key, origins, is_local=host in _LOCAL),
                traffic=traffic,
            )
            if key is None and host not in _LOCAL:
                complain(
                    f"warning: everybody who reaches this machine may ask. Set {KEY} to a key."
                )
            shown, port = listening.getsockname()[:2]
            address = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
            terminal.say(f"Serving {', '.join(served)} at http://{address} (Ctrl+C stops)")
            run(app, listening, traffic)


def _parse_models(models: list[str], heads: list[str]) -> dict[str, tuple[str, str | None]]:
    """Return each model with its head, by the name that requests call it by.

    Raises:
        OptionError: two have one name, or a head belongs to none.
    """
    parsed: dict[str, tuple[str, str | None]] = {}
    for text in models:
        match = _NAMED.fullmatch(text)
        name, model = match.groups() if match else (without_folders(text), text)
        if name in parsed:
            raise OptionError(f"two models are called {name!r}. Name them: --model NAME=MODEL.")
        parsed[name] = (model, None)
    for text in heads:
        match = _NAMED.fullmatch(text)
        name, file = match.groups() if match else (next(iter(parsed)), text)
        if name not in parsed:
            raise OptionError(
                f"--head {text} is for a model {name!r}, and the models are {', '.join(parsed)}."
            )
        model, other = parsed[name]
        if other is not None:
            raise OptionError(f"model {name!r} has two heads. Give one of them.")
        parsed[name] = (model, file)
    return parsed


def _read_key() -> str | None:
    """Return the key of the environment.

    Raises:
        OptionError: it is empty, or no header could hold it.
    """
    key = os.environ.get(KEY)
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise OptionError(
            f"{KEY} must be printable ASCII without spaces. Set it to such a key, or unset it to "
            "let everybody ask."
        )
    return key


def _check_origins(origins: list[str]) -> tuple[str, ...]:
    """Return origins.

    Raises:
        OptionError: one is none, such as "*".
    """
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise OptionError(
                f"--allow-origin {origin!r:.80} is no origin. Give scheme, host and port as "
                "browsers send them: https://example.org or http://localhost:3000."
            )
    return tuple(origins)


def _load(options: dict[str, ModelOptions]) -> "dict[str, ServedModel | None]":
    """Load models; say which of several did not load, and go on without.

    Raises:
        NormXLogitError: none loaded.
    """
    from normxlogit.serve.models import ServedModel

    served: dict[str, ServedModel | None] = {}
    for name, named in options.items():
        try:
            check_model(named)
            served[name] = ServedModel(name, load(named))
        except NormXLogitError as error:
            if len(options) == 1:
                raise
            complain(f"warning: model {name} did not load: {error}")
            served[name] = None
    if not any(served.values()):
        raise ModelError("no model loaded, so there is nothing to serve.")
    return served
