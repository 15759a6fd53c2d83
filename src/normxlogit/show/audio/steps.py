"""The steps in time of an audio attribution: where they are, what they are called, which count."""

import numpy as np

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats

STRONGEST = 8
"""How many steps are listed."""


def edges_of_steps(result: AudioAttribution) -> Floats:
    """Return where steps begin and end: in seconds, or counted if these are not known.

    Returns:
        float32 [steps, 2].
    """
    if result.seconds is not None:
        return result.times()
    count = np.arange(result.track().shape[-1], dtype=np.float32)
    return np.stack([count, count + 1], -1)


def length_of(result: AudioAttribution) -> float:
    """Return the end of the time line: in seconds, or counted in steps."""
    return result.duration if result.seconds is not None else float(result.track().shape[-1])


def step_name(result: AudioAttribution, step: int) -> str:
    """Return the name of a step: its time, or its number from 1 on."""
    start, end = edges_of_steps(result)[step].tolist()
    if result.seconds is None:
        return f"position {step + 1}"
    return f"{start:.2f}–{end:.2f} s"


def strongest_steps(result: AudioAttribution) -> list[int]:
    """Return the steps with the largest scores by size, in order of time."""
    track = result.track()
    return sorted(int(i) for i in np.argsort(-np.abs(track), kind="stable")[:STRONGEST])
