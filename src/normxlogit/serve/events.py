"""Answers that are generated: sent event by event while the model still writes."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from normxlogit.errors import NormXLogitError
from normxlogit.results.generation import GenerationAttribution
from normxlogit.serve.answers import error_data, to_json
from normxlogit.serve.limits import LateError, LeftError, status_of
from normxlogit.serve.models import ServedModel

_log = logging.getLogger(__name__)


class Writer:
    """Generates an answer in a thread, and hands what it writes to the event loop."""

    def __init__(self, model: ServedModel, prompt: Any, arguments: dict[str, Any]) -> None:
        """Begin to write, when it is the request's turn."""
        self._model, self._prompt, self._arguments = model, prompt, arguments
        self._loop = asyncio.get_running_loop()
        self._written: asyncio.Queue[tuple[str, bytes] | Exception] = asyncio.Queue()
        self._is_stopped = threading.Event()
        self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """End writing after the current token: nobody reads it any more."""
        self._is_stopped.set()
        self._task.cancel()

    async def events(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield "token" for each token, and at last "result", each with its data as JSON.

        Raises:
            BusyError: too many requests wait.
            NormXLogitError: as `Explainer.generate_stream` raises.
        """
        name = ""
        while name != "result":
            written = await self._written.get()
            if isinstance(written, Exception):
                raise written
            name, _ = written
            yield written

    async def result(self) -> bytes:
        """Return the whole answer as JSON; raises as `events`."""
        return [data async for _, data in self.events()][-1]

    async def _run(self) -> None:
        try:
            answer = await self._model.alone("generate", self._write)
        except Exception as error:
            self._written.put_nowait(error)
        else:
            self._written.put_nowait(("result", answer))

    def _write(self) -> bytes:
        explainer = self._model.explainer
        with explainer.generate_stream(self._prompt, **self._arguments) as stream:
            for step in stream:
                if self._is_stopped.is_set():
                    raise LeftError("the client has left.")
                token = ("token", to_json(_token(step)))
                self._loop.call_soon_threadsafe(self._written.put_nowait, token)
        assert stream.result is not None
        return to_json(stream.result.to_dict())


def _token(step: GenerationAttribution) -> dict[str, Any]:
    """Return what an event says of a new token."""
    target = step.targets[0]
    # A character of several tokens decodes to U+FFFD until its last token is there.
    answer = step.answer.rstrip("\ufffd")
    return {"token": target.label, "probability": target.probability, "answer": answer}


async def event_stream(
    writer: Writer, first: tuple[str, bytes], rest: AsyncIterator[tuple[str, bytes]], until: float
) -> AsyncIterator[bytes]:
    """Yield events as they are sent; an error that comes now is one too, and the last.

    Args:
        writer: is stopped at the end, also where the client leaves.
        first, rest: its events.
        until: the time of `time.monotonic` at which the answer must be complete.
    """
    try:
        yield _event(*first)
        while first[0] != "result":
            first = await asyncio.wait_for(anext(rest), until - time.monotonic())
            yield _event(*first)
    except asyncio.TimeoutError:
        yield _error(LateError("the answer takes too long. Ask for fewer tokens."))
    except NormXLogitError as error:
        yield _error(error)
    except Exception:
        _log.exception("an answer could not be finished")
        yield _event("error", to_json(error_data(500, "the server failed. Its log says why.")))
    finally:
        writer.stop()


def _error(error: NormXLogitError) -> bytes:
    return _event("error", to_json(error_data(status_of(error), str(error))))


def _event(name: str, data: bytes) -> bytes:
    """Return an event as it is sent; our JSON has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
