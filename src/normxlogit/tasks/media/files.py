"""Pictures and sounds from what a user gives: files, arrays, objects of other packages."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from normxlogit.errors import InputError, MissingExtraError
from normxlogit.results.base import Floats
from normxlogit.results.thumbnails import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_CHANNELS = 32
"""Of two dimensions of a sound the shorter is taken for its channels if it is not longer."""


def read_picture(item: Any) -> "tuple[Image, str]":
    """A picture in RGB, turned as its EXIF data says, and the name of its file.

    Args:
        item: a PIL image, the path of a file, or an array or tensor of pixels [height, width] or
            [height, width, 1, 3 or 4], uint8 or floats from 0 to 1.

    Raises:
        InputError: it is no picture, or cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    image = pillow()
    from PIL import ImageOps, UnidentifiedImageError

    name = ""
    try:
        if isinstance(item, (str, Path)):
            name = Path(item).name
            with image.open(item) as opened:
                return _rgb(ImageOps.exif_transpose(opened), image), name
        if isinstance(item, image.Image):
            if not item.width or not item.height:
                raise InputError("the picture has no pixels.")
            return _rgb(ImageOps.exif_transpose(item), image), name
    except UnidentifiedImageError as error:
        raise InputError(f"{item} is no picture that Pillow can read.") from error
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the picture {name or item!r}: {error}.") from error
    if isinstance(item, (np.ndarray, Tensor)):
        return image.fromarray(_pixels(_array(item))), name
    raise InputError(
        f"a picture is a PIL image, a path, or an array of pixels; got {type(item).__name__}."
    )


def read_sound(item: Any) -> tuple[Floats, int, str]:
    """The samples of a sound, float32 [samples], how many a second, and the name of its file.

    Args:
        item: the path of a file, a tuple of samples and their sampling rate, or a dict of "array"
            and "sampling_rate".

    Raises:
        InputError: it is no sound, or cannot be read.
        MissingExtraError: it is a path, and soundfile is not installed.
    """
    name = ""
    if isinstance(item, (str, Path)):
        samples, rate = _sound_file(Path(item))
        name = Path(item).name
    elif isinstance(item, Mapping) and {"array", "sampling_rate"} <= item.keys():
        samples, rate = item["array"], item["sampling_rate"]
    elif isinstance(item, tuple) and len(item) == 2:
        samples, rate = item
    else:
        raise InputError(
            "a sound is a path, a tuple of samples and their sampling rate, or a dict of 'array' "
            f"and 'sampling_rate'; got {type(item).__name__}."
        )
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate < 1:
        raise InputError(f"a sampling rate is a number of samples a second; got {rate!r}.")
    return _mono(samples), int(rate), name


def _rgb(picture: Any, image: Any) -> "Image":
    if picture.mode.startswith("I;16"):
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        picture = image.fromarray(grey)
    if picture.mode in ("I", "F"):
        raise InputError(
            f"the picture is of mode {picture.mode!r}, whose pixels have no known range. Convert "
            "it to 8 bits for each channel."
        )
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    converted: Image = picture.convert("RGB")
    return converted


def _pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels uint8 [height, width, 3]."""
    shape = list(values.shape)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4):
        hint = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            hint = " Put the channels last: array.transpose(1, 2, 0), or tensor.permute(1, 2, 0)."
        elif len(shape) == 4:
            hint = " Give several pictures as a list."
        raise InputError(f"pixels are [height, width, 3]; got an array of shape {shape}.{hint}")
    if not values.size:
        raise InputError(f"the picture has no pixels: its shape is {shape}.")
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise InputError("the picture has pixels that are not finite numbers.")
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise InputError(
                f"pixels that are floats go from 0 to 1; these go from {low:g} to {high:g}. Give "
                "the picture as it was before it was normalised, or 0 to 255 as uint8."
            )
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InputError(f"pixels are uint8, or floats from 0 to 1; got {values.dtype}.")
    channels = values[..., :3]
    return np.ascontiguousarray(np.broadcast_to(channels, (*channels.shape[:2], 3)))


def _sound_file(path: Path) -> tuple[Floats, int]:
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtraError(
            'files of sound need soundfile. Install it with: pip install "normxlogit[audio]"'
        ) from error
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot read the sound {path.name}: {error}") from error
    return samples.mean(1), int(rate)


def _mono(values: Any) -> Floats:
    """Samples float32 [samples], the mean of channels."""
    try:
        samples = _array(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"the samples of a sound are numbers: {error}.") from error
    if samples.ndim == 2 and min(samples.shape) <= MOST_CHANNELS:
        samples = samples if samples.shape[0] > samples.shape[1] else samples.T
    elif samples.ndim != 1:
        raise InputError(
            "the samples of a sound are [samples], [samples, channels] or [channels, samples]; "
            f"got an array of shape {list(samples.shape)}."
        )
    if not samples.size:
        raise InputError("the sound has no samples.")
    kind = samples.dtype
    if np.issubdtype(kind, np.integer):
        full = np.iinfo(kind).max + 1
        middle = 0 if np.issubdtype(kind, np.signedinteger) else full // 2
        samples = (samples.astype(np.float64) - middle) / (full - middle)
    elif not np.issubdtype(kind, np.floating):
        raise InputError(f"the samples of a sound are numbers; got {kind}.")
    made: Floats = np.asarray(samples, np.float32).reshape(len(samples), -1).mean(1)
    if not np.isfinite(made).all():
        raise InputError("the sound has samples that are not finite numbers.")
    return made


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)
