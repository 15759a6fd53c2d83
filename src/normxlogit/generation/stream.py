"""Streams generated tokens, each with its scores, while the model is still generating."""

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from normxlogit.errors import OptionError
from normxlogit.generation.recording import Recording
from normxlogit.generation.texts import Generator
from normxlogit.query import Query
from normxlogit.results.generation import GenerationAttribution
from normxlogit.text.encoded import Encoded

_PATIENCE = 60.0
"""Seconds to wait at most for the model to finish its current step."""


class Stream(Iterator[GenerationAttribution]):
    """Iterates over new tokens, each with its scores.

    The model generates in a separate thread, one token ahead of the reader. The thread ends with
    the answer, when the stream is closed, and when the stream is garbage-collected. As a context
    manager the stream is closed at the end of the block.

    Attributes:
        result: the whole answer with its scores, once the iterator is exhausted.
    """

    result: GenerationAttribution | None = None

    def __init__(
        self, generator: Generator, prompt: Encoded, query: Query, options: Mapping[str, Any]
    ) -> None:
        all_options = generator.options(options, [prompt])
        for name in ("num_beams", "num_return_sequences"):
            if (generator.option(all_options, name) or 1) != 1:
                raise OptionError(
                    f"{name} makes several sequences, and a stream has one. Use generate()."
                )
        recording = generator.recording([prompt])
        self._channel, self._reading = _Channel(), threading.Lock()
        self._thread = _Thread(self._channel, generator, recording, prompt, query, all_options)
        # Not at exit: `_end_all` closes all channels then, and waits for the threads too.
        weakref.finalize(self, self._channel.close).atexit = False

    def __next__(self) -> GenerationAttribution:
        """Return the next token.

        Raises:
            StopIteration: there are no more, or the stream is closed.
            NormXLogitError: as `Explainer.generate` raises.
        """
        channel = self._channel
        with self._reading:
            if channel.is_closed:
                raise StopIteration
            if self._thread.ident is None:  # not started yet
                self._thread.start()
            channel.requests.put(None)
            message = channel.messages.get()
            if channel.is_closed:
                raise StopIteration
            if isinstance(message, GenerationAttribution):
                return message
            self.close()
            if isinstance(message, _End):
                self.result = message.result
                if message.error is not None:
                    try:
                        raise message.error
                    finally:
                        del message  # else the error and this frame would hold each other
            raise StopIteration

    def close(self) -> None:
        """Stop generating, and wait for the model's current step.

        A closed stream has no more tokens. Closing it twice does nothing.
        """
        self._channel.close()
        # A thread cannot wait for itself, should one of the model's callbacks close the stream.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _End:
    """The last message of a thread: the result, or the error that ended it."""

    result: GenerationAttribution | None = None
    error: BaseException | None = None


class _Channel:
    """Connects a stream and its thread. It refers to neither, so the stream can be collected.

    `SimpleQueue.put` is reentrant, so `close` may run in a finalizer at any moment, even inside
    another `put` of the same thread.

    Attributes:
        requests: one item for each token that the reader asked for.
        messages: tokens, then an `_End`; None only wakes a waiting reader.
        is_closed: whether the reader has left. Each side checks it after every wait.
    """

    def __init__(self) -> None:
        self.requests: SimpleQueue[None] = SimpleQueue()
        self.messages: SimpleQueue[GenerationAttribution | _End | None] = SimpleQueue()
        self.is_closed = False

    def close(self) -> None:
        """Release whichever side waits for the other."""
        # The flag first, so that a woken side sees it.
        self.is_closed = True
        self.requests.put(None)
        self.messages.put(None)

    def send(self, token: GenerationAttribution) -> None:
        """Send a token, and wait until the reader asks for it.

        Waiting after the token was sent, not before, keeps the model one token ahead: the reader's
        request that takes this token lets the model compute the next.
        """
        self.messages.put(token)
        self.requests.get()


class _Thread(threading.Thread):
    """Generates, and sends what comes out through a channel."""

    def __init__(self, channel: _Channel, *arguments: Any) -> None:
        # A daemon, or the interpreter would wait for an unread stream before `_end_all` runs.
        super().__init__(
            target=_generate, args=(channel, *arguments), name="normxlogit-stream", daemon=True
        )
        self.channel = channel


def _generate(
    channel: _Channel,
    generator: Generator,
    recording: Recording,
    prompt: Encoded,
    query: Query,
    options: dict[str, Any],
) -> None:
    """Send every token with its scores, then the whole answer or an error: the thread's work."""
    if channel.is_closed:
        return

    def explain(before: list[int], ids: list[int]) -> None:
        if channel.is_closed:
            raise _LeftError
        channel.send(generator.newest(recording, prompt, before, ids, query))
        if channel.is_closed:
            raise _LeftError

    try:
        output = recording.generate(**options, streamer=_Listener(explain))
        ((result,),) = generator.results(recording, output, [prompt], query)
        channel.messages.put(_End(result))
    except BaseException as error:
        if not channel.is_closed:
            channel.messages.put(_End(error=error))


class _LeftError(Exception):
    """The reader has left; raised to end `generate` from within."""


@atexit.register
def _end_all() -> None:
    """Stop all threads. One that is inside torch when the interpreter ends would abort it."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _Thread)]
    for thread in threads:
        thread.channel.close()
    for thread in threads:
        if thread.is_alive():  # an interrupt may come before it was started
            thread.join(_PATIENCE)


class _Listener(BaseStreamer):
    """Receives what `generate` streams: the prompt first, then token by token."""

    def __init__(self, explain: Callable[[list[int], list[int]], None]) -> None:
        self._explain, self._ids = explain, list[int]()
        self._prompt: list[int] | None = None

    def put(self, value: Tensor) -> None:
        """Receive the prompt or a new token, and explain the new token."""
        if self._prompt is None:
            self._prompt = value.flatten().tolist()
        else:
            self._ids.append(int(value.flatten()[0]))
            self._explain(self._prompt, self._ids)

    def end(self) -> None:
        """Do nothing: the whole answer is explained from `generate`'s own output."""
