"""Texts in batches: which run together, and what is done when one of them cannot be explained."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from normxlogit.attribution import Attribution
from normxlogit.encode import Encoded, Encoder
from normxlogit.errors import NormXLogitError, OptionError, UnsupportedHeadError, without_traceback
from normxlogit.tasks import Reading
from normxlogit.tasks.padding import Padding
from normxlogit.tensors import Query

Found = Attribution | NormXLogitError


class Texts:
    """Runs encoded texts through a model; what is made of them is for subclasses to say.

    Attributes:
        has_windows: whether a long text may be read in windows.
    """

    has_windows = True

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name
        self._padding = Padding(model, encoder)

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
        for keys, side in self._plan(items, batch_size):
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
        self, texts: Mapping[int, Encoded], batch_size: int
    ) -> Iterator[tuple[list[int], str]]:
        """The keys of texts that run together, alike in length, and the side to pad them on."""

        def length(key: int) -> int:
            return len(texts[key].windows[0])

        side: str | None = "right"
        whole = sorted((key for key in texts if len(texts[key].windows) == 1), key=length)
        if whole and batch_size > 1:
            shortest, longest = (texts[whole[i]].windows[0] for i in (0, -1))
            side = self._padding.side(shortest, longest)
        if side is None:
            groups = [list(alike) for _, alike in itertools.groupby(whole, key=length)]
        else:
            groups = [whole]
        for group in groups:
            for keys in chunks(group, batch_size):
                yield keys, side or "right"
        for key, text in texts.items():
            if len(text.windows) > 1:
                yield [key], "right"

    def _tried(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> Sequence[Found]:
        """Explain texts together; if that fails, one by one, to tell which of them it is."""
        try:
            with torch.inference_mode():
                return self.together(texts, side, query, batch_size)
        except OptionError:
            raise
        except NormXLogitError as error:
            if len(texts) == 1:
                return [without_traceback(error)]
        return [self._tried([text], side, query, batch_size)[0] for text in texts]


def chunks(values: Sequence[Any], size: int) -> Iterator[Any]:
    """The values, so many at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))
