"""Attributions of audio as HTML: the sound over its scores in time, and all numbers."""

from dataclasses import dataclass

import numpy as np

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats
from normxlogit.show import outputs, phrases
from normxlogit.show.audio.steps import edges_of_steps, length_of, step_name, strongest_steps
from normxlogit.show.html import Body
from normxlogit.show.markup import BarRow, bar_rows
from normxlogit.show.meaning import Meaning, is_signed, score_meaning
from normxlogit.show.scales import scale
from normxlogit.show.sentence import Message, head
from normxlogit.show.templating import fill

_WIDTH, _WAVE, _BARS, _BAND = 1000, 60, 120, 8
_TOP = _WAVE + 20


@dataclass(frozen=True)
class Rectangle:
    """A step, or a patch of a spectrogram, as a page draws it.

    Attributes:
        left, upper, width, height: where it lies, in the units of its drawing.
        share: its score as a share of the largest.
        title: what it says when pointed at.
    """

    left: float
    upper: float
    width: float
    height: float
    share: float
    title: str


@dataclass(frozen=True)
class Drawing:
    """A sound as a wave, with its scores over time.

    Attributes:
        layer: the layer that the scores are of.
        width, height: of the drawing, in its own units.
        wave: the outline of the sound, points (x, y).
        steps: a bar for each step.
        zero: where the zero line of the bars is, from above.
        bands: the patches of each band of frequency, if there are any.
        middle, end: the names of these two points in time; the former may be empty.
    """

    layer: int
    width: int
    height: float
    wave: list[tuple[float, float]]
    steps: list[Rectangle]
    zero: float
    bands: list[Rectangle]
    middle: str
    end: str


@dataclass(frozen=True)
class TargetSection:
    """A target on a page.

    Attributes:
        heading: what is explained.
        drawings: the sound and its scores, for each layer.
        meaning, note: what the scores say, and of what they are.
        strongest: the strongest steps; none of several layers.
        numbers: the name and score of every step; none of several layers.
    """

    heading: Message
    drawings: list[Drawing]
    meaning: Meaning
    note: str
    strongest: list[BarRow]
    numbers: list[tuple[str, str]]


def body(result: AudioAttribution) -> Body:
    """Return the HTML of a result: the prediction, the sound with its scores, numbers."""
    values = {
        "said": outputs.verdict(result),
        "single": len(result.targets) == 1,
        "plain": outputs.is_plain(result),
        "name": result.name,
        "duration": result.duration,
        "note": result.note,
        "sections": [_section(result, number) for number in range(len(result.targets))],
    }
    return Body(fill("audio.html", values), styles=("sound.css",))


def _section(result: AudioAttribution, number: int) -> TargetSection:
    part = result.at(number)
    single = part.only() if len(part.layers) == 1 else None
    return TargetSection(
        heading=head(part),
        drawings=[_drawing(layer) for layer in part.single()],
        meaning=score_meaning(part).shown(part.scores),
        note=_note(result),
        strongest=[] if single is None else _strongest(single),
        numbers=[] if single is None else _numbers(single),
    )


def _drawing(result: AudioAttribution) -> Drawing:
    """Draw the sound, its scores as bars under it, and under these bands of frequency if any."""
    edges = edges_of_steps(result)
    end = length_of(result)
    places = edges / end * _WIDTH
    bands = [] if result.grid is None else _bands(result, places)
    steps, zero = _bars(result, places, end)
    timed = result.seconds is not None
    return Drawing(
        layer=result.layers[0],
        width=_WIDTH,
        height=max([_TOP + _BARS, *(band.upper + band.height for band in bands)]),
        wave=_wave(result.envelope),
        steps=steps,
        zero=zero,
        bands=bands,
        middle=f"{end / 2:.2f} s" if timed else "",
        end=f"{end:.2f} s" if timed else f"{len(edges)} positions",
    )


def _bars(result: AudioAttribution, places: Floats, end: float) -> tuple[list[Rectangle], float]:
    """Return a bar for each step, and where their zero line is, so that the bars just fit in."""
    track, full = result.track(), scale(result.track())
    low, high = max(0.0, -float(track.min(initial=0))), max(0.0, float(track.max(initial=0)))
    span = low + high or 1.0
    zero = _WAVE + 10 + _BARS * high / span
    bars = []
    for (start, stop), score in zip(places.tolist(), track.tolist(), strict=True):
        height = _BARS * abs(score) / span
        time = f"{start * end / _WIDTH:.2f}–{stop * end / _WIDTH:.2f}"
        bars.append(
            Rectangle(
                left=start,
                upper=zero if score < 0 else zero - height,
                width=max(0.2, stop - start - 0.4),
                height=height,
                share=score / full,
                title=f"{time}: {phrases.number(score, full, signed=is_signed(result))}",
            )
        )
    return bars, zero


def _wave(envelope: Floats) -> list[tuple[float, float]]:
    """Return the outline of the sound: along its upper edge, and back along the lower one."""
    middle = _WAVE / 2
    size = envelope / (float(envelope.max(initial=0)) or 1.0) * middle
    x = np.linspace(0, _WIDTH, len(size))
    upper, lower = np.stack([x, middle - size], -1), np.stack([x, middle + size], -1)
    return [(float(x), float(y)) for x, y in np.concatenate([upper, lower[::-1]])]


def _bands(result: AudioAttribution, places: Floats) -> list[Rectangle]:
    patches = result.patches()
    full, height = scale(patches), max(_BAND, 90 / len(patches))
    return [
        Rectangle(
            left=start,
            upper=_TOP + _BARS + number * height,
            width=stop - start,
            height=height,
            share=score / full,
            title=f"band {len(patches) - number}: "
            f"{phrases.number(score, full, signed=is_signed(result))}",
        )
        for number, row in enumerate(patches[::-1].tolist())
        for (start, stop), score in zip(places.tolist(), row, strict=True)
    ]


def _note(result: AudioAttribution) -> str:
    if result.grid is None:
        return "One score for each step in time."
    return "A bar is the sum over the bands of frequency, drawn below it with the highest on top."


def _strongest(result: AudioAttribution) -> list[BarRow]:
    steps, track = strongest_steps(result), result.track()
    names = [step_name(result, step) for step in steps]
    return bar_rows(names, track[steps].tolist(), scale(track), signed=is_signed(result))


def _numbers(result: AudioAttribution) -> list[tuple[str, str]]:
    scores = result.track().tolist()
    largest = scale(result.track())
    return [
        (step_name(result, step), phrases.number(score, largest, signed=is_signed(result)))
        for step, score in enumerate(scores)
    ]
