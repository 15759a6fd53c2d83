"""Random changes to plain data, as of a file that somebody else wrote."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from tests.helpers.pages import HOSTILE

VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "text", HOSTILE, "\x1b[31m\x9b2J\u202e", "\ud800", "token", "span"),
    *(0, 1, -1, 2, 3, 7, 10**9, 2**31, -(2**63), 10**400, 0.5, -0.0, 1e-45, 1e-320, 1e30, 3e38),
    *(-3e38, 1e39, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [None], [[]], [[1, 2]], [0, 0], [3, 2, 1], ["a"], ["target"], ["layer", "target"]),
    *({"label": "x"}, {"start": 0, "end": 1, "role": "r"}, {"": None}, [{}], [[[[1]]]]),
)


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in plain data, with each of its keys or indices."""
    keys = list(data) if isinstance(data, dict) else range(len(data))
    for key in keys:
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from places(data[key])


def mutate(data: Any, draw: random.Random) -> None:
    """Change plain data in one place: replace, delete, repeat, move, shrink or grow a value."""
    container, key = draw.choice(list(places(data)))
    value = container[key]
    choice = draw.random()
    if choice < 0.45:
        container[key] = copy.deepcopy(draw.choice(VALUES))
    elif choice < 0.6:
        del container[key]
    elif choice < 0.7:
        other, where = draw.choice(list(places(data)))
        container[key] = copy.deepcopy(other[where])
    elif choice < 0.8 and isinstance(container, list):
        container.insert(key, copy.deepcopy(value))
    elif choice < 0.85 and isinstance(container, list):
        draw.shuffle(container)
    elif choice < 0.9 and isinstance(container, dict):
        container[draw.choice(["more", "unit", HOSTILE])] = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        container[key] = value * draw.choice([-1, 2, 1e6, 1e-6]) + draw.choice([0, 1, -1])
    elif isinstance(value, str):
        container[key] = value[: len(value) // 2] + draw.choice(["", "\u202e", "<b>", "👍🏽"])
    else:
        container[key] = copy.deepcopy(draw.choice(VALUES))
