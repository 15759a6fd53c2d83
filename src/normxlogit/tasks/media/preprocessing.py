"""Where on a picture or in a sound that is lies which a processor makes of it.

Processors resize, crop, pad, cut into frames and fill up, each in its own way; so it is not asked
how, but tried: pictures that say at each point where it is, and clicks at known times.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.tasks.media.positions import Axis

SMALLEST = 16
"""Pictures with fewer pixels on a side do not say well enough where a point is."""

Doubles = NDArray[np.float64]


def picture_axes(
    process: Callable[[NDArray[np.uint8]], Any], height: int, width: int
) -> tuple[Axis, Axis] | None:
    """Where the pixels that a model sees lie on a picture of that size, down and across.

    Args:
        process: makes pixel values [1, channels, height, width] of a picture uint8 [height, width,
            3].
        height: of the picture.
        width: of the picture.

    Returns:
        The pixels' places in pixels of the picture, outside of it where the processor pads; None if
        they do not lie evenly, or it could not be told.
    """
    if min(height, width) < SMALLEST:
        return None

    def seen(values: Any) -> Doubles:
        picture = np.broadcast_to(values, (height, width))[..., None]
        made = process(np.repeat(picture, 3, -1).astype(np.uint8))
        return np.asarray(made[0], np.float64)

    black, white = seen(0), seen(255)
    if black.shape != white.shape or black.ndim != 3:
        return None
    contrast = np.abs(white - black)
    inside = (contrast > 0.5 * contrast.max()).all(0)
    if contrast.max() == 0 or inside.sum() < 0.01 * inside.size:
        return None
    found = []
    for length, ramp in ((height, _ramp(height)[:, None]), (width, _ramp(width)[None])):
        shares = (seen(ramp) - black)[:, inside] / (white - black)[:, inside]
        where = np.full(inside.shape, np.nan)
        where[inside] = np.median(shares, 0) * length
        found.append(where)
    rows, columns = inside.any(1), inside.any(0)
    if inside.sum() != rows.sum() * columns.sum():
        return None
    down = _even(found[0][rows][:, columns], height, np.flatnonzero(rows), black.shape[1])
    across = _even(found[1][rows][:, columns].T, width, np.flatnonzero(columns), black.shape[2])
    return None if down is None or across is None else (down, across)


def _ramp(length: int) -> Doubles:
    """For each pixel its centre, as a share of 255."""
    return np.rint((np.arange(length) + 0.5) / length * 255)


def _even(where: Doubles, length: int, numbers: NDArray[np.intp], count: int) -> Axis | None:
    """The axis of pixels [along, across] that lie at these places of a line of that length."""
    places = np.median(where, 1)
    coarse = length / 255
    if np.abs(where - places[:, None]).max() > 1.5 * coarse:
        return None
    # At a picture's own edges a resized ramp flattens.
    margin = max(0.5, 0.04 * length) + coarse
    good = (places > margin) & (places < length - margin)
    if good.sum() < 4:
        return None
    step, first = np.polyfit(numbers[good], places[good], 1)
    off = np.abs(places[good] - (first + step * numbers[good]))
    if step <= 0 or off.max() > coarse + 1.5 * max(1.0, step):
        return None
    axis = Axis(count, float(first), float(step))
    if max(abs(axis.edge(0)), abs(axis.edge(count) - length)) < 0.25 * max(1.0, step):
        return Axis(count, 0.5 * length / count, length / count)  # all of it
    return axis


def sound_axis(extract: Callable[[NDArray[np.float32]], Any], rate: int) -> tuple[int, Axis] | None:
    """Where in a sound the samples or frames that a model sees lie, in seconds.

    Args:
        extract: makes features [1, ...] of a sound float32 [samples].
        rate: samples a second.

    Returns:
        Which dimension of the features is time, and the axis of some seconds of sound; None if
        frames do not lie evenly, or it could not be told.
    """
    apart = 0.29 + 0.17 * np.random.default_rng(0).random(20)
    clicks = np.rint(apart.cumsum() * rate).astype(int)
    silent, clicking = np.zeros((2, clicks[-1] + rate // 2), np.float32)
    clicking[clicks] = 1.0
    change = np.asarray(extract(clicking), np.float64) - np.asarray(extract(silent), np.float64)
    times = (clicks + 0.5) / rate
    for dim in range(1, change.ndim):
        along = np.moveaxis(change[0], dim - 1, 0).reshape(change.shape[dim], -1)
        centres = _centres(np.abs(along - np.median(along, 0)).sum(1))
        if len(centres) < len(clicks):
            centres = centres[:-1]  # the last may have been cut, as a window has an end
        if not 4 <= len(centres) <= len(clicks):
            continue
        heard = times[: len(centres)]
        step = max(1, round(np.polyfit(centres, heard, 1)[0] * rate)) / rate
        first = float(np.mean(heard - step * centres))
        if np.abs(first + step * centres - heard).max() <= step:
            return dim, Axis(change.shape[dim], first, step)
    return None


def _centres(size: Doubles) -> Doubles:
    """The centre of each run of what is large."""
    large = np.concatenate([[False], size > 0.25 * size.max(), [False]])
    edges = np.flatnonzero(np.diff(large.astype(np.int8)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return np.array([np.average(np.arange(a, b), weights=size[a:b]) for a, b in runs])
