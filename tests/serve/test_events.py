"""A stream of events that does not come to its end."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from normxlogit import Explainer
from normxlogit.errors import ModelError
from normxlogit.results.generation import GenerationAttribution
from normxlogit.serve.limits import Limits
from tests.helpers.serving import ask, request_bytes, serving

BODY = {"prompt": "Is it good?", "max_new_tokens": 2}


class Endless:
    """A stream of one token again and again, until it is closed or fails."""

    result = None

    def __init__(self, step: GenerationAttribution, tokens: int | None) -> None:
        self.step, self.tokens = step, tokens
        self.closed = threading.Event()

    def __enter__(self) -> Iterator[GenerationAttribution]:
        number = 0
        while number != self.tokens:
            time.sleep(0.01)
            yield self.step
            number += 1
        raise ModelError("logits are not finite.")

    def __exit__(self, *_: object) -> None:
        self.closed.set()


@pytest.fixture(scope="module")
def step(llm: Explainer) -> GenerationAttribution:
    with llm.generate_stream("Is it good?", max_new_tokens=1) as stream:
        return next(stream)


def replace_stream(
    monkeypatch: pytest.MonkeyPatch, step: GenerationAttribution, tokens: int | None
) -> Endless:
    endless = Endless(step, tokens)
    monkeypatch.setattr(Explainer, "generate_stream", lambda *_, **__: endless)
    return endless


async def read_events(port: int, count: int | None) -> list[tuple[str, Any]]:
    """Read so many events and leave, or all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes("/v1/generate", json.dumps(BODY).encode(), "Connection: close"))
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    events: list[tuple[str, Any]] = []
    while len(events) != count and not reader.at_eof():
        line = await reader.readline()
        if line.startswith(b"event: "):
            data = await reader.readline()
            events.append((line[7:].decode().strip(), json.loads(data[6:])))
    writer.transport.abort()
    return events


def test_a_reader_who_leaves_ends_it(
    llm: Explainer, step: GenerationAttribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(llm) as (_, port):
        with monkeypatch.context() as patched:
            endless = replace_stream(patched, step, None)
            events = asyncio.run(read_events(port, 3))
            assert [name for name, _ in events] == ["token"] * 3
            assert endless.closed.wait(60)
        body = {**BODY, "stream": False}
        assert asyncio.run(ask(port, "/v1/generate", body))[0] == 200


@pytest.mark.parametrize(("tokens", "status"), [(2, 500), (None, 504)])
def test_an_error_is_the_last_event(
    llm: Explainer,
    step: GenerationAttribution,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int | None,
    status: int,
) -> None:
    endless = replace_stream(monkeypatch, step, tokens)
    with serving(llm, Limits(seconds=0.5)) as (_, port):
        *before, (name, data) = asyncio.run(read_events(port, None))
    assert {name for name, _ in before} == {"token"}
    assert (name, data["error"]["status"]) == ("error", status)
    assert endless.closed.wait(60)
