"""The small copy of an image that its result keeps to draw itself."""

import base64
import io
from typing import TYPE_CHECKING, Any

from normxlogit.data.plain import Plain
from normxlogit.errors import MissingExtraError
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
    picture: Image = pillow().open(io.BytesIO(data), formats=["PNG"]).convert("RGB")
    return picture


def encoded(data: bytes) -> str:
    """Return a thumbnail as JSON holds it, in base64."""
    return base64.b64encode(data).decode("ascii")


def read_thumbnail(item: Plain) -> bytes:
    """Read the thumbnail that `encoded` wrote.

    Pages embed it, so only what begins as a PNG does is let through; and with Pillow, which is
    needed to draw it anywhere else, only what can be drawn.

    Raises:
        InputError: it is something else, or too large.
    """
    try:
        data = base64.b64decode(item.text(), validate=True)
    except ValueError:
        item.refuse("base64")
    item.require(data.startswith(_PNG), "a PNG in base64")
    # The first chunk begins with width and height, so that a bomb is not even opened.
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    item.require(max(width, height) <= LONGEST_SIDE, f"of at most {LONGEST_SIDE} pixels a side")
    try:
        opened(data)
    except MissingExtraError:
        pass
    except Exception:  # decoders raise what they like at a damaged file
        item.refuse("an image that can be read")
    return data
