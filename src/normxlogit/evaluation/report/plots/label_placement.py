"""Placement of labels so that they do not overlap."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_STEPS = 60
"""Distances that are tried, a third of a label's height apart."""
_MISLEADING, _COVERED = 10, 100
"""Penalties, in steps of distance, for being nearer to another point, and for each overlap."""


class Box(NamedTuple):
    """A rectangle, in any unit of length."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def distance(self, x: float, y: float) -> float:
        """The distance from a point to the nearest point of the rectangle."""
        across = max(self.left - x, 0.0, x - self.right)
        return math.hypot(across, max(self.bottom - y, 0.0, y - self.top))

    def within(self, other: "Box") -> bool:
        """Whether this box lies entirely inside another."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def spread_labels(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions at least `gap` apart and within limits, by the least sum of squares.

    Their order stays. If there is no room for all, they extend beyond `high`.
    """
    # Subtracting rank * gap turns "at least gap apart" into "not decreasing", the constraint of an
    # isotonic regression. Its solution by pooling: where neighbours are out of order, both get
    # their mean, as one block. Clipping to the limits keeps the order, and adding rank * gap back
    # gives the positions.
    order = np.argsort(positions, kind="stable")
    last = max(high - gap * (len(positions) - 1), low)
    blocks: list[list[float]] = []  # [mean, size]
    for rank, n in enumerate(order):
        blocks.append([float(positions[n]) - rank * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, size), (next_mean, next_size) = blocks[-2:]
            total = size + next_size
            blocks[-2:] = [[(mean * size + next_mean * next_size) / total, total]]
    pooled = itertools.chain.from_iterable([mean] * int(size) for mean, size in blocks)
    spread = [0.0] * len(positions)
    for rank, (n, position) in enumerate(zip(order, pooled, strict=True)):
        spread[n] = min(max(position, low), last) + rank * gap
    return spread


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    inside: Box,
    gap: float,
) -> list[Box]:
    """Place a label near each point, as near as possible without covering anything.

    Args:
        points: the points.
        sizes: the widths and heights of their labels.
        obstacles: boxes not to be covered, beside other labels.
        inside: the area that labels must stay in.
        gap: the least distance from a label to its point.

    Returns:
        The boxes of the labels, in order. A label without room covers as few things as possible.
    """
    occupied = list(obstacles)
    placed = []
    for number, ((x, y), (width, height)) in enumerate(zip(points, sizes, strict=True)):
        others = [point for n, point in enumerate(points) if n != number]
        best, least = Box(x, y, x + width, y + height), math.inf
        for step, box in _around(x, y, width, height, gap):
            if step > least:  # distance alone costs more than the best box
                break
            if not box.within(inside):
                continue
            distance = box.distance(x, y)
            cost = step + _MISLEADING * any(box.distance(*other) < distance for other in others)
            cost += _COVERED * sum(box.meets(other) for other in occupied)
            if cost < least:
                best, least = box, cost
        occupied.append(best)
        placed.append(best)
    return placed


def _around(
    x: float, y: float, width: float, height: float, gap: float
) -> Iterator[tuple[int, Box]]:
    """Yield boxes around a point by increasing distance, at each distance from its right on."""
    for step in range(_STEPS):
        distance = gap + step * height / 3
        for angle in (0, 45, -45, 90, -90, 135, -135, 180, 22, -22, 67, -67, 158, -158):
            across, up = (f(math.radians(angle)) for f in (math.cos, math.sin))
            # The edge that faces the point lies on the circle: to its right the left edge, ...
            left = x + distance * across - width * (1 - across) / 2
            bottom = y + distance * up - height * (1 - up) / 2
            yield step, Box(left, bottom, left + width, bottom + height)
