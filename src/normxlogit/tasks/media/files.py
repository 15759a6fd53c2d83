"""Reads images and audio: from files, arrays, and objects of other packages."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from normxlogit.errors import InputError
from normxlogit.extras import require
from normxlogit.model.numerics import to_numpy
from normxlogit.results.base import Floats
from normxlogit.results.thumbnails import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_CHANNELS = 32
"""The shorter of two dimensions of samples is taken for channels if it is at most this long."""


def read_image(item: Any) -> "tuple[Image, str]":
    """Read an image in RGB, oriented as its EXIF data says; return it and its file's name.

    Args:
        item: a PIL image, the path of a file, or an array or tensor of pixels [height, width] or
            [height, width, 1, 3 or 4], uint8 or floats from 0 to 1.

    Raises:
        InputError: it is not an image, or cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    pil = pillow()
    from PIL import ImageOps, UnidentifiedImageError

    name = ""
    try:
        if isinstance(item, (str, Path)):
            name = Path(item).name
            with pil.open(item) as image:
                return _rgb(ImageOps.exif_transpose(image), pil), name
        if isinstance(item, pil.Image):
            if not item.width or not item.height:
                raise InputError("the image has no pixels.")
            return _rgb(ImageOps.exif_transpose(item), pil), name
    except UnidentifiedImageError as error:
        raise InputError(f"{item} is not an image that Pillow can read.") from error
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError) as error:
        if isinstance(error, InputError):  # which is a ValueError
            raise
        raise InputError(f"cannot read the image {name or item!r}: {error}.") from error
    if isinstance(item, (np.ndarray, Tensor)):
        return pil.fromarray(_pixels(_array(item))), name
    raise InputError(
        f"an image is a PIL image, a path, or an array of pixels; got {type(item).__name__}."
    )


def read_audio(item: Any) -> tuple[Floats, int, str]:
    """Read audio; return its samples, float32 [samples], its sampling rate and its file's name.

    Args:
        item: the path of a file, a tuple of samples and their sampling rate, or a dict of "array"
            and "sampling_rate".

    Raises:
        InputError: it is not audio, or cannot be read.
        MissingExtraError: it is a path, and soundfile is not installed.
    """
    name = ""
    if isinstance(item, (str, Path)):
        samples, rate = _read_audio_file(Path(item))
        name = Path(item).name
    elif isinstance(item, Mapping) and {"array", "sampling_rate"} <= item.keys():
        samples, rate = item["array"], item["sampling_rate"]
    elif isinstance(item, tuple) and len(item) == 2:
        samples, rate = item
    else:
        raise InputError(
            "audio is a path, a tuple of samples and their sampling rate, or a dict of 'array' and "
            f"'sampling_rate'; got {type(item).__name__}."
        )
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate < 1:
        raise InputError(f"a sampling rate is a number of samples per second; got {rate!r}.")
    return _mono(samples), int(rate), name


def _rgb(image: Any, pil: Any) -> "Image":
    # Pillow converts 16 bits to 8 by clipping at 255, which makes nearly all of them white.
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = pil.fromarray(grey)
    if image.mode in ("I", "F"):
        raise InputError(
            f"the image is of mode {image.mode!r}, whose pixels have no known range. Convert it to "
            "8 bits for each channel."
        )
    # A palette's transparent colour survives only as alpha, which is then dropped.
    if "transparency" in image.info:
        image = image.convert("RGBA")
    converted: Image = image.convert("RGB")
    return converted


def _pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels as uint8 [height, width, 3]."""
    shape = list(values.shape)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4):
        hint = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            hint = " Put the channels last: array.transpose(1, 2, 0), or tensor.permute(1, 2, 0)."
        elif len(shape) == 4:
            hint = " Give several images as a list."
        raise InputError(f"pixels are [height, width, 3]; got an array of shape {shape}.{hint}")
    if not values.size:
        raise InputError(f"the image has no pixels: its shape is {shape}.")
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise InputError("the image has pixels that are not finite numbers.")
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise InputError(
                f"pixels that are floats go from 0 to 1; these go from {low:g} to {high:g}. Give "
                "the image as it was before it was normalized, or 0 to 255 as uint8."
            )
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InputError(f"pixels are uint8, or floats from 0 to 1; got {values.dtype}.")
    channels = values[..., :3]
    return np.ascontiguousarray(np.broadcast_to(channels, (*channels.shape[:2], 3)))


def _read_audio_file(path: Path) -> tuple[Floats, int]:
    soundfile = require("soundfile", "audio", need="audio files need soundfile")
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot read the audio {path.name}: {error}") from error
    return samples.mean(1), int(rate)


def _mono(values: Any) -> Floats:
    """Return samples as float32 [samples], the mean of channels, integers scaled to -1 to 1."""
    try:
        samples = _array(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"samples are numbers: {error}.") from error
    if samples.ndim == 2 and min(samples.shape) <= MOST_CHANNELS:
        samples = samples if samples.shape[0] > samples.shape[1] else samples.T
    elif samples.ndim != 1:
        raise InputError(
            "samples are [samples], [samples, channels] or [channels, samples]; got an array of "
            f"shape {list(samples.shape)}."
        )
    if not samples.size:
        raise InputError("the audio has no samples.")
    dtype = samples.dtype
    if np.issubdtype(dtype, np.integer):
        full = np.iinfo(dtype).max + 1
        middle = 0 if np.issubdtype(dtype, np.signedinteger) else full // 2
        samples = (samples.astype(np.float64) - middle) / (full - middle)
    elif not np.issubdtype(dtype, np.floating):
        raise InputError(f"samples are numbers; got {dtype}.")
    mono: Floats = np.asarray(samples, np.float32).reshape(len(samples), -1).mean(1)
    if not np.isfinite(mono).all():
        raise InputError("the audio has samples that are not finite numbers.")
    return mono


def _array(values: Any) -> NDArray[Any]:
    return to_numpy(values) if isinstance(values, Tensor) else np.asarray(values)
