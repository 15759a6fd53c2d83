"""Which texts run together: those of like length, as many as fit."""

from collections.abc import Callable, Iterator, Sequence

MOST_TOGETHER = 1 << 20
"""The most texts that may be asked for in one batch: more than any memory holds."""

TOKENS = 128
"""How many tokens a batch may hold, padding included, for each text of `batch_size`: batches of
longer texts are smaller."""


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
