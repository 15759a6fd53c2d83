"""Attributions of sounds: as HTML, in a terminal, as a figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats
from normxlogit.show import phrases, terminal
from normxlogit.show.markup import BarRow, bar_rows, signed
from normxlogit.show.plot import new_figure
from normxlogit.show.templating import fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSETS = ("sound.css",)

STRONGEST = 8
"""How many steps are listed."""

_LEVELS, _HANGING = " ▁▂▃▄▅▆▇█", " ▔▔▀▀▀▀██"
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
    """What a page says of a target.

    Attributes:
        explained: the target by name; None if it is what was predicted.
        drawings: the sound and its scores, for each layer.
        meaning, note: what the scores say, and of what they are.
        strongest: the strongest steps; none of several layers.
        numbers: the name and score of every step; none of several layers.
    """

    explained: str | None
    drawings: list[Drawing]
    meaning: phrases.Meaning
    note: str
    strongest: list[BarRow]
    numbers: list[tuple[str, str]]


def body(result: AudioAttribution) -> Markup:
    """Return the HTML of a result: the prediction, the sound with its scores, numbers."""
    values = {
        "said": phrases.verdict(result),
        "name": result.name,
        "duration": result.duration,
        "note": result.note,
        "sections": [_section(result, number) for number in range(len(result.targets))],
    }
    return fill("audio.html", values)


def _section(result: AudioAttribution, number: int) -> TargetSection:
    part = result.at(number)
    single = part.only() if len(part.layers) == 1 else None
    return TargetSection(
        explained=None if phrases.is_plain(result) else phrases.explained(part),
        drawings=[_drawing(layer) for layer in part.single()],
        meaning=phrases.meaning(part),
        note=_note(result),
        strongest=[] if single is None else _strongest(single),
        numbers=[] if single is None else _numbers(single),
    )


def render(result: AudioAttribution) -> "Report":
    """What rich prints of a result."""
    return Report(result)


def figure(result: AudioAttribution) -> "Figure":
    """The sound, and for each target and layer its scores over time.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    parts = list(result.single())
    drawn = new_figure(7.0, 1.4 + 1.8 * len(parts))
    heights = [1.0] + [2.0] * len(parts)
    wave, *panels = drawn.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    loud = np.linspace(0, result.duration, len(result.envelope))
    wave.fill_between(loud, -result.envelope, result.envelope, color="#57606a", linewidth=0)
    wave.set_axis_off()
    wave.set_xlim(0, result.duration)
    for panel, part in zip(panels, parts, strict=True):
        edges = _edges(part)
        track = part.track()
        colors = ["#1a66cc" if score > 0 else "#d9660a" for score in track]
        widths = edges[:, 1] - edges[:, 0]
        panel.bar(edges[:, 0], track, widths, align="edge", color=colors)
        panel.axhline(0, color="#57606a", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
        title = phrases.explained(part)
        if len(result.layers) > 1:
            title += f", layer {part.layers[0]}"
        panel.set_title(title, parse_math=False, fontsize="medium")
        if part.seconds is not None:
            panel.set_xlim(0, part.duration)
    panels[-1].set_xlabel("position" if result.seconds is None else "seconds")
    return drawn


@dataclass(frozen=True)
class Report:
    """A result as rich prints it."""

    result: AudioAttribution

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self.result
        yield terminal.prediction(whole)
        name = f"{phrases.one_line(whole.name)}, " if whole.name else ""
        yield terminal.field("Sound", Text(f"{name}{whole.duration:.2f} seconds"))
        if whole.note:
            yield Text(phrases.visible(whole.note))
        for number in range(len(whole.targets)):
            part = whole.at(number)
            if not phrases.is_plain(whole):
                yield terminal.field("Explained", Text(phrases.explained(part)))
            part = part.select(layer=part.layers[-1]).only()
            yield Text()
            yield from _lines(part, options.max_width)
            yield Text()
            yield from _steps(part, options.max_width)
            yield Text()
            note = f"Shown is layer {part.layers[0]}." if len(whole.layers) > 1 else ""
            yield from terminal.legend(phrases.meaning(part), note)
            yield Text()
        yield Text(
            f"{phrases.how(whole)}; model {phrases.visible(whole.provenance.model)}", terminal.DIM
        )


def _edges(result: AudioAttribution) -> Floats:
    """Where steps begin and end: in seconds, or counted if these are not known."""
    if result.seconds is not None:
        return result.times()
    count = np.arange(result.track().shape[-1], dtype=np.float32)
    return np.stack([count, count + 1], -1)


def _named(result: AudioAttribution, step: int) -> str:
    start, end = _edges(result)[step].tolist()
    if result.seconds is None:
        return f"position {step + 1}"
    return f"{start:.2f} - {end:.2f} s"


def _lines(result: AudioAttribution, width: int) -> Iterator[Text]:
    """The sound, and under it the scores: those for the target rise, those against it hang."""
    room = max(8, min(width - 4, 80))
    edges = _edges(result)
    end = result.duration if result.seconds is not None else float(len(edges))
    track, full = result.track(), phrases.scale(result.track())
    where = (np.arange(room) + 0.5) / room * end
    middles = edges.mean(1)
    owner = np.abs(middles - where[:, None]).argmin(1)
    shares = track[owner] / full
    for column in range(room):  # no score is lost where several share a column
        inside = (middles >= column * end / room) & (middles < (column + 1) * end / room)
        if inside.any():
            own = track[inside]
            shares[column] = own[np.abs(own).argmax()] / full
    loud = np.interp(where / end, np.linspace(0, 1, len(result.envelope)), result.envelope)
    loudest = float(loud.max()) or 1.0
    wave = "".join(_LEVELS[round(8 * float(value) / loudest)] for value in loud)
    yield Text(f"  {wave}", terminal.DIM, no_wrap=True, overflow="crop")
    above, below = Text("  ", no_wrap=True), Text("  ", no_wrap=True)
    for share in shares.tolist():
        level = max(1, round(8 * abs(share))) if share else 0
        above.append(_LEVELS[level] if share > 0 else " ", terminal.FOR)
        below.append(_HANGING[level] if share < 0 else " ", terminal.AGAINST)
    yield above
    if (shares < 0).any():
        yield below
    last = f"{end:.2f} s" if result.seconds is not None else f"{len(edges)} positions"
    yield Text(f"  0{last:>{room - 1}}", terminal.DIM, no_wrap=True, overflow="crop")


def _strong(result: AudioAttribution) -> list[int]:
    """The steps with the largest scores by size, in order of time."""
    track = result.track()
    return sorted(int(i) for i in np.argsort(-np.abs(track), kind="stable")[:STRONGEST])


def _steps(result: AudioAttribution, width: int) -> Iterator[Text]:
    steps = _strong(result)
    yield Text("  Strongest, in order of time", terminal.DIM)
    names = [_named(result, step) for step in steps]
    yield from terminal.bar_lines(names, result.track()[steps], width, [False] * len(steps))


def _drawing(result: AudioAttribution) -> Drawing:
    """Draw the sound, its scores as bars under it, and under these bands of frequency if any."""
    edges = _edges(result)
    end = result.duration if result.seconds is not None else float(len(edges))
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
    track, full = result.track(), phrases.scale(result.track())
    low, high = max(0.0, -float(track.min(initial=0))), max(0.0, float(track.max(initial=0)))
    span = low + high or 1.0
    zero = _WAVE + 10 + _BARS * high / span
    bars = []
    for (start, stop), score in zip(places.tolist(), track.tolist(), strict=True):
        height = _BARS * abs(score) / span
        time = f"{start * end / _WIDTH:.2f} - {stop * end / _WIDTH:.2f}"
        bars.append(
            Rectangle(
                left=start,
                upper=zero if score < 0 else zero - height,
                width=max(0.2, stop - start - 0.4),
                height=height,
                share=score / full,
                title=f"{time}: {signed(score, full)}",
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
    full, height = phrases.scale(patches), max(_BAND, 90 / len(patches))
    return [
        Rectangle(
            left=start,
            upper=_TOP + _BARS + number * height,
            width=stop - start,
            height=height,
            share=score / full,
            title=f"band {len(patches) - number}: {signed(score, full)}",
        )
        for number, row in enumerate(patches[::-1].tolist())
        for (start, stop), score in zip(places.tolist(), row, strict=True)
    ]


def _note(result: AudioAttribution) -> str:
    if result.grid is None:
        return "One score for each step in time."
    return "A bar is the sum over the bands of frequency, drawn below it with the highest on top."


def _strongest(result: AudioAttribution) -> list[BarRow]:
    steps, track = _strong(result), result.track()
    names = [_named(result, step) for step in steps]
    return bar_rows(names, track[steps].tolist(), phrases.scale(track))


def _numbers(result: AudioAttribution) -> list[tuple[str, str]]:
    track = result.track()
    largest = phrases.scale(track)
    return [
        (_named(result, step), signed(score, largest)) for step, score in enumerate(track.tolist())
    ]
