"""Handling of a failed batch: which item it was, and what to do when memory runs out."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from normxlogit.errors import (
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)

_NO_MEMORY = ("can't allocate memory", "MPS backend out of memory")

Item = TypeVar("Item")
Explained = TypeVar("Explained")


def explain_or_split(
    items: Sequence[Item],
    explain: Callable[[Sequence[Item]], Iterable[Explained]],
    *,
    out_of_memory: Callable[[Sequence[Item]], list[Explained | NormXLogitError]] | None = None,
) -> list[Explained | NormXLogitError]:
    """Explain a batch. On an error, retry one item at a time to isolate it.

    Args:
        items: the batch.
        explain: explains some items together, in their order.
        out_of_memory: explains items for which memory ran out in smaller parts. Without it running
            out of memory is an error like others.

    Returns:
        A result for each item, or the reason why there is none.

    Raises:
        OptionError: what was asked does not fit the model, whatever the item.
    """
    try:
        return [*explain(items)]
    except OptionError:
        raise
    except (NormXLogitError, RuntimeError, MemoryError) as error:
        lacks_memory = out_of_memory is not None and is_out_of_memory(error)
        if not lacks_memory:
            if not isinstance(error, NormXLogitError):
                raise
            if len(items) == 1:
                return [without_traceback(error)]
    # Outside of the handler: the traceback, which holds the failed batch's tensors, is gone by now.
    if out_of_memory is not None and lacks_memory:
        return out_of_memory(items)
    return [explain_or_split([item], explain, out_of_memory=out_of_memory)[0] for item in items]


def raise_if_unsupported(results: Iterable[object]) -> None:
    """Raise the first error if the model's head is the reason why nothing could be explained."""
    every = list(results)
    unsupported = [error for error in every if isinstance(error, UnsupportedHeadError)]
    if unsupported and len(unsupported) == len(every):
        raise unsupported[0]


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out: an error says so, or one that led to it."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        # torch raises a plain RuntimeError on the CPU and on Apple's GPU.
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY):
            return True
        error = error.__cause__
    return False
