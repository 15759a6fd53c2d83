"""Generated tokens with their scores, one after the other as they are made."""

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
"""How many seconds to wait at most for the model to end the step that it is in."""


class Stream(Iterator[GenerationAttribution]):
    """Iterates over new tokens, each with its scores.

    The model generates in a thread of its own, one token ahead of who reads. The thread ends with
    the answer, when the stream is closed, and when nobody has the stream any more. As a context
    manager the stream is closed at the end of the block.

    Attributes:
        result: the whole answer with its scores, once the iterator is through.
    """

    result: GenerationAttribution | None = None

    def __init__(
        self, generator: Generator, prompt: Encoded, query: Query, options: Mapping[str, Any]
    ) -> None:
        for name in ("num_beams", "num_return_sequences"):
            if (generator.option(options, name) or 1) != 1:
                raise OptionError(
                    f"{name} makes several sequences, and a stream gives one. Use generate()."
                )
        recording = generator.recording([prompt])
        given = generator.options(options, [prompt])
        self._line, self._reading = _Line(), threading.Lock()
        self._thread = _Thread(self._line, generator, recording, prompt, query, given)
        weakref.finalize(self, self._line.close).atexit = False

    def __next__(self) -> GenerationAttribution:
        """The next token.

        Raises:
            StopIteration: there are no more, or the stream is closed.
            NormXLogitError: as `Explainer.generate` raises.
        """
        line = self._line
        with self._reading:
            if line.is_closed:
                raise StopIteration
            if self._thread.ident is None:
                self._thread.start()
            line.wanted.put(None)
            said = line.said.get()
            if line.is_closed:
                raise StopIteration
            if isinstance(said, GenerationAttribution):
                return said
            self.close()
            if isinstance(said, _End):
                self.result = said.result
                if said.error is not None:
                    try:
                        raise said.error
                    finally:
                        del said  # else the error and this frame would hold each other
            raise StopIteration

    def close(self) -> None:
        """Stop the generating, and wait for the step that the model is in.

        A closed stream has no more tokens. Closing it twice does nothing.
        """
        self._line.close()
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
    """What is said after the last token."""

    result: GenerationAttribution | None = None
    error: BaseException | None = None


class _Line:
    """What a stream and its thread share. It knows neither, so the stream can be collected.

    The queues are such that finalizers may put something into them at any moment.

    Attributes:
        wanted: one item for each time that the reader asked.
        said: tokens, and then an `_End`; None only wakes who waits.
        is_closed: whether there is nothing more to say, or nobody to listen.
    """

    def __init__(self) -> None:
        self.wanted: SimpleQueue[None] = SimpleQueue()
        self.said: SimpleQueue[GenerationAttribution | _End | None] = SimpleQueue()
        self.is_closed = False

    def close(self) -> None:
        """Let neither side wait for the other any more."""
        self.is_closed = True
        self.wanted.put(None)
        self.said.put(None)

    def tell(self, said: GenerationAttribution) -> None:
        """Say a token, and wait until it has been asked for."""
        self.said.put(said)
        self.wanted.get()


class _Thread(threading.Thread):
    """Generates, and says on a line what comes out."""

    def __init__(self, line: _Line, *what: Any) -> None:
        super().__init__(
            target=_generate, args=(line, *what), name="normxlogit-stream", daemon=True
        )
        self.line = line


def _generate(
    line: _Line,
    generator: Generator,
    recording: Recording,
    prompt: Encoded,
    query: Query,
    options: dict[str, Any],
) -> None:
    """What the thread does: every token with its scores, then the whole answer or an error."""
    if line.is_closed:
        return

    def explain(before: list[int], ids: list[int]) -> None:
        if line.is_closed:
            raise _LeftError
        line.tell(generator.newest(recording, prompt, before, ids, query))
        if line.is_closed:
            raise _LeftError

    try:
        output = recording.generate(**options, streamer=_Listener(explain))
        ((result,),) = generator.results(recording, output, [prompt], query)
        line.said.put(_End(result))
    except BaseException as error:
        if not line.is_closed:
            line.said.put(_End(error=error))


class _LeftError(Exception):
    """Nobody listens any more, so there is nothing to generate for."""


@atexit.register
def _end_all() -> None:
    """Stop all threads: one that is inside torch while the interpreter ends would abort it."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _Thread)]
    for thread in threads:
        thread.line.close()
    for thread in threads:
        thread.join(_PATIENCE)


class _Listener(BaseStreamer):
    """Collects what `generate` hands out: first the prompt, then token by token."""

    def __init__(self, tell: Callable[[list[int], list[int]], None]) -> None:
        self._tell, self._ids = tell, list[int]()
        self._before: list[int] | None = None

    def put(self, value: Tensor) -> None:
        """Take the prompt, or a new token."""
        if self._before is None:
            self._before = value.flatten().tolist()
        else:
            self._ids.append(int(value.flatten()[0]))
            self._tell(self._before, self._ids)

    def end(self) -> None:
        """There are no more."""
