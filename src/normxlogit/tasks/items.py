"""Which objects hold several inputs: lists, columns of tables, arrays of texts, iterators."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from normxlogit.data.tables import check_table
from normxlogit.text.chat import is_chat

_ONE = (str, bytes, bytearray, memoryview, tuple, Tensor)
"""Sequences, or like them, that are one input: texts, pairs, pixels, samples."""

_TO_LIST = ("tolist", "to_list", "to_pylist")
"""How columns of numpy and pandas, polars, and pyarrow give Python's own values."""


def items_of(inputs: Any) -> list[Any] | None:
    """Return the inputs in a list or in what stands for one; None if this is a single input.

    A column of pandas, polars, pyarrow or datasets stands for a list, an array of texts or other
    objects, and an iterator, which is read to its end. A chat is a single input.

    Raises:
        InputError: it is a table, of which it is not known what is to be explained.
    """
    if isinstance(inputs, _ONE) or is_chat(inputs):
        return None
    check_table(inputs)
    is_array = isinstance(inputs, np.ndarray)
    if is_array and (inputs.ndim == 0 or inputs.dtype.kind not in "OSTU"):
        return None  # an image, or samples of a sound
    if isinstance(inputs, (Sequence, Iterator)) or _has_values(inputs):
        return list(values_of(inputs))
    return None


def values_of(inputs: Iterable[Any]) -> Iterable[Any]:
    """Return an iterable whose items are Python's own: a column of a table as a list."""
    names = [name for name in _TO_LIST if hasattr(inputs, name)]
    return getattr(inputs, names[0])() if _has_values(inputs) else inputs


def _has_values(inputs: Any) -> bool:
    has_list = any(hasattr(inputs, name) for name in _TO_LIST)
    return has_list and isinstance(inputs, Iterable) and not isinstance(inputs, _ONE)
