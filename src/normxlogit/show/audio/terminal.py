"""Attributions of audio in a terminal: the sound over its scores in time."""

from collections.abc import Iterator

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats
from normxlogit.show.audio.steps import edges_of_steps, length_of, step_name, strongest_steps
from normxlogit.show.meaning import is_signed
from normxlogit.show.scales import scale
from normxlogit.show.terminal import AGAINST, DIM, FOR, MediaReport, bar_lines

_RISING, _HANGING = " ▁▂▃▄▅▆▇█", " ▔▔▀▀▀▀██"
"""Eight heights. Unicode has few blocks that hang from above, so these repeat."""
_MOST_COLUMNS = 80


def render(result: AudioAttribution) -> RenderableType:
    """Return what rich prints of an audio attribution."""
    return MediaReport(result, "Audio", f"{result.duration:.2f} seconds", _draw, _note)


def _draw(result: AudioAttribution, width: int) -> Iterator[Text]:
    columns = max(8, min(width - 4, _MOST_COLUMNS))
    end = length_of(result)
    yield _wave(result, columns)
    yield from _track(_shares(result, columns, end))
    unit = f"{end:.2f} s" if result.seconds is not None else f"{end:.0f} positions"
    yield Text(f"  0{unit:>{columns - 1}}", DIM, no_wrap=True, overflow="crop")
    yield Text()
    yield Text("  Strongest, in order of time", DIM)
    steps = strongest_steps(result)
    names = [step_name(result, step) for step in steps]
    yield from bar_lines(
        names, result.track()[steps], width, [False] * len(steps), signed=is_signed(result)
    )
    yield Text()


def _note(_result: AudioAttribution, _width: int) -> str:
    return ""


def _wave(result: AudioAttribution, columns: int) -> Text:
    """Return the loudness of the sound, so many columns wide."""
    middles = (np.arange(columns) + 0.5) / columns
    parts = np.linspace(0, 1, len(result.envelope))
    loudness = np.interp(middles, parts, result.envelope)
    loudest = float(loudness.max()) or 1.0
    wave = "".join(_RISING[round(8 * float(value) / loudest)] for value in loudness)
    return Text(f"  {wave}", DIM, no_wrap=True, overflow="crop")


def _shares(result: AudioAttribution, columns: int, end: float) -> Floats:
    """Return for each column the score of a step as a share of the largest.

    That of the nearest step; where several steps share a column the strongest of them, so that no
    score is lost.
    """
    track, middles = result.track(), edges_of_steps(result).mean(1)
    at = (np.arange(columns) + 0.5) / columns * end
    nearest = np.abs(middles - at[:, None]).argmin(1)  # [columns, steps] -> [columns]
    shares: Floats = track[nearest] / scale(track)
    for column in range(columns):
        inside = (middles >= column * end / columns) & (middles < (column + 1) * end / columns)
        if inside.any():
            scores = track[inside]
            shares[column] = scores[np.abs(scores).argmax()] / scale(track)
    return shares


def _track(shares: Floats) -> Iterator[Text]:
    """Yield the scores: those for the target rise, those against it hang below them."""
    above, below = Text("  ", no_wrap=True), Text("  ", no_wrap=True)
    for share in shares.tolist():
        level = max(1, round(8 * abs(share))) if share else 0
        above.append(_RISING[level] if share > 0 else " ", FOR)
        below.append(_HANGING[level] if share < 0 else " ", AGAINST)
    yield above
    if (shares < 0).any():
        yield below
