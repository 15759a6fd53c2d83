"""Explains image classification."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.numerics import to_numpy
from normxlogit.results.base import Floats
from normxlogit.results.image import ImageAttribution
from normxlogit.results.thumbnails import pillow, thumbnail
from normxlogit.tasks import InputOptions
from normxlogit.tasks.media.base import Item, MediaExplainer
from normxlogit.tasks.media.files import read_image
from normxlogit.tasks.media.positions import GridAxis
from normxlogit.tasks.media.preprocessing import image_axes


@dataclass(frozen=True)
class ImageInfo:
    """Facts about an image that its result reports.

    Attributes:
        size: height and width of the model's pixels; None if its input has no rows and columns.
        original: height and width of the user's image.
        axes: where the model's pixels lie on the original; None if unknown.
        name: the name of its file.
        thumbnail: a small copy as PNG.
    """

    size: tuple[int, int] | None
    original: tuple[int, int]
    axes: tuple[GridAxis, GridAxis] | None
    name: str
    thumbnail: bytes


class ImageExplainer(MediaExplainer[ImageInfo, ImageAttribution]):
    """Explains what an image classifier predicts."""

    medium = "image"

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        """Take a model, its image processor, and the model's name for results."""
        super().__init__(model, getattr(processor, "image_processor", processor), name)
        self._axes_by_size: dict[tuple[int, int], tuple[GridAxis, GridAxis] | None] = {}

    def encode(self, item: Any, input_options: InputOptions) -> Item[ImageInfo]:
        """Prepare an image for the model.

        Args:
            item: a PIL image; the path of a file; or an array or tensor of pixels [height, width,
                3], uint8, or floats from 0 to 1. [height, width] is grey; a fourth channel, alpha,
                is dropped.
            input_options: must be the default.

        Raises:
            InputError: it is not an image, or cannot be read.
            OptionError: `reading` has options for texts.
            MissingExtraError: Pillow is not installed.
        """
        self._refuse_text_options(input_options)
        image, name = read_image(item)
        inputs = self.prepared(images=image)
        pixels = inputs.get("pixel_values")
        has_rows = pixels is not None and pixels.dim() == 4  # [1, channels, height, width]
        original = image.height, image.width
        return Item(
            inputs,
            ImageInfo(
                size=tuple(pixels.shape[2:]) if has_rows else None,  # type: ignore[union-attr]
                original=original,
                axes=self._axes(original) if has_rows else None,
                name=name,
                thumbnail=thumbnail(image),
            ),
        )

    def result(
        self, item: Item[ImageInfo], shape: tuple[int, ...], **fields: Any
    ) -> ImageAttribution:
        """Return the result for an image."""
        info, note, grid, box, prefix = item.info, "", None, None, 0
        # Scores are good without a layout: the result says why there is none, and is not refused.
        try:
            if info.size is None:
                raise UnsupportedHeadError(
                    f"{type(self.processor).__name__} does not give the model an image of rows "
                    "and columns."
                )
            layout = self._layout(item.shapes, item.inputs, "pixel_values", [(2, 3)], shape)
        except UnsupportedHeadError as error:
            note = str(error)
        else:
            down, across = layout.axes
            prefix, grid = layout.prefix, (down.count, across.count)
            if info.axes is None:
                note = (
                    f"the part of the image that {type(self.processor).__name__} shows the model "
                    "could not be determined."
                )
            else:
                # Patches lie on the model's pixels, and these on the user's image.
                down, across = (
                    patches.mapped_through(pixels)
                    for patches, pixels in zip(layout.axes, info.axes, strict=True)
                )
                box = (across.edge(0), down.edge(0), across.edge(grid[1]), down.edge(grid[0]))
        return ImageAttribution(
            special=np.arange(fields["scores"].shape[-1]) < prefix,
            size=info.size or info.original,
            original=info.original,
            grid=grid,
            box=box,
            note=note,
            name=info.name,
            thumbnail=info.thumbnail,
            **fields,
        )

    def _axes(self, size: tuple[int, int]) -> tuple[GridAxis, GridAxis] | None:
        """Return where the model's pixels lie on an image of that height and width."""
        if size not in self._axes_by_size:
            pil = pillow()

            def pixels(image: NDArray[np.uint8]) -> Floats:
                return to_numpy(self.prepared(images=pil.fromarray(image))["pixel_values"])

            self._axes_by_size[size] = image_axes(pixels, *size)
        return self._axes_by_size[size]
