"""Attributions of images as HTML: the image under its scores, and all numbers."""

import base64
from dataclasses import dataclass

import numpy as np

from normxlogit.results.image import ImageAttribution
from normxlogit.show import outputs, phrases
from normxlogit.show.html import Body
from normxlogit.show.image.patches import strongest_patches
from normxlogit.show.markup import BarRow, bar_rows
from normxlogit.show.meaning import Meaning, is_signed, score_meaning
from normxlogit.show.scales import scale
from normxlogit.show.sentence import Message, head
from normxlogit.show.templating import fill


@dataclass(frozen=True)
class Rectangle:
    """A patch as a page draws it, in the units of its picture.

    Attributes:
        left, upper, width, height: where it lies.
        share: its score as a share of the largest.
        title: what it says when pointed at; None if nothing.
    """

    left: float
    upper: float
    width: float
    height: float
    share: float
    title: str | None


@dataclass(frozen=True)
class Overlay:
    """The patches of a layer over their picture.

    Attributes:
        caption: what it shows.
        over_picture: whether the picture lies under it.
        width, height: of the drawing, in its own units.
        window: left, upper, right and lower edge of the part of the picture that patches lie over;
            None if that is all of it, or not known.
        patches: the patches.
    """

    caption: str
    over_picture: bool
    width: int
    height: int
    window: tuple[float, float, float, float] | None
    patches: list[Rectangle]


@dataclass(frozen=True)
class ScoreGrid:
    """All scores, as the patches lie.

    Attributes:
        rows: of each row of patches their shares of the largest score, and the scores as text.
        others: the scores of the positions that lie nowhere, as text.
    """

    rows: list[list[tuple[float, str]]]
    others: list[str]


@dataclass(frozen=True)
class TargetSection:
    """A target on a page.

    Attributes:
        heading: what is explained.
        by_layer: whether it shows several layers, each in small.
        overlays: a drawing for each layer; none if the patches are not known.
        meaning, note: what the scores say, and of what they are.
        strongest: the strongest patches; none of several layers.
        grid: all scores as the patches lie; None of several layers, or if that is not known.
        numbers: all scores by position, if it is not known how the patches lie.
    """

    heading: Message
    by_layer: bool
    overlays: list[Overlay]
    meaning: Meaning
    note: str
    strongest: list[BarRow]
    grid: ScoreGrid | None
    numbers: list[str]


def body(result: ImageAttribution) -> Body:
    """Return the HTML of a result: prediction, image, the image under its scores, numbers."""
    height, width = result.original
    values = {
        "said": outputs.verdict(result),
        "single": len(result.targets) == 1,
        "plain": outputs.is_plain(result),
        "name": result.name,
        "note": result.note,
        "width": width,
        "height": height,
        "ratio": _ratio(result),
        "picture": None
        if result.thumbnail is None
        else base64.b64encode(result.thumbnail).decode("ascii"),
        "sections": [_section(result, number) for number in range(len(result.targets))],
    }
    return Body(
        fill("image.html", values),
        styles=("picture.css",),
        has_images=result.thumbnail is not None,
    )


def _section(result: ImageAttribution, number: int) -> TargetSection:
    part = result.at(number)
    by_layer = result.grid is not None and len(part.layers) > 1
    single = None if result.grid is None or by_layer else part.only()
    return TargetSection(
        heading=head(part),
        by_layer=by_layer,
        overlays=[] if result.grid is None else _overlays(part),
        meaning=score_meaning(part).shown(part.scores),
        note="One score for each patch." if result.grid else "One score for each position.",
        strongest=[] if single is None else _strongest(single),
        grid=None if single is None else _grid(single),
        numbers=_numbers(part) if result.grid is None else [],
    )


def _ratio(result: ImageAttribution) -> float:
    """Return width by height of the picture; of the grid where this is all there is to draw."""
    height, width = result.original
    if result.box is None and result.grid is not None and result.thumbnail is None:
        height, width = result.grid
    return width / height


def _overlays(result: ImageAttribution) -> list[Overlay]:
    """Return the patches over the picture, at each layer, in one scale."""
    full = scale(result.patches())
    layers = list(result.single())
    if len(layers) == 1:
        return [_overlay(layers[0], full, _caption(layers[0]), titles=True)]
    return [_overlay(part, full, f"Layer {part.layers[0]}", titles=False) for part in layers]


def _caption(result: ImageAttribution) -> str:
    rows, columns = result.grid or (0, 0)
    count = f"{rows} × {columns} patches"
    if result.box is None:
        return f"{count}, not laid over the image"
    return f"{count}; areas under no patch are pale" if _cropped(result) else count


def _cropped(result: ImageAttribution) -> bool:
    """Whether the grid leaves more than a trace of the image uncovered."""
    if result.box is None:
        return False
    (left, upper, right, lower), (height, width) = result.box, result.original
    return bool(max(left / width, upper / height, 1 - right / width, 1 - lower / height) > 0.005)


def _overlay(result: ImageAttribution, full: float, caption: str, *, titles: bool) -> Overlay:
    patches = result.patches()
    rows, columns = patches.shape
    if result.box is None:
        left, upper, right, lower, height, width = 0.0, 0.0, columns, rows, rows, columns
    else:
        left, upper, right, lower = result.box
        height, width = result.original
    x, y = (right - left) / columns, (lower - upper) / rows
    window = None
    if _cropped(result):
        # The box lies outside of the picture where this was padded.
        corner = min(float(width), right), min(float(height), lower)
        window = (max(0.0, left), max(0.0, upper), *corner)
    drawn, signed = [], is_signed(result)
    for (row, column), score in np.ndenumerate(patches):
        number = phrases.number(float(score), full, signed=signed)
        title = f"row {row + 1}, column {column + 1}: {number}"
        drawn.append(
            Rectangle(
                left=left + column * x,
                upper=upper + row * y,
                width=x,
                height=y,
                share=float(score) / full,
                title=title if titles else None,
            )
        )
    return Overlay(caption, result.box is not None, width, height, window, drawn)


def _strongest(result: ImageAttribution) -> list[BarRow]:
    patches = strongest_patches(result)
    names = [f"{row + 1}, {column + 1}" for (row, column), _ in patches]
    scores = [score for _, score in patches]
    return bar_rows(names, scores, scale(result.patches()), signed=is_signed(result))


def _grid(result: ImageAttribution) -> ScoreGrid:
    patches, signed = result.patches(), is_signed(result)
    largest = scale(patches)

    def shown(score: float) -> str:
        return phrases.number(score, largest, signed=signed)

    return ScoreGrid(
        rows=[[(score / largest, shown(score)) for score in row] for row in patches.tolist()],
        others=[shown(score) for score in result.scores[result.special].tolist()],
    )


def _numbers(result: ImageAttribution) -> list[str]:
    """Return the scores by position, at the last layer."""
    part = result.select(layer=result.layers[-1]).only()
    largest, signed = scale(part.scores), is_signed(result)
    return [phrases.number(score, largest, signed=signed) for score in part.scores.tolist()]
