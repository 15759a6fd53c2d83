"""Texts in batches: which run together, and what is done when one of them cannot be explained."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from normxlogit.errors import (
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)
from normxlogit.methods import find_method
from normxlogit.query import Query
from normxlogit.results.text import Attribution
from normxlogit.tasks import Reading
from normxlogit.tasks.padding import Padding
from normxlogit.text.encoded import Encoded, Window
from normxlogit.text.encoder import Encoder

Found = Attribution | NormXLogitError
Answer = TypeVar("Answer")

TOKENS = 128
"""How many tokens, padding among them, a batch may hold for each text that it may have: batches of
longer texts are smaller.
"""

PADDED = 0.25
"""How much longer than the shortest text of a batch others may be, as a share of it, for methods
that run the model again and again: padding would be read again and again with them.
"""


class Room:
    """How many tokens, padding among them, may run together: fewer once memory has run out."""

    def __init__(self) -> None:
        self._tokens: int | None = None

    def fits(self, rows: int, longest: int, usual: int) -> bool:
        """Whether so many texts may run together, the longest of which has so many tokens, where
        `usual` tokens may as long as there is memory.
        """
        return rows * longest <= (usual if self._tokens is None else self._tokens)

    def shrink(self, rows: int, longest: int) -> None:
        """Have batches half as large as this one from now on, and say so the first time."""
        if self._tokens is None:
            warnings.warn(
                f"memory ran out with a batch of {rows} texts of up to {longest} tokens: batches "
                "are smaller from here on.",
                RuntimeWarning,
                stacklevel=1,
            )
        tokens = rows * longest // 2
        self._tokens = tokens if self._tokens is None else min(self._tokens, tokens)


class Texts:
    """Runs encoded texts through a model; what is made of them is for subclasses to say.

    Attributes:
        has_windows: whether a long text may be read in windows.
    """

    has_windows = True

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name
        self._padding = Padding(model, encoder)
        self._room = Room()

    def encode(self, item: Any, reading: Reading) -> Encoded:
        """A text or a pair in tokens; see `Encoder.encode`."""
        return self.encoder.encode(
            item,
            is_split_into_words=reading.is_split_into_words,
            long=reading.long,
            has_windows=self.has_windows,
        )

    def explain(
        self, items: Mapping[int, Encoded], query: Query, batch_size: int
    ) -> dict[int, Found]:
        """An attribution for each text, or the reason why there is none.

        Raises:
            OptionError: the question does not fit the model.
            UnsupportedHeadError: none of the texts could be explained with this model.
        """
        found: dict[int, Found] = {}
        padded = PADDED if find_method(query.method).runs_again else math.inf
        for keys, side in self._plan(items, batch_size, padded):
            batch = [items[key] for key in keys]
            found.update(zip(keys, self._tried(batch, side, query, batch_size), strict=True))
        reasons = [error for error in found.values() if isinstance(error, UnsupportedHeadError)]
        if reasons and len(reasons) == len(found):
            raise reasons[0]
        return found

    def together(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Attribution]:
        """Explain several texts of one window each, or one of several windows."""
        raise NotImplementedError

    def _plan(
        self, texts: Mapping[int, Encoded], batch_size: int, padded: float
    ) -> Iterator[tuple[list[int], str]]:
        """The keys of texts that run together, alike in length, and the side to pad them on."""

        def length(key: int) -> int:
            return len(texts[key].windows[0])

        side: str | None = "right"
        whole = sorted((key for key in texts if len(texts[key].windows) == 1), key=length)
        if whole and batch_size > 1:
            shortest, longest = (texts[whole[i]].windows[0] for i in (0, -1))
            side = self._padding.side(shortest, longest)
        fits = partial(self._fits, batch_size=batch_size)
        for batch in by_length(whole, length, fits, padded=0 if side is None else padded):
            yield batch, side or "right"
        for key, text in texts.items():
            if len(text.windows) > 1:
                yield [key], "right"

    def _fits(self, rows: int, longest: int, *, batch_size: int) -> bool:
        """Whether so many texts may run together, the longest of which has so many tokens."""
        return rows <= batch_size and self._room.fits(rows, longest, batch_size * TOKENS)

    def _tried(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Found]:
        """Explain texts together; if that fails, one by one, to tell which of them it is; but by
        halves where memory runs out, and from then on in smaller batches.
        """
        try:
            with torch.inference_mode():
                return [*self.together(texts, side, query, batch_size)]
        except OptionError:
            raise
        except (NormXLogitError, RuntimeError, MemoryError) as error:
            lacks_memory = _lacks_memory(error)
            if not lacks_memory:
                if not isinstance(error, NormXLogitError):
                    raise
                if len(texts) == 1:
                    return [without_traceback(error)]
        if not lacks_memory:
            return [self._tried([text], side, query, batch_size)[0] for text in texts]
        rows = len(texts) if len(texts) > 1 else min(len(texts[0].windows), batch_size)
        longest = max(len(window) for text in texts for window in text.windows)
        if rows == 1:
            return [_too_large(longest)]
        self._room.shrink(rows, longest)
        half = rows // 2
        if len(texts) == 1:
            return self._tried(texts, side, query, half)
        parts = (texts[:half], texts[half:])
        return [found for part in parts for found in self._tried(part, side, query, batch_size)]


def by_halves(
    windows: Sequence[Window], run: Callable[[Sequence[Window]], Iterable[Answer]], room: Room
) -> list[Answer]:
    """What `run` finds for each of some windows, which it takes together; where memory runs out
    half as many at a time, and so on, which `room` is told.

    Raises:
        ModelError: there is not enough memory for one of them.
    """
    found: list[Answer] = []
    size = len(windows)
    while len(found) < len(windows):
        part = windows[len(found) : len(found) + size]
        try:
            found.extend(run(part))
        except (NormXLogitError, RuntimeError, MemoryError) as error:
            if not _lacks_memory(error):
                raise
            longest = max(map(len, part))
            size = len(part) // 2
            if size == 0:
                raise _too_large(longest) from error
            room.shrink(len(part), longest)
    return found


def _lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that memory ran out."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            return True
        error = error.__cause__
    return False


def _too_large(tokens: int) -> ModelError:
    return ModelError(
        f"there is not enough memory for one text of {tokens} tokens. Use a shorter one, "
        "long='truncate', a smaller dtype, or another device."
    )


def by_length(
    keys: Sequence[int],
    length: Callable[[int], int],
    fits: Callable[[int, int], bool],
    *,
    padded: float,
) -> Iterator[list[int]]:
    """Batches of keys, as many in each as fit.

    Args:
        keys: sorted by length, from the shortest.
        length: how many tokens a key's row has.
        fits: whether so many rows may run together, the longest of which has so many tokens; one
            always may.
        padded: how much longer than the shortest row of a batch others may be, as a share of it.
    """
    batch: list[int] = []
    for key in keys:
        is_alike = not batch or length(key) <= (1 + padded) * length(batch[0])
        if batch and not (is_alike and fits(len(batch) + 1, length(key))):
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def chunks(values: Sequence[Any], size: int) -> Iterator[Any]:
    """The values, so many at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))
