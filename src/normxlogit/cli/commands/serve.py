"""`normxlogit serve`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model
from normxlogit.cli.errors import complain, quiet, reporting
from normxlogit.cli.io import use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import Debug, Device, Dtype, Engine, TrustRemoteCode
from normxlogit.errors import ModelError, NormXLogitError, OptionError
from normxlogit.model.loading.names import DEMO
from normxlogit.serve.key import KEY, read_key
from normxlogit.serve.limits import Limits
from normxlogit.show.phrases import without_folders

if TYPE_CHECKING:
    from normxlogit.serve.gate import Access
    from normxlogit.serve.models import ServedModel

NEEDED = ("fastapi", "uvicorn", "prometheus_client")

REPLICAS = 2
"""How many replicas there are unless something else is chosen: the fewest of which one may die."""

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
    engine: Annotated[
        Engine,
        typer.Option(
            help="Where the models run: local, in this process; ray, in replicas of Ray Serve on "
            "this machine, or on the cluster that RAY_ADDRESS names."
        ),
    ] = Engine.LOCAL,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --engine ray, how many processes have all the models, each with a processor "
            f"of its own; {REPLICAS}, if not given.",
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Answer requests over HTTP with explanations; /docs describes them.

    Requests need the key that the environment variable NORMXLOGIT_API_KEY holds, if it is set;
    with --engine ray replicas read it from their own environment.

    Example: normxlogit serve --model MODEL --port 8000
    """
    use_utf8()
    with reporting(debug):
        from normxlogit.extras import check_installed

        options = {
            name: ModelOptions(named, None, device, dtype, None, trust_remote_code, file)
            for name, (named, file) in _parse_models(model or ["demo"], head or []).items()
        }
        key, origins = read_key(), _check_origins(allow_origin or [])
        if replicas is not None and engine is Engine.LOCAL:
            raise OptionError("--replicas is for --engine ray.")
        check_installed(NEEDED, "serve")
        if engine is Engine.RAY:
            check_installed(["ray"], "ray")
        if len(options) == 1 or engine is Engine.RAY:
            for named in options.values():
                check_model(named)

        limits = Limits(
            characters=max_characters,
            items=max_items,
            body=max_body,
            queue=max_queue,
            seconds=timeout,
            new_tokens=max_new_tokens,
        )
        from normxlogit.serve.gate import Access

        service = _Service(
            options, host, port, limits, Access(key, origins, is_local=host in _LOCAL)
        )
        if engine is Engine.RAY:
            _serve_on_ray(service, replicas or REPLICAS, debug)
        else:
            _serve_here(service, debug)


@dataclass(frozen=True)
class _Service:
    """What is served, where, and to whom."""

    models: Mapping[str, ModelOptions]
    host: str
    port: int
    limits: Limits
    access: "Access"

    def announce(self, host: str, port: int, how: str = "") -> None:
        """Say where the models are served, and warn if anybody may ask."""
        if self.access.key is None and not self.access.is_local:
            complain(f"warning: everybody who reaches this machine may ask. Set {KEY} to a key.")
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        terminal.say(f"Serving {', '.join(self.models)} at http://{address}{how} (Ctrl+C stops)")


def _serve_here(service: _Service, debug: bool) -> None:
    """Serve models in this process."""
    from normxlogit.serve.server import listen
    from normxlogit.serve.server import serve as run

    # Before the models, which take longer to load than an address to be refused.
    with listen(service.host, service.port) as listening:
        with quiet(debug):
            served = _load(service.models)
        from normxlogit.serve.application import create_app
        from normxlogit.serve.gate import Traffic
        from normxlogit.serve.models import Models

        traffic = Traffic()
        app = create_app(
            Models(served), limits=service.limits, access=service.access, traffic=traffic
        )
        service.announce(*listening.getsockname()[:2])
        run(app, listening, traffic)


def _serve_on_ray(service: _Service, count: int, debug: bool) -> None:
    """Serve models in replicas of Ray Serve."""
    from normxlogit.serve.server import listen

    host, port = service.host, service.port
    if "RAY_ADDRESS" not in os.environ:
        # Ray tells late that an address is taken, and does not choose a port.
        with listen(host, port) as listening:
            host, port = listening.getsockname()[:2]
    elif port == 0:
        raise OptionError("--port 0 is for this machine alone. On a cluster choose a port.")
    with quiet(debug):
        from normxlogit.serve.replicas import Settings, serve_replicas

        settings = Settings(
            load=partial(
                load_models, {name: _absolute(named) for name, named in service.models.items()}
            ),
            device=next(iter(service.models.values())).device,
            limits=service.limits,
            origins=service.access.origins,
            is_local=service.access.is_local,
            needs_key=service.access.key is not None,
        )
        how = f" by {count} replica{'s' * (count > 1)}"
        is_finished = serve_replicas(
            settings,
            count=count,
            host=host,
            port=port,
            announce=partial(service.announce, host, port, how),
        )
    if not is_finished:
        raise typer.Exit(1)


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


def _load(options: Mapping[str, ModelOptions]) -> "dict[str, ServedModel | None]":
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


def load_models(options: Mapping[str, ModelOptions], device: str) -> "dict[str, ServedModel]":
    """Load models in a replica, all of them: replicas must not differ in what they serve.

    Raises:
        NormXLogitError: one does not load.
    """
    from normxlogit.serve.models import ServedModel

    return {
        name: ServedModel(name, load(replace(named, device=device)))
        for name, named in options.items()
    }


def _absolute(named: ModelOptions) -> ModelOptions:
    """Return a model under names that hold in processes with another working directory."""
    model, head = named.model, named.head
    if model != DEMO and Path(model).exists():
        model = str(Path(model).absolute())
    if head is not None and head != DEMO:
        head = str(Path(head).absolute())
    return replace(named, model=model, head=head)
