"""The application in replicas of Ray Serve, on this machine or on a cluster.

Ray's proxy takes the requests and gives each to one of the replicas, which are processes with an
application, models and queues of their own.
"""

import contextlib
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from prometheus_client import Metric, generate_latest

from normxlogit.corpus.ray import connection
from normxlogit.errors import NormXLogitError, OptionError
from normxlogit.extras import require
from normxlogit.serve.application import create_app
from normxlogit.serve.gate import Access, Traffic
from normxlogit.serve.key import KEY, read_key
from normxlogit.serve.limits import Limits
from normxlogit.serve.metrics import Joined, Metrics
from normxlogit.serve.models import Models, ServedModel
from normxlogit.serve.server import PATIENCE

_APPLICATION, _DEPLOYMENT = "normxlogit", "models"

_ALL = 2**14
"""How many requests a replica may have: its own queues refuse what is too much, and say so."""

_METRICS = 5.0
"""For how many seconds the metrics of replicas are waited for."""


@dataclass(frozen=True)
class Settings:
    """What a replica builds its application from.

    Ray keeps this and shows parts of it, so it holds no model and no key: replicas load the models,
    and read the key from their own environment.

    Attributes:
        load: loads the models on a device, by the names that requests call them by.
        device: "auto" is a GPU for each replica if the cluster has so many, else the processor.
        limits: how much a request may ask for.
        origins, is_local: as in `Access`.
        needs_key: whether there must be a key.
    """

    load: Callable[[str], Mapping[str, ServedModel]]
    device: str
    limits: Limits
    origins: Collection[str]
    is_local: bool
    needs_key: bool


class Replica:
    """A replica: an application, and what is done to all of them at once."""

    def __init__(self, settings: Settings) -> None:
        """Load the models.

        Raises:
            NormXLogitError: one does not load, or there is no key where there must be one.
        """
        key = read_key()
        if settings.needs_key and key is None:
            raise OptionError(f"{KEY} is not set where Ray runs. Set it there, on every machine.")
        self._traffic, self._metrics = Traffic(), ReplicaMetrics()
        self._app = create_app(
            Models(settings.load(settings.device)),
            limits=settings.limits,
            access=Access(key, settings.origins, settings.is_local),
            traffic=self._traffic,
            metrics=self._metrics,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application to Ray Serve."""
        return self._app

    def stop(self) -> int:
        """Refuse new requests from now on; return how many are under way."""
        self._traffic.stopping = True
        return self._traffic.under_way

    def collect(self) -> tuple[str, list[Metric]]:
        """Return the replica's name and its metrics."""
        context = require("ray.serve", "ray").get_replica_context()
        return context.replica_id.unique_id, self._metrics.collect()


class ReplicaMetrics(Metrics):
    """The metrics of a replica, which tells those of all: nobody can choose which one answers."""

    async def text(self) -> bytes:
        """Return the metrics of every replica that answers, in Prometheus' text format."""
        handle = require("ray.serve", "ray").get_deployment_handle(_DEPLOYMENT, _APPLICATION)
        answers = await handle.broadcast("collect").results_async(
            timeout_s=_METRICS, return_exceptions=True
        )
        return generate_latest(Joined(dict(a for a in answers if isinstance(a, tuple))))


def serve_replicas(
    settings: Settings, *, count: int, host: str, port: int, announce: Callable[[], None]
) -> bool:
    """Serve until a signal, and then what is begun; a second signal ends the process at once.

    Args:
        settings: what replicas are built from.
        count: how many there are.
        host, port: where Ray's proxy listens, on this machine or the head of the cluster.
        announce: is called when they serve.

    Returns:
        Whether every request under way has its answer.

    Raises:
        OptionError: the cluster has no room for the replicas.
        NormXLogitError: Ray cannot be reached or cannot serve, or a replica could not start.
    """
    ray, serve = require("ray", "ray"), require("ray.serve", "ray")
    with connection(ray) as is_shared:
        if is_shared and serve.status().proxies:
            raise NormXLogitError(
                "Ray Serve runs in this cluster already, and listens where it was told to. Stop it "
                "with 'serve shutdown', or leave RAY_ADDRESS unset to serve from this machine."
            )
        try:
            handle = _deploy(ray, serve, settings, count, host, port, may_grow=is_shared)
            with _signalled() as stop:
                announce()
                # What Ray tells of workers is no output of ours.
                with contextlib.redirect_stdout(sys.stderr):
                    stop.wait()
                    return _finish(handle)
        finally:
            if is_shared:
                serve.shutdown()


def _deploy(
    ray: Any, serve: Any, settings: Settings, count: int, host: str, port: int, *, may_grow: bool
) -> Any:
    """Start the replicas, and the proxy in front; return a handle on them."""
    room = ray.cluster_resources()
    on_gpu = settings.device.startswith("cuda")
    if settings.device == "auto":
        on_gpu = room.get("GPU", 0) >= count
        settings = replace(settings, device="cuda" if on_gpu else "cpu")
    if not may_grow and (count > room.get("CPU", 0) or (on_gpu and count > room.get("GPU", 0))):
        raise OptionError(
            f"{count} replicas of a processor{' and a GPU' * on_gpu} each do not fit into "
            f"{room.get('CPU', 0):g} processors and {room.get('GPU', 0):g} GPUs. Choose fewer with "
            "--replicas."
        )
    # Addresses of pages hold texts.
    logs = {"log_level": "WARNING", "enable_access_log": False}
    # A request may take so long to arrive, and its answer once more; later than that its replica
    # hangs.
    latest = 2 * settings.limits.seconds + _METRICS
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=_DEPLOYMENT,
        num_replicas=count,
        max_ongoing_requests=_ALL,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(on_gpu)},
        max_constructor_retry_count=1,
        logging_config=logs,
    )
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": host, "port": port, "request_timeout_s": latest},
            logging_config=logs,
        )
        return serve.run(deployment.bind(settings), name=_APPLICATION, route_prefix="/")
    except Exception as error:  # of any kind, from the address to what a replica raises
        raise NormXLogitError(f"Ray cannot serve: {_reason(serve, error)}") from error


def _reason(serve: Any, error: Exception) -> str:
    """Return the last line of what a replica raised, else of what Ray says itself."""
    application = serve.status().applications.get(_APPLICATION)
    messages = [error] if application is None else application.deployments.values()
    text = "".join(getattr(message, "message", str(message)) for message in messages)
    *_, last = text.strip().splitlines() or [type(error).__name__]
    return re.sub(r"^normxlogit\.[\w.]+: ", "", last)


@contextlib.contextmanager
def _signalled() -> Iterator[threading.Event]:
    """Set an event at SIGINT or SIGTERM, and let a second one end the process."""
    stop = threading.Event()

    def begin(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    before = {n: signal.signal(n, begin) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(handle: Any) -> bool:
    """Let replicas answer what they have begun; return whether they did in time."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        under_way = handle.broadcast("stop").results(timeout_s=PATIENCE, return_exceptions=True)
        # A replica that is gone answers nobody any more, and its answer here is an error.
        if not any(count for count in under_way if isinstance(count, int)):
            return True
        time.sleep(0.1)
    return False
