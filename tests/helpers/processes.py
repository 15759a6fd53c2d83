"""Processes that a test starts."""

import contextlib
from pathlib import Path


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that they started, as far as they live."""
    children = list[int]()
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += [int(child) for child in path.read_text().split()]
    return [*children, *(later for child in children for later in descendants(child))]
