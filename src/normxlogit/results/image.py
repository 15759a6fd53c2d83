"""The result for images: patches and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import flag, real_number, whole_number
from normxlogit.data.plain import LARGEST_INTEGER, Plain
from normxlogit.errors import InputError
from normxlogit.results.base import Floats, Result, read_pair, read_positions
from normxlogit.results.ranking import strongest_first
from normxlogit.results.thumbnails import encoded, opened, read_thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ImageAttribution(Result, kind="image"):
    """How much each patch of an image supports what the model predicted.

    Attributes:
        scores, norms, logits: as in `Result`; the last dimension is positions: those outside of the
            image (CLS, registers), then the patches row by row.
        special: whether a position is outside of the image, bool [positions].
        size: height and width of the image as the model saw it.
        original: height and width of the user's image, turned as its EXIF data says.
        grid: rows and columns of the patches; None if unknown.
        box: left, upper, right and lower edge of the grid in pixels of the original; it lies
            outside of the original where the image was padded. None if unknown.
        note: why the grid or the box is unknown.
        name: the name of the image's file, if it came from one.
        thumbnail: the image as PNG, its longest side at most 512 pixels; or None.
    """

    _own_fields: ClassVar[tuple[str, ...]] = (
        *("special", "size", "original", "grid", "box", "note", "name"),
        "picture",
    )

    special: NDArray[np.bool_]
    size: tuple[int, int]
    original: tuple[int, int]
    grid: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None
    note: str = ""
    name: str = ""
    thumbnail: bytes | None = None

    @property
    def picture(self) -> "Image | None":
        """The copy of the image, its longest side at most 512 pixels.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        if self.thumbnail is None:
            return None
        return opened(self.thumbnail)

    def patches(self) -> Floats:
        """Return scores float32 [..., rows, columns] of the patches.

        Raises:
            InputError: the grid is unknown.
        """
        if self.grid is None:
            raise InputError(f"the scores of this image have no rows and columns: {self.note}")
        return self.scores[..., ~self.special].reshape(*self.scores.shape[:-1], *self.grid)

    def cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return left, upper, right and lower edge of a patch in pixels of the original.

        Raises:
            InputError: the place of the patches is unknown.
            OptionError: there is no such row or column.
        """
        left, upper, right, lower = self._placed()
        rows, columns = self.grid or (1, 1)
        row = whole_number("row", row, least=0, most=rows - 1)
        column = whole_number("column", column, least=0, most=columns - 1)
        width, height = (right - left) / columns, (lower - upper) / rows
        x, y = left + column * width, upper + row * height
        return x, y, x + width, y + height

    def heatmap(self, *, smooth: bool = False) -> Floats:
        """Return scores float32 [..., height, width] for each pixel of the original.

        Args:
            smooth: interpolate linearly between the centres of patches. This looks finer than the
                scores are.

        Returns:
            Each pixel has its patch's score; nan where no patch lies.

        Raises:
            InputError: the place of the patches is unknown.
        """
        smooth = flag("smooth", smooth)
        left, upper, right, lower = self._placed()
        patches = self.patches()
        rows, columns = patches.shape[-2:]
        down = _weights(self.original[0], rows, upper, lower, smooth)
        across = _weights(self.original[1], columns, left, right, smooth)
        return (down @ patches.astype(np.float64) @ across.T).astype(np.float32)

    def overlay(
        self, picture: "Image | None" = None, *, smooth: bool = False, strength: float = 0.7
    ) -> "Image":
        """Draw the scores over the image in grey: blue supports the target, orange opposes it.

        Args:
            picture: the image that was explained, in any resolution; by default the copy that the
                result keeps.
            smooth: as in `heatmap`.
            strength: the opacity of the strongest colour, from 0 to 1.

        Returns:
            An image as large as `picture`, pale where no patch lies.

        Raises:
            InputError: the place of the patches is unknown, there is no image, or it has other
                proportions.
            OptionError: the scores are of several targets or layers, or an option is out of range.
            MissingExtraError: Pillow is not installed.
        """
        strength = real_number("strength", strength, least=0, most=1)
        return self._display().overlay(self, picture, smooth=smooth, strength=strength)

    def top(self, count: int = 5, *, by: str = "score") -> list[tuple[tuple[int, int], float]]:
        """Return row and column of the patches that support the target most, with their scores.

        Raises:
            InputError: the grid is unknown.
            OptionError: the count is no whole number from 0, or `by` is neither "score" nor
                "magnitude".
        """
        count = whole_number("count", count, least=0)
        patches = self.only().patches()
        order = strongest_first(patches.ravel(), by)[:count]
        cells = [divmod(int(i), patches.shape[1]) for i in order]
        return [(cell, float(patches[cell])) for cell in cells]

    def __repr__(self) -> str:
        targets = ", ".join(map(str, self.targets))
        height, width = self.original
        return f"<ImageAttribution of {targets} to {len(self)} positions of {width} x {height}>"

    def _placed(self) -> tuple[float, float, float, float]:
        if self.box is None or self.grid is None:
            raise InputError(f"the place of the patches on the image is not known: {self.note}")
        return self.box

    def _own_columns(self) -> dict[str, Any]:
        columns = self.grid[1] if self.grid else 1
        cells: list[tuple[int | None, int | None]] = [(None, None)] * len(self)
        if self.grid is not None:
            for number, position in enumerate(np.flatnonzero(~self.special)):
                cells[position] = divmod(number, columns)
        rows, across = zip(*cells, strict=True)
        return {
            "position": range(len(self)),
            "row": rows,
            "column": across,
            "special": self.special,
        }

    def _own_to_dict(self) -> dict[str, Any]:
        picture = self.thumbnail
        return {
            "special": self.special.tolist(),
            "size": list(self.size),
            "original": list(self.original),
            "grid": None if self.grid is None else list(self.grid),
            "box": None if self.box is None else list(self.box),
            "note": self.note,
            "name": self.name,
            "picture": None if picture is None else encoded(picture),
        }

    @classmethod
    def _own_from_dict(cls, data: Plain, common: Mapping[str, Any]) -> dict[str, Any]:
        special = read_positions(data, common["scores"])
        patches = int((~special).sum())
        grid = data.get("grid").optional(read_pair)
        data.get("grid").require(
            grid is None or grid[0] * grid[1] == patches,
            f"the rows and columns of {patches} patches",
        )
        original = read_pair(data.get("original"))
        return {
            "special": special,
            "size": read_pair(data.get("size")),
            "original": original,
            "grid": grid,
            "box": data.get("box").optional(_read_box),
            "note": data.get("note").text(),
            "name": data.get("name").text(),
            "thumbnail": data.get("picture").optional(read_thumbnail),
        }


def _read_box(item: Plain) -> tuple[float, float, float, float]:
    left, upper, right, lower = (
        edge.number(-LARGEST_INTEGER, LARGEST_INTEGER) for edge in item.items(4, 4)
    )
    # Closer edges than that are none of patches, and pixels are divided by their distance.
    item.require(min(right - left, lower - upper) >= 0.01, "left, upper, right and lower edge")
    return left, upper, right, lower


def _weights(
    length: int, count: int, start: float, end: float, smooth: bool
) -> NDArray[np.float64]:
    """Return the weight of each cell of a row in each pixel of a line, float64 [pixels, cells].

    The cells divide the line from `start` to `end` evenly; pixels outside have nan.
    """
    where = (np.arange(length) + 0.5 - start) * count / (end - start)  # in cells, [pixels]
    inside = (where >= 0) & (where < count)
    centres = np.clip(where - 0.5, 0, count - 1) if smooth else np.floor(where)
    distance = np.abs(centres[:, None] - np.arange(count))
    weights: NDArray[np.float64] = np.maximum(0.0, 1 - distance)
    weights[~inside] = np.nan
    return weights
