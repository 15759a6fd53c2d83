"""Attributions of sounds: as HTML, in a terminal, as a figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats
from normxlogit.show import markup, phrases, terminal
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSETS = ("sound.css",)

STRONGEST = 8
"""How many steps are listed."""

_LEVELS, _HANGING = " ▁▂▃▄▅▆▇█", " ▔▔▀▀▀▀██"
_WIDTH, _WAVE, _BARS, _BAND = 1000, 60, 120, 8


def body(result: AudioAttribution) -> str:
    """HTML of a result: the prediction, the sound with its scores over time, numbers."""
    parts = [markup.prediction(result)]
    name = f"{escape(phrases.visible(result.name))}, " if result.name else ""
    parts.append(f'<p class="nx-quiet">{name}{result.duration:.2f} seconds</p>\n')
    if result.note:
        parts.append(f"<p>{escape(phrases.visible(result.note))}</p>\n")
    for number in range(len(result.targets)):
        part = result.at(number)
        if not phrases.is_plain(result):
            parts.append(f"<h3>Explained: {escape(phrases.explained(part))}</h3>\n")
        several = len(part.layers) > 1
        for layer in part.single():
            if several:
                parts.append(f"<h4>Layer {layer.layers[0]}</h4>\n")
            parts.append(_drawing(layer))
        parts.append(_legend(part))
        if not several:
            parts += [_strongest(part.only()), _numbers(part.only())]
    return "".join(parts)


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


def _drawing(result: AudioAttribution) -> str:
    """The sound as a wave, its scores as bars under it, and bands of frequency if there are."""
    edges, track = _edges(result), result.track()
    end = result.duration if result.seconds is not None else float(len(edges))
    full = phrases.scale(track)
    low, high = max(0.0, -float(track.min(initial=0))), max(0.0, float(track.max(initial=0)))
    zero = _WAVE + 10 + _BARS * high / (low + high or 1.0)
    drawn = _wave(result.envelope)
    for (start, stop), score in zip((edges / end * _WIDTH).tolist(), track.tolist(), strict=True):
        height = _BARS * abs(score) / (low + high or 1.0)
        y = zero if score < 0 else zero - height
        seconds = f"{start * end / _WIDTH:.2f} - {stop * end / _WIDTH:.2f}"
        kind = "nx-step nx-against" if score < 0 else "nx-step"
        drawn += (
            f'<rect class="{kind}" x="{start:.2f}" y="{y:.2f}" '
            f'width="{max(0.2, stop - start - 0.4):.2f}" height="{height:.2f}">'
            f"<title>{seconds}: {markup.signed(score, full)}</title></rect>"
        )
    drawn += f'<line class="nx-line" x1="0" x2="{_WIDTH}" y1="{zero:.2f}" y2="{zero:.2f}"/>'
    height = _WAVE + 20 + _BARS
    if result.grid is not None:
        bands, height = _bands(result, edges / end * _WIDTH, height)
        drawn += bands
    unit = f"{end:.2f} s" if result.seconds is not None else f"{len(edges)} positions"
    half = f"{end / 2:.2f} s" if result.seconds is not None else ""
    return (
        f'<div class="nx-sound"><svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="The sound and its scores over time">{drawn}</svg>\n'
        f'<div class="nx-times"><span>0</span><span>{half}</span><span>{unit}</span></div></div>\n'
    )


def _wave(envelope: Floats) -> str:
    middle = _WAVE / 2
    size = envelope / (float(envelope.max(initial=0)) or 1.0) * middle
    x = np.linspace(0, _WIDTH, len(size))
    upper = [f"{a:.1f} {middle - b:.1f}" for a, b in zip(x, size, strict=True)]
    lower = [f"{a:.1f} {middle + b:.1f}" for a, b in zip(x[::-1], size[::-1], strict=True)]
    return f'<path class="nx-wave" d="M{"L".join([*upper, *lower])}Z"/>'


def _bands(result: AudioAttribution, edges: Floats, top: float) -> tuple[str, float]:
    patches = result.patches()
    full = phrases.scale(patches)
    drawn, height = "", max(_BAND, 90 / len(patches))
    for band, row in enumerate(patches[::-1].tolist()):
        for (start, stop), score in zip(edges.tolist(), row, strict=True):
            title = f"band {len(patches) - band}: {markup.signed(score, full)}"
            drawn += (
                f'<rect x="{start:.2f}" y="{top + band * height:.2f}" '
                f'width="{stop - start:.2f}" height="{height:.2f}"'
                f"{markup.look(score / full, 'nx-band')}><title>{title}</title></rect>"
            )
    return drawn, top + height * len(patches)


def _legend(result: AudioAttribution) -> str:
    meaning = phrases.meaning(result)
    note = "One score for each step in time."
    if result.grid is not None:
        note = (
            "A bar is the sum over the bands of frequency, which are drawn below it, the highest "
            "on top."
        )
    return markup.legend(meaning, f"{meaning.sentence} {note}")


def _strongest(result: AudioAttribution) -> str:
    steps, track = _strong(result), result.track()
    own = track[steps]
    low, high = max(0.0, -float(own.min(initial=0))), max(0.0, float(own.max(initial=0)))
    largest = phrases.scale(track)
    lines = "".join(
        f'<tr><th scope="row">{_named(result, step)}</th>'
        f'<td class="nx-number">{markup.signed(float(track[step]), largest)}</td>'
        f"{markup.track(float(track[step]), low, high)}</tr>\n"
        for step in steps
    )
    return (
        '<table class="nx-bars"><caption>The strongest steps, in order of time.</caption>\n'
        f"<tbody>\n{lines}</tbody></table>\n"
    )


def _numbers(result: AudioAttribution) -> str:
    track = result.track()
    largest = phrases.scale(track)
    lines = "".join(
        f'<tr><th scope="row">{_named(result, step)}</th>'
        f'<td class="nx-number">{markup.signed(score, largest)}</td></tr>\n'
        for step, score in enumerate(track.tolist())
    )
    return (
        "<details><summary>All scores over time</summary>\n"
        '<div class="nx-scroll"><table><thead><tr><th scope="col">Time</th>'
        '<th scope="col" class="nx-number">Score</th></tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div></details>\n"
    )
