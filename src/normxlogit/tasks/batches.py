"""Texts in batches: which of them run together, and the memory budget."""

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from transformers import PreTrainedModel

from normxlogit.errors import InputError, ModelError, NormXLogitError
from normxlogit.methods import find_declaration
from normxlogit.model.inference import inference
from normxlogit.query import Query
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.tasks.padding import Padding
from normxlogit.tasks.splitting import explain_or_split, is_out_of_memory, raise_if_unsupported
from normxlogit.text.chat import is_chat
from normxlogit.text.encoded import Encoded, Window
from normxlogit.text.encoder import Encoder
from normxlogit.text.lengths import TOKENS, by_length

Explained = Attribution | NormXLogitError
Answer = TypeVar("Answer")

TOKENIZED_TOGETHER = 64
"""How many texts: many more would take memory, and no less time."""

PADDED = 0.25
"""By which share texts of a batch may be longer than its shortest, for methods that run the model
again and again: each run would read the padding again."""


class MemoryBudget:
    """How many tokens, padding included, may run together: fewer once memory has run out."""

    def __init__(self) -> None:
        self._tokens: int | None = None

    def fits(self, rows: int, longest: int, usual: int) -> bool:
        """Whether `rows` texts of up to `longest` tokens may run together.

        `usual` is the limit, in tokens, that holds as long as memory suffices.
        """
        return rows * longest <= (usual if self._tokens is None else self._tokens)

    def shrink(self, rows: int, longest: int) -> None:
        """Allow batches half as large as this one from now on, and warn the first time."""
        if self._tokens is None:
            warnings.warn(
                f"memory ran out with a batch of {rows} texts of up to {longest} tokens: batches "
                "are smaller from here on.",
                RuntimeWarning,
                stacklevel=1,
            )
        tokens = rows * longest // 2
        self._tokens = tokens if self._tokens is None else min(self._tokens, tokens)


class Texts(TaskExplainer):
    """Runs encoded texts through a model in batches; subclasses explain a batch.

    Attributes:
        has_windows: whether a long text may be read in windows.
    """

    has_windows = True

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name
        self._padding = Padding(model, encoder)
        self._memory = MemoryBudget()

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text or a pair in tokens; see `Encoder.encode`.

        Raises:
            InputError: it is no text, or too long, or a chat, which only language models read.
        """
        if is_chat(item):
            raise InputError(
                f"expected text, got a chat, which {type(self.model).__name__} does not read. "
                'Explain the text of a message, message["content"]; or load a language model and '
                "explain its answer, with generate."
            )
        return self.encoder.encode(
            item,
            is_split_into_words=input_options.is_split_into_words,
            long=input_options.long,
            has_windows=self.has_windows,
        )

    def encode_all(self, items: Sequence[Any], input_options: InputOptions) -> list[Any]:
        encoded = []
        for some in chunks(items, TOKENIZED_TOGETHER):
            texts = copy.copy(self)
            texts.encoder = self.encoder.reading(some)
            encoded += super(Texts, texts).encode_all(some, input_options)
        return encoded

    def explain(
        self, items: Mapping[int, Encoded], query: Query, batch_size: int
    ) -> dict[int, Explained]:
        """Explain texts: an attribution for each, or the reason why there is none.

        Raises:
            OptionError: the query does not fit the model.
            UnsupportedHeadError: none of the texts could be explained with this model.
        """
        results: dict[int, Explained] = {}
        padded = PADDED if find_declaration(query.method).runs_again else math.inf
        for keys, side in self._plan(items, batch_size, padded):
            batch = [items[key] for key in keys]
            results.update(zip(keys, self._explained(batch, side, query, batch_size), strict=True))
        raise_if_unsupported(results.values())
        return results

    def together(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Attribution]:
        """Explain several texts of one window each, or one of several windows."""
        raise NotImplementedError

    def _plan(
        self, texts: Mapping[int, Encoded], batch_size: int, padded: float
    ) -> Iterator[tuple[list[int], str]]:
        """Batches of texts of like length, by their keys, and the side to pad them on."""

        def length(key: int) -> int:
            return len(texts[key].windows[0])

        side: str | None = "right"
        whole = sorted((key for key in texts if len(texts[key].windows) == 1), key=length)
        if whole and batch_size > 1:
            shortest, longest = (texts[whole[i]].windows[0] for i in (0, -1))
            side = self._padding.side(shortest, longest)
        fits = partial(self._fits, batch_size=batch_size)
        # side is None where none is safe: only texts of equal length share a batch then.
        for batch in by_length(whole, length, fits, padded=0 if side is None else padded):
            yield batch, side or "right"
        for key, text in texts.items():
            if len(text.windows) > 1:
                yield [key], "right"

    def _fits(self, rows: int, longest: int, *, batch_size: int) -> bool:
        """Whether `rows` texts of up to `longest` tokens may run together."""
        return rows <= batch_size and self._memory.fits(rows, longest, batch_size * TOKENS)

    def _explained(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Explained]:
        """Explain a batch; on an error one text at a time, without memory in smaller batches."""

        @inference()
        def together(some: Sequence[Encoded]) -> list[Attribution]:
            return self.together(some, side, query, batch_size)

        return explain_or_split(
            texts,
            together,
            out_of_memory=lambda some: self._halved(some, side, query, batch_size),
        )

    def _halved(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Explained]:
        """Explain a batch that was too large for memory by halves, down to one window of a text."""
        rows = len(texts) if len(texts) > 1 else min(len(texts[0].windows), batch_size)
        longest = max(len(window) for text in texts for window in text.windows)
        if rows == 1:
            return [_too_large(longest)]
        self._memory.shrink(rows, longest)
        half = rows // 2
        if len(texts) == 1:
            return self._explained(texts, side, query, half)
        parts = (texts[:half], texts[half:])
        return [
            result for part in parts for result in self._explained(part, side, query, batch_size)
        ]


def by_halves(
    windows: Sequence[Window],
    run: Callable[[Sequence[Window]], Iterable[Answer]],
    memory: MemoryBudget,
) -> list[Answer]:
    """Run windows together; where memory runs out, half as many at a time, and so on.

    Args:
        windows: the windows, of one text or several.
        run: gives something for each of the windows that it gets.
        memory: learns what was too large.

    Raises:
        ModelError: there is not enough memory for one of them.
    """
    answers: list[Answer] = []
    size = len(windows)
    while len(answers) < len(windows):
        part = windows[len(answers) : len(answers) + size]
        try:
            answers.extend(run(part))
        except (NormXLogitError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            longest = max(map(len, part))
            size = len(part) // 2
            if size == 0:
                raise _too_large(longest) from error
            memory.shrink(len(part), longest)
    return answers


def by_equal_length(
    windows: Sequence[Window],
    run: Callable[[Sequence[Window]], Iterable[Answer]],
    memory: MemoryBudget,
    tokens: int,
) -> Iterator[tuple[int, Answer]]:
    """Run windows of one length each together, for no side of padding is safe for every model.

    Args:
        windows: one for each text.
        run: gives something for each of the windows that it gets.
        memory: learns what was too large.
        tokens: how many may run together as long as memory suffices.

    Yields:
        The number of each window among `windows`, with what it gave.

    Raises:
        ModelError: there is not enough memory for one of them.
    """

    def length(number: int) -> int:
        return len(windows[number])

    fits = partial(memory.fits, usual=tokens)
    for numbers in by_length(sorted(range(len(windows)), key=length), length, fits, padded=0):
        answers = by_halves([windows[number] for number in numbers], run, memory)
        yield from zip(numbers, answers, strict=True)


def _too_large(tokens: int) -> ModelError:
    return ModelError(
        f"there is not enough memory for one text of {tokens} tokens. Use a shorter one, "
        "long='truncate', a smaller dtype, or another device."
    )


def chunks(values: Sequence[Any], size: int) -> Iterator[Any]:
    """The values, so many at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def read_ahead(inputs: Iterable[Any], batch_size: int) -> Iterator[list[Any]]:
    """Items in lists of sixteen batches; the first one of an iterator is a single batch.

    Items that came before an error of the iterator are not lost.
    """
    items, size = iter(inputs), batch_size * (16 if isinstance(inputs, list) else 1)
    while True:
        # extend keeps what an iterator gave before it raised.
        ahead: list[Any] = []
        try:
            ahead.extend(itertools.islice(items, size))
        except Exception:
            if ahead:
                yield ahead
            raise
        if not ahead:
            return
        yield ahead
        size = 16 * batch_size
