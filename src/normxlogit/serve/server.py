"""The process that serves an application, and how it stops."""

import os
import socket
import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from normxlogit.errors import OptionError
from normxlogit.serve.gate import Traffic

PATIENCE = 30.0
"""For how many seconds a server that stops waits for the requests under way."""


class Server(uvicorn.Server):
    """A server that, when it is told to stop, finishes what it has begun.

    From the signal on new requests are answered by 503, until those under way have their answers;
    only then does it close its socket. A second signal stops it at once.
    """

    def __init__(self, app: FastAPI, traffic: Traffic) -> None:
        """Take an application, and the traffic that it counts."""
        config = uvicorn.Config(
            app,
            access_log=False,  # addresses of pages hold texts
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
            lifespan="on",
        )
        super().__init__(config)
        self._traffic = traffic
        self._until: float | None = None

    def handle_exit(self, _signal: int, _frame: FrameType | None) -> None:
        """Begin to stop, or stop at once."""
        if self._traffic.stopping:
            self.should_exit = self.force_exit = True
        self._traffic.stopping = True
        self._until = time.monotonic() + PATIENCE

    async def on_tick(self, counter: int) -> bool:
        """Stop when nothing is under way any more; called ten times a second."""
        if self._until is not None:
            is_late = time.monotonic() > self._until
            self.force_exit = self.force_exit or is_late
            self.should_exit = self.should_exit or is_late or not self._traffic.under_way
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free.

    Raises:
        OptionError: there is no such address here, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(1024)
    except OSError as error:
        raise OptionError(
            f"cannot listen at {host} port {port}: {error.strerror or error}. Choose others with "
            "--host and --port."
        ) from error
    return bound


def serve(app: FastAPI, listening: socket.socket, traffic: Traffic) -> None:
    """Serve an application until a signal, and then what it has begun."""
    server = Server(app, traffic)
    server.run(sockets=[listening])
    if server.force_exit:
        # Threads are still computing, and the interpreter would wait for them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
