"""Where on an image, or in audio, the inputs that a processor makes of it lie.

Processors resize, crop, pad, cut into frames and fill up, each in its own way. So they are not
inspected but tested: with images whose brightness says at each point where it is, and with clicks
at known times.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.tasks.media.positions import GridAxis

SMALLEST = 16
"""With fewer pixels on a side, brightness does not say precisely enough where a point is."""

Doubles = NDArray[np.float64]


def image_axes(
    process: Callable[[NDArray[np.uint8]], Any], height: int, width: int
) -> tuple[GridAxis, GridAxis] | None:
    """Return where a model's pixels lie on an image of that size, down and across.

    Args:
        process: makes pixel values [1, channels, height, width] of an image uint8 [height, width,
            3].
        height: of the image.
        width: of the image.

    Returns:
        The model's pixels in units of the image's, outside of it where the processor pads; None if
        they are not evenly spaced, or it could not be determined.
    """
    if min(height, width) < SMALLEST:
        return None

    def processed(brightness: Any) -> Doubles:
        image = np.broadcast_to(brightness, (height, width))[..., None]
        return np.asarray(process(np.repeat(image, 3, -1).astype(np.uint8))[0], np.float64)

    # Black and white show how the processor scales values, and which of its pixels show the image
    # at all: those that it pads are the same in both.
    black, white = processed(0), processed(255)  # [channels, rows, columns]
    if black.shape != white.shape or black.ndim != 3:
        return None
    contrast = np.abs(white - black)
    inside = (contrast > 0.5 * contrast.max()).all(0)  # [rows, columns]
    if contrast.max() == 0 or inside.sum() < 0.01 * inside.size:
        return None
    # A ramp from black to white is an image that says how far down, or across, each pixel is.
    places = []
    for length, ramp in ((height, _ramp(height)[:, None]), (width, _ramp(width)[None])):
        shares = (processed(ramp) - black)[:, inside] / (white - black)[:, inside]
        place = np.full(inside.shape, np.nan)
        place[inside] = np.median(shares, 0) * length  # [channels, inside] -> [inside]
        places.append(place)
    rows, columns = inside.any(1), inside.any(0)
    if inside.sum() != rows.sum() * columns.sum():
        return None  # not a rectangle
    down = _even_axis(places[0][rows][:, columns], height, np.flatnonzero(rows), black.shape[1])
    across = _even_axis(
        places[1][rows][:, columns].T, width, np.flatnonzero(columns), black.shape[2]
    )
    return None if down is None or across is None else (down, across)


def _ramp(length: int) -> Doubles:
    """Return the centre of each pixel, as a share of 255."""
    return np.rint((np.arange(length) + 0.5) / length * 255)


def _even_axis(
    places: Doubles, length: int, numbers: NDArray[np.intp], count: int
) -> GridAxis | None:
    """Fit an axis to the model's pixels.

    Args:
        places: where on a line of `length` each pixel lies, [pixels along, pixels across].
        length: of the line.
        numbers: which of the model's pixels along these are, [pixels along].
        count: how many pixels along the model has, with padding.

    Returns:
        The axis; None if the pixels are not evenly spaced.
    """
    centres = np.median(places, 1)  # [pixels along]
    resolution = length / 255  # a ramp has 256 steps of brightness
    if np.abs(places - centres[:, None]).max() > 1.5 * resolution:
        return None
    # At an image's own edges a resized ramp flattens.
    margin = max(0.5, 0.04 * length) + resolution
    linear = (centres > margin) & (centres < length - margin)
    if linear.sum() < 4:
        return None
    step, first = np.polyfit(numbers[linear], centres[linear], 1)
    residuals = np.abs(centres[linear] - (first + step * numbers[linear]))
    if step <= 0 or residuals.max() > resolution + 1.5 * max(1.0, step):
        return None
    axis = GridAxis(count, float(first), float(step))
    # Close to the whole image is the whole image: the fit is exact to half a percent only.
    if max(abs(axis.edge(0)), abs(axis.edge(count) - length)) < 0.25 * max(1.0, step):
        return GridAxis(count, 0.5 * length / count, length / count)
    return axis


def audio_axis(
    extract: Callable[[NDArray[np.float32]], Any], rate: int
) -> tuple[int, GridAxis] | None:
    """Return where in audio the samples or frames that a model sees lie, in seconds.

    Args:
        extract: makes features [1, ...] of audio float32 [samples].
        rate: samples per second.

    Returns:
        Which dimension of the features is time, and the axis of some seconds of audio; None if
        frames are not evenly spaced, or it could not be determined.
    """
    # Clicks at uneven distances: at even ones a shift by one click would fit as well. They are
    # further apart than any frame is long, so that each makes a run of frames of its own.
    distances = 0.29 + 0.17 * np.random.default_rng(0).random(20)
    clicks = np.rint(distances.cumsum() * rate).astype(int)
    silent, clicking = np.zeros((2, clicks[-1] + rate // 2), np.float32)
    clicking[clicks] = 1.0
    change = np.asarray(extract(clicking), np.float64) - np.asarray(extract(silent), np.float64)
    times = (clicks + 0.5) / rate
    # Time is whichever dimension shows the clicks: samples [1, time], frames [1, time, bands] or
    # [1, bands, time].
    for dim in range(1, change.ndim):
        along = np.moveaxis(change[0], dim - 1, 0).reshape(change.shape[dim], -1)  # [dim, others]
        # The median takes out what normalization over the whole changed everywhere.
        centres = _centres(np.abs(along - np.median(along, 0)).sum(1))
        if len(centres) < len(clicks):
            centres = centres[:-1]  # the last may have been cut, as a window has an end
        if not 4 <= len(centres) <= len(clicks):
            continue
        heard = times[: len(centres)]
        # A frame advances by a whole number of samples.
        step = max(1, round(np.polyfit(centres, heard, 1)[0] * rate)) / rate
        first = float(np.mean(heard - step * centres))
        if np.abs(first + step * centres - heard).max() <= step:
            return dim, GridAxis(change.shape[dim], first, step)
    return None


def _centres(size: Doubles) -> Doubles:
    """Return the centre of each run of large values, weighted by the values."""
    large = np.concatenate([[False], size > 0.25 * size.max(), [False]])
    edges = np.flatnonzero(np.diff(large.astype(np.int8)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return np.array([np.average(np.arange(a, b), weights=size[a:b]) for a, b in runs])
