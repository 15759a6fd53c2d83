"""A server in trouble: clients that leave, too much at once, signals."""

import asyncio
import json
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from normxlogit import Explainer
from normxlogit.serve.limits import Limits
from tests.helpers.serving import (
    ask,
    ask_all,
    read_answer,
    request_bytes,
    served_by_command,
    serving,
)

GOOD = {"text": "good", "method": "normxlogit"}


class Held:
    """`Explainer.explain` that waits until it is let go, and notes the texts that it gets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go, self.texts = threading.Event(), list[str]()
        original = Explainer.explain

        def explain(own: Explainer, inputs: Sequence[str], **arguments: Any) -> Any:
            self.texts += inputs
            assert self.let_go.wait(60)
            return original(own, inputs, **arguments)

        monkeypatch.setattr(Explainer, "explain", explain)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(monkeypatch)
    yield held
    held.let_go.set()


def different(count: int) -> list[dict[str, Any]]:
    """Requests that cannot run together, for each asks for other options."""
    return [{**GOOD, "text": f"good {n}", "threshold": n / 1000} for n in range(count)]


async def until_waiting(port: int, count: int) -> None:
    """Return when so many requests wait for the model, as the server's metrics say."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as metrics:
            return str(metrics.read().decode())

    wanted = f'normxlogit_waiting_requests{{for="short",model="demo"}} {count}.0'
    while wanted not in await asyncio.to_thread(read):
        await asyncio.sleep(0.02)


def test_clients_that_leave_are_dropped(demo: Explainer, held: Held) -> None:
    async def run(port: int) -> None:
        asked = different(5)
        running = [asyncio.ensure_future(ask(port, "/v1/explain", a)) for a in asked[:2]]
        await until_waiting(port, 1)
        leaving = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for (_, writer), data in zip(leaving, asked[2:4], strict=True):
            writer.write(request_bytes("/v1/explain", json.dumps(data).encode()))
            await writer.drain()
        # Half a request, too.
        _, half = await asyncio.open_connection("127.0.0.1", port)
        half.write(request_bytes("/v1/explain", b"x" * 100)[:-50])
        await half.drain()
        last = asyncio.ensure_future(ask(port, "/v1/explain", asked[4]))
        await until_waiting(port, 4)
        for _, writer in [*leaving, (None, half)]:
            writer.transport.abort()
        await until_waiting(port, 2)
        held.let_go.set()
        answers = [await answer for answer in (*running, last)]
        assert [status for status, _ in answers] == [200] * 3

    with serving(demo) as (_, port):
        asyncio.run(run(port))
    assert sorted(held.texts) == ["good 0", "good 1", "good 4"]


def test_too_much_at_once_and_too_late(demo: Explainer, held: Held) -> None:
    with serving(demo, Limits(queue=3, seconds=3)) as (_, port):
        answers = asyncio.run(ask_all(port, "/v1/explain", different(20)))
        held.let_go.set()
        statuses = Counter(status for status, _ in answers)
        assert statuses == {504: 4, 429: 16}  # one runs, and three wait
        assert asyncio.run(ask(port, "/v1/explain", GOOD))[0] == 200


def test_a_body_of_100_mb(demo: Explainer) -> None:
    async def chunked(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = request_bytes("/v1/explain", b"").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        writer.write(head)
        for _ in range(100):
            writer.write(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        status, _ = await read_answer(reader)
        writer.close()
        return status

    with serving(demo) as (_, port):
        status, answer = asyncio.run(ask(port, "/v1/explain", b"x" * 100 * 2**20))
        assert status == 413
        assert "1048576 bytes" in answer["error"]["message"]
        assert asyncio.run(chunked(port)) == 413
        assert asyncio.run(ask(port, "/v1/explain", GOOD))[0] == 200


def test_what_is_under_way_is_finished(demo: Explainer, held: Held) -> None:
    async def run(server: Any, port: int) -> None:
        begun = [asyncio.ensure_future(ask(port, "/v1/explain", a)) for a in different(6)]
        await until_waiting(port, 5)
        server.handle_exit(signal.SIGTERM, None)
        status, answer = await ask(port, "/v1/explain", GOOD)
        assert (status, answer["error"]["message"]) == (503, "the server stops. Ask another.")
        held.let_go.set()
        assert [(await answer)[0] for answer in begun] == [200] * 6

    with serving(demo) as (server, port):
        asyncio.run(run(server, port))
        deadline = time.monotonic() + 60
        while not server.should_exit:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_command(tmp_path: Path) -> None:
    """One of two models does not load; a key is asked for, and is in no output; SIGTERM ends it."""
    key = "a-key-that-nobody-guesses"
    with served_by_command("--model", f"other={tmp_path}", NORMXLOGIT_API_KEY=key) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving demo, other at http://127.0.0.1:"), line
        port = int(line.split(" (")[0].rpartition(":")[2])
        bearer = f"Authorization: Bearer {key}"

        async def run() -> list[int]:
            asked = [*different(10), {**GOOD, "model": "other"}]
            heavy = {**GOOD, "method": "integrated_gradients", "options": {"n_steps": 200}}
            under_way = asyncio.ensure_future(ask(port, "/v1/explain", heavy, bearer))
            answers = await asyncio.gather(
                ask(port, "/v1/explain", GOOD),
                *(ask(port, "/v1/explain", data, bearer) for data in asked),
            )
            process.send_signal(signal.SIGTERM)
            return [status for status, _ in [*answers, await under_way]]

        assert asyncio.run(run()) == [401, *[200] * 10, 503, 200]
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert err.startswith("normxlogit: warning: model other did not load: cannot load")
    assert err.count("\n") == 1
    assert key not in err
