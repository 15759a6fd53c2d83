"""Bounds of the AOPC, against every order and a plain beam search."""

import itertools
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from normxlogit.evaluation.metrics import aopc_bounds


class Table:
    """Says of every set of hidden units a random number of its own."""

    def predict(self, requests: Any) -> list[NDArray[Any]]:
        return [np.array([[self.value(row)] for row in hidden]) for _, hidden in requests]

    @staticmethod
    def value(hidden: NDArray[np.bool_]) -> float:
        return random.Random(hidden.tobytes()).random()


def test_bounds_are_those_of_all_orders_and_a_beam_stays_within_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = (1, 2, 6)
    samples: list[Any] = [
        SimpleNamespace(count=size, target=0, output=np.array([1.5, 0.0])) for size in sizes
    ]
    table: Any = Table()
    found = aopc_bounds.bounds(table, samples)
    for size, own in zip(sizes, found, strict=True):
        every = []
        for order in itertools.permutations(range(size)):
            lost = [
                1.5 - table.value(np.isin(np.arange(size), order[: n + 1])) for n in range(size)
            ]
            every.append(sum(lost) / size)
        assert (own.upper, own.lower) == pytest.approx((max(every), min(every)))
    monkeypatch.setattr(aopc_bounds, "EXACT", 5)
    narrow = aopc_bounds.bounds(table, samples, 1)[2]
    assert found[2].lower <= narrow.lower <= narrow.upper < found[2].upper
    assert narrow.normalised(found[2].upper) == 1
    assert narrow.normalised(found[2].lower - 1) == 0


def plain_beam(size: int, lost: Callable[[Sequence[int]], float], beam: int) -> float:
    """The largest mean loss, going on from the best orders of each length, of different units."""

    def total(order: Sequence[int]) -> float:
        return sum(lost(order[: n + 1]) for n in range(len(order)))

    best: list[list[int]] = [[]]
    for _ in range(size):
        longer = [[*order, unit] for order in best for unit in range(size) if unit not in order]
        best = []
        for order in sorted(longer, key=total, reverse=True):
            if len(best) < beam and all(set(order) != set(other) for other in best):
                best.append(order)
    return total(best[0]) / size


def test_bounds_of_long_texts_are_those_of_a_beam_of_five() -> None:
    sizes = (10, 12, 14)
    samples: list[Any] = [
        SimpleNamespace(count=size, target=0, output=np.array([1.5, 0.0])) for size in sizes
    ]
    table: Any = Table()

    def plainly(beam: int) -> list[float]:
        found = []
        for size, sign in itertools.product(sizes, (1, -1)):

            def lost(hidden: Sequence[int], size: int = size, sign: int = sign) -> float:
                value: float = table.value(np.isin(np.arange(size), hidden))
                return sign * (1.5 - value)

            found.append(sign * plain_beam(size, lost, beam))
        return found

    found = [
        bound for own in aopc_bounds.bounds(table, samples) for bound in (own.upper, own.lower)
    ]
    assert found == pytest.approx(plainly(5), abs=1e-12)
    for beam in (4, 6, 20):
        assert found != pytest.approx(plainly(beam), abs=1e-4)
