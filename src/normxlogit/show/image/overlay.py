"""An image in grey under the scores of its patches."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.errors import InputError
from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.results.thumbnails import pillow
from normxlogit.show.colors import AGAINST, FOR, rgb
from normxlogit.show.scales import scale

if TYPE_CHECKING:
    from PIL.Image import Image

_PALE = 0.7
"""How much of the image is hidden by white where no patch lies."""


def overlay(
    result: ImageAttribution, picture: "Image | None", *, smooth: bool, strength: float
) -> "Image":
    """Draw the scores over an image, see `ImageAttribution.overlay`."""
    image = pillow()
    picture = result.picture if picture is None else picture
    if picture is None:
        raise InputError("this result keeps no copy of its image: pass the image to overlay.")
    if not isinstance(picture, image.Image):
        raise InputError(f"picture must be an image of Pillow, got {type(picture).__name__}.")
    _check_proportions(result, picture)
    scores = _resized(result.only().heatmap(smooth=smooth), picture.height, picture.width)
    grey = np.asarray(picture.convert("L"), np.float32)[..., None].repeat(3, -1)
    shares = np.abs(scores) / scale(result.only().patches())
    colors = np.where(
        (scores > 0)[..., None], np.array(rgb(FOR), np.float32), np.array(rgb(AGAINST), np.float32)
    )  # [height, width, 3]
    # The size of a score is the opacity of its colour, so that a score of 0 hides nothing.
    alpha = np.nan_to_num(shares * strength)[..., None]
    pixels = (1 - alpha) * grey + alpha * colors
    pixels = np.where(np.isnan(scores)[..., None], (1 - _PALE) * grey + _PALE * 255, pixels)
    drawn: Image = image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))
    return drawn


def _check_proportions(result: ImageAttribution, picture: "Image") -> None:
    height, width = result.original
    # Equal but for rounding: resizing moves an edge by up to a pixel.
    if abs(picture.width * height - picture.height * width) > 2 * max(height, width):
        raise InputError(
            f"the explained image is {width} x {height} pixels (width x height), and the one to "
            f"draw on {picture.width} x {picture.height}: it has other proportions."
        )


def _resized(scores: Floats, height: int, width: int) -> Floats:
    """Return scores [rows, columns] for each pixel of an image of another size."""
    rows, columns = scores.shape
    y = np.minimum((np.arange(height) + 0.5) * rows / height, rows - 1).astype(int)
    x = np.minimum((np.arange(width) + 0.5) * columns / width, columns - 1).astype(int)
    resized: Floats = scores[y[:, None], x]
    return resized
