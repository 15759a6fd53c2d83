"""Where labels stand so that none covers another."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_STEPS = 60
_MISLEADING, _COVERED = 10, 100
"""What counts as much as so many steps of distance: to be nearer to another point, to cover."""


class Box(NamedTuple):
    """A rectangle; any unit of length."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Whether they share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def distance(self, x: float, y: float) -> float:
        """From a point to the nearest point of the rectangle."""
        across = max(self.left - x, 0.0, x - self.right)
        return math.hypot(across, max(self.bottom - y, 0.0, y - self.top))

    def within(self, other: "Box") -> bool:
        """Whether this one sticks out nowhere."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places nearest to these, by squares, that are `gap` apart and within the limits.

    Their order stays. If there is no room for all, they go beyond `high`.
    """
    order = np.argsort(places, kind="stable")
    room = max(high - gap * (len(places) - 1), low)
    blocks: list[list[float]] = []
    for rank, n in enumerate(order):
        blocks.append([float(places[n]) - rank * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, many), (other, more) = blocks[-2:]
            blocks[-2:] = [[(one * many + other * more) / (many + more), many + more]]
    even = itertools.chain.from_iterable([mean] * int(many) for mean, many in blocks)
    found = [0.0] * len(places)
    for rank, (n, place) in enumerate(zip(order, even, strict=True)):
        found[n] = min(max(place, low), room) + rank * gap
    return found


def beside(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    inside: Box,
    gap: float,
) -> list[Box]:
    """A place for the label of each point: as near as it can be without covering anything.

    Args:
        points: where they are.
        sizes: widths and heights of their labels.
        obstacles: what is not to be covered beside other labels.
        inside: where labels have to be.
        gap: the least distance to the own point.

    Returns:
        The boxes of the labels, in order. One for which there is no room stands where it covers
        the least number of things.
    """
    taken = list(obstacles)
    found = []
    for number, ((x, y), (width, height)) in enumerate(zip(points, sizes, strict=True)):
        others = [point for n, point in enumerate(points) if n != number]
        best, least = Box(x, y, x + width, y + height), math.inf
        for step, box in _around(x, y, width, height, gap):
            if step > least:
                break
            if not box.within(inside):
                continue
            own = box.distance(x, y)
            cost = step + _MISLEADING * any(box.distance(*other) < own for other in others)
            cost += _COVERED * sum(box.meets(other) for other in taken)
            if cost < least:
                best, least = box, cost
        taken.append(best)
        found.append(best)
    return found


def _around(
    x: float, y: float, width: float, height: float, gap: float
) -> Iterator[tuple[int, Box]]:
    """Boxes of a size around a point in steps of distance, those to its right before others."""
    for step in range(_STEPS):
        distance = gap + step * height / 3
        for angle in (0, 45, -45, 90, -90, 135, -135, 180, 22, -22, 67, -67, 158, -158):
            across, up = (f(math.radians(angle)) for f in (math.cos, math.sin))
            left = x + distance * across - width * (1 - across) / 2
            bottom = y + distance * up - height * (1 - up) / 2
            yield step, Box(left, bottom, left + width, bottom + height)
