"""A server in this process, and clients of few words."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from normxlogit import Explainer
from normxlogit.serve.application import create_app
from normxlogit.serve.gate import Access, Traffic
from normxlogit.serve.limits import Limits
from normxlogit.serve.models import Models, ServedModel
from normxlogit.serve.server import Server, listen

Answer = tuple[int, Any]
"""A status, and the JSON of the body."""


@contextmanager
def serving(
    explainer: Explainer, limits: Limits | None = None, access: Access | None = None
) -> Iterator[tuple[Server, int]]:
    """Serve a model in a thread; give the server and its port. It is stopped at the end."""
    traffic = Traffic()
    models = Models({"demo": ServedModel("demo", explainer)})
    app = create_app(models, limits=limits, access=access, traffic=traffic)
    server = Server(app, traffic)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield server, listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)


def request_bytes(path: str, body: bytes, *headers: str) -> bytes:
    """A request as it is sent; a POST with JSON."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read an answer; one that is no JSON, which is not ours, as text."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split()[0])
    body = await reader.readexactly(length)
    is_json = b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body) if is_json else body.decode()


@contextmanager
def served_by_command(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `normxlogit serve` with the demo and its head at a free port; kill it at the end."""
    demo = ("--port", "0", "--model", "demo", "--head", "demo")
    process = subprocess.Popen(
        [sys.executable, "-m", "normxlogit", "serve", *demo, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def ask(port: int, path: str, data: Any, *headers: str) -> Answer:
    """Send one request on a connection of its own."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request_bytes(path, body, *headers))
        return await asyncio.wait_for(read_answer(reader), 60)
    finally:
        writer.close()


async def ask_all(port: int, path: str, every: Sequence[Any]) -> list[Answer]:
    """Send requests all at once."""
    return await asyncio.gather(*(ask(port, path, data) for data in every))
