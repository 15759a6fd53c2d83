"""The small copy of an image that its result keeps to draw itself."""

import base64
import binascii
import io
from typing import TYPE_CHECKING, Any

from normxlogit.extras import require

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 512
"""The longest side of the copy, in pixels."""

_PNG = b"\x89PNG\r\n\x1a\n"


def pillow() -> Any:
    """Return the module PIL.Image.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    return require("PIL.Image", "image", need="images need Pillow")


def thumbnail(picture: "Image") -> bytes:
    """Return a copy as PNG, its longest side at most 512 pixels."""
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def opened(data: bytes) -> "Image":
    """Return a thumbnail as an image in RGB.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    picture: Image = pillow().open(io.BytesIO(data)).convert("RGB")
    return picture


def encoded(data: bytes) -> str:
    """Return a thumbnail as JSON holds it, in base64."""
    return base64.b64encode(data).decode("ascii")


def decoded(text: str) -> bytes:
    """Return the thumbnail that `encoded` wrote.

    Pages embed it as it is, so only what begins as a PNG does is let through.

    Raises:
        ValueError: it is not base64, or not a PNG.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("the image is not base64") from error
    if not data.startswith(_PNG):
        raise ValueError("the image is not a PNG")
    return data
