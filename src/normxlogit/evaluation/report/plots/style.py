"""The style of a report's figures, on white in files, and on light or dark within a page."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from normxlogit.evaluation.method_specs import RANDOM
from normxlogit.evaluation.report.view import BASELINE, SELF, EvaluationView
from normxlogit.show import phrases
from normxlogit.show.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIZE = 9.0
"""The font size in points."""
INK, GROUND, GRID = "#1b1f24", "#fffffe", "#8c959e"
_FAMILIES = {
    "head on top": "#2a78d6",
    "gradient": "#d55e00",
    "perturbation": "#997a00",
    "context mixing": "#009e73",
    "decomposition": "#b8609a",
    "fitted": "#7b5cd6",
    BASELINE: "#8c959f",
}
_OTHER = "#7a7f87"
_DASHES = ((), (4, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (3, 1, 3, 1, 1, 1))
_MARKERS = "osD^vPX*<>"
"""Each filled, then each hollow: methods of alike colours and lines can still be told apart."""
_LONGEST = 26
_ENLARGED = 1.3
SETTINGS: Any = {
    "svg.hashsalt": "normxlogit",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": SIZE + 1,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": GROUND,
    "grid.color": GRID,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "savefig.facecolor": GROUND,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: the name of its files, without suffix.
        caption: its description, as plain text.
        svg: the SVG file, on white.
        png: the PNG file, at 150 dots per inch.
    """

    name: str
    caption: str
    svg: str
    png: bytes

    def inline(self) -> str:
        """The SVG element for a page: transparent, and drawn in the page's text colour.

        Ids are prefixed with the figure's name, as other figures on the page have the same ones.
        """
        # Strings suffice: matplotlib writes this file, `INK` and `GROUND` are colours that nothing
        # else in it has, and letters are paths, so that labels stand in comments only.
        start = self.svg.index("<svg")
        svg = self.svg[start:].replace(INK, "currentColor").replace(GROUND, "none")
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", svg)
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        width = float(svg.split(' width="')[1].split("pt")[0])
        look = f'aria-hidden="true" style="max-width:{_ENLARGED * width:.0f}pt"'
        return svg.replace("<svg", f"<svg {look}", 1)


@dataclass(frozen=True)
class Look:
    """How a method is drawn in all figures.

    Attributes:
        label: its name, shortened.
        color: the colour of its family.
        dashes: the dash pattern of its line, in line widths; () for a solid line.
        marker: its marker, which is filled or hollow.
        strong: whether it is emphasised.
    """

    label: str
    color: str
    dashes: tuple[float, ...]
    marker: str
    is_filled: bool
    strong: bool

    @property
    def fill(self) -> str:
        """The colour within its marker."""
        return self.color if self.is_filled else GROUND

    @property
    def width(self) -> float:
        """The width of its line in points."""
        return 2.2 if self.strong else 1.2


def method_looks(view: EvaluationView, names: list[str]) -> Mapping[str, Look]:
    """Choose the look of each method: a colour per family, lines within it, a marker of its own."""
    seen: dict[str, int] = {}
    labels: dict[str, str] = {}
    looks_of = {}
    for place, name in enumerate(names):
        method, family = view.methods[name]["method"], view.methods[name]["family"]
        number = seen[family] = seen.get(family, -1) + 1
        label = shortened(name)
        while label in labels.values():
            label = f"{label[: _LONGEST - 4]}… {len(labels) + 1}"
        labels[name] = label
        dashes = _DASHES[number % len(_DASHES)]
        looks_of[name] = Look(
            label=label,
            color=_FAMILIES.get(family, _OTHER),
            dashes=_DASHES[1] if method == RANDOM else dashes,
            marker=_MARKERS[place % len(_MARKERS)],
            is_filled=place // len(_MARKERS) % 2 == 0,
            strong=method == SELF,
        )
    return looks_of


def shortened(name: str) -> str:
    """Shorten a name, and escape characters that the figures' font may lack."""
    plain = phrases.one_line(name).encode("ascii", "backslashreplace").decode()
    return phrases.shortened(plain, _LONGEST)


def families(view: EvaluationView, names: list[str]) -> list[tuple[str, str]]:
    """The families of these methods with their colours."""
    present = [view.methods[name]["family"] for name in names]
    listed = [(name, color) for name, color in _FAMILIES.items() if name in present]
    others = [name for name in dict.fromkeys(present) if name not in _FAMILIES]
    return listed + [(name, _OTHER) for name in others]


def family_key(drawing: "Drawing", entries: list[tuple[str, str]], left: float) -> None:
    """Draw the legend of families at the bottom of a figure, from `left` inches on."""
    width, height = drawing.get_size_inches()
    x, y = left, 0.08 + 0.16 * (rows_of(entries, width - left) - 1)
    for name, color in entries:
        if x > left and x + _entry(name) > width:
            x, y = left, y - 0.16
        at = (x / width, (x + 0.16) / width), [(y + 0.04) / height] * 2
        from matplotlib.lines import Line2D

        drawing.add_artist(Line2D(*at, color=color, linewidth=3))
        drawing.text((x + 0.21) / width, y / height, name, va="bottom", fontsize=SIZE - 1)
        x += _entry(name)


def rows_of(entries: list[tuple[str, str]], width: float) -> int:
    """The number of rows that the legend of families takes in a width in inches."""
    rows, x = 1, 0.0
    for name, _ in entries:
        if x > 0 and x + _entry(name) > width:
            rows, x = rows + 1, 0.0
        x += _entry(name)
    return rows


def _entry(name: str) -> float:
    return 0.35 + text_width(name, SIZE - 1)


@cache
def text_width(text: str, size: float = SIZE, strong: bool = False) -> float:
    """The width of a text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans", weight="bold" if strong else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) / 72


def panel(
    width: float, height: float, left: float, right: float, bottom: float, top: float
) -> tuple["Drawing", "Axes"]:
    """Make a figure with one panel of this size and these margins, all in inches."""
    drawing = new_figure(left + width + right, bottom + height + top)
    drawing.set_layout_engine("none")  # sizes are computed, so that labels fit in the margins
    whole = drawing.get_size_inches()
    axes = drawing.add_axes(
        (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
    )
    return drawing, axes


def saved(drawing: "Drawing", name: str, caption: str) -> Figure:
    """Save a figure in both formats, deterministically.

    Its name becomes that of files, and part of ids in a page: other characters than those of words
    become "_".
    """
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    svg, png = io.StringIO(), io.BytesIO()
    drawing.savefig(svg, format="svg", metadata={"Date": None})
    drawing.savefig(png, format="png", dpi=150)
    return Figure(name, caption, svg.getvalue(), png.getvalue())
