"""Generated tokens with their scores, one after the other as they are made."""

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from normxlogit.encode import Encoded
from normxlogit.errors import OptionError
from normxlogit.generated import GenerationAttribution
from normxlogit.generation.texts import Generator
from normxlogit.tensors import Query


class Stream(Iterator[GenerationAttribution]):
    """Iterates over new tokens, each with its scores.

    The model generates in a thread of its own, one token ahead of who reads.

    Attributes:
        result: the whole answer with its scores, once the iterator is through.
    """

    result: GenerationAttribution | None = None

    def __init__(
        self, generator: Generator, prompt: Encoded, query: Query, options: Mapping[str, Any]
    ) -> None:
        self._left = threading.Event()
        self._tokens: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None
        for name in ("num_beams", "num_return_sequences"):
            if (options.get(name) or 1) != 1:
                raise OptionError(
                    f"{name} makes several sequences, and a stream gives one. Use generate()."
                )
        self._generator, self._prompt, self._query = generator, prompt, query
        self._recording = generator.recording([prompt])
        self._options = generator.options(options, [prompt])

    def __next__(self) -> GenerationAttribution:
        """The next token.

        Raises:
            StopIteration: there are no more.
            NormXLogitError: as `Explainer.generate` raises.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._generate, daemon=True)
            self._thread.start()
        said = self._tokens.get()
        if isinstance(said, GenerationAttribution):
            return said
        self._tokens.put(None)
        self._thread.join()
        if isinstance(said, BaseException):
            raise said
        raise StopIteration

    def close(self) -> None:
        """Stop the generating."""
        self._left.set()
        with contextlib.suppress(queue.Empty):
            self._tokens.get_nowait()

    def __del__(self) -> None:
        self.close()

    def _generate(self) -> None:
        said: BaseException | None = None
        try:
            stops = self._options.pop("stopping_criteria", [])
            output = self._recording.generate(
                **self._options,
                streamer=_Listener(self._tell),
                stopping_criteria=StoppingCriteriaList([*stops, _Left(self._left)]),
            )
            if not self._left.is_set():
                ((self.result,),) = self._generator.results(
                    self._recording, output, [self._prompt], self._query, self._options
                )
        except BaseException as error:
            said = error
        self._put(said)

    def _tell(self, before: list[int], ids: list[int]) -> None:
        """Explain the last of the new tokens."""
        if not self._left.is_set():
            self._put(
                self._generator.newest(self._recording, self._prompt, before, ids, self._query)
            )

    def _put(self, said: Any) -> None:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._tokens.put(said, timeout=0.1)
                return


class _Listener(BaseStreamer):
    """Collects what `generate` hands out: first the prompt, then token by token."""

    def __init__(self, tell: Any) -> None:
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


class _Left(StoppingCriteria):
    """Stops when nobody listens any more."""

    def __init__(self, left: threading.Event) -> None:
        self._left = left

    def __call__(self, input_ids: Tensor, _scores: Any, **_options: Any) -> Tensor:
        """Whether each row is through."""
        return torch.full((len(input_ids),), self._left.is_set(), device=input_ids.device)
