"""Between which lengths a cache may be cut, as far as was tried."""

import random
from typing import Any

from torch import nn

from normxlogit.model.trials.cutting import cache_can_be_cut, note_trial


def joined(trials: list[tuple[int, int]], lengths: tuple[int, int]) -> bool:
    """Whether trials that share a length lead from the shortest of `lengths` to the longest."""
    reached = {lengths[0]} if any(a <= lengths[0] <= b for a, b in trials) else set()
    for _ in trials:
        for first, last in trials:
            if reached.intersection(range(first, last + 1)):
                reached |= set(range(first, last + 1))
    return lengths[1] in reached


def test_lengths_that_were_tried_lie_together() -> None:
    draw = random.Random(0)
    for _ in range(12):
        model: Any = nn.Identity()
        trials: list[tuple[int, int]] = []
        failed = 99
        for _ in range(6):
            low, high = sorted((draw.randint(1, 10), draw.randint(1, 10)))
            holds = high < failed and draw.random() < 0.8
            note_trial(model, (low, high), holds)
            if holds:
                trials.append((low, high))
            else:
                failed = min(failed, high)
            for shortest in range(1, 11):
                for longest in range(shortest, 11):
                    lengths = (shortest, longest)
                    expected = True if joined(trials, lengths) else None
                    if expected is None and longest >= failed:
                        expected = False
                    assert cache_can_be_cut(model, lengths) is expected
