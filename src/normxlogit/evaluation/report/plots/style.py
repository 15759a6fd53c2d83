"""The look of a report's figures, on paper white and, within a page, on light and dark."""

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
"""Of letters, in points."""
INK, GROUND, GRID = "#1b1f24", "#fffffe", "#8c959e"
_FAMILIES = {
    "head on top": "#2a78d6",
    "gradient": "#d55e00",
    "perturbation": "#997a00",
    "context mixing": "#009e73",
    "decomposition": "#b8609a",
    BASELINE: "#8c959f",
}
_OTHER = "#7a7f87"
_DASHES = ((), (4, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (3, 1, 3, 1, 1, 1))
_MARKERS = "osD^vP"
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
        name: of its files, without the ending.
        caption: what it shows, as plain text.
        svg: on white.
        png: the same, 150 dots an inch.
    """

    name: str
    caption: str
    svg: str
    png: bytes

    def inline(self) -> str:
        """The SVG's element for a page: without ground, and with ink of the page's colour.

        What its parts are called is preceded by the figure's name, for others are on that page.
        """
        start = self.svg.index("<svg")
        svg = self.svg[start:].replace(INK, "currentColor").replace(GROUND, "none")
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", svg)
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        width = float(svg.split(' width="')[1].split("pt")[0])
        look = f'aria-hidden="true" style="max-width:{_ENLARGED * width:.0f}pt"'
        return svg.replace("<svg", f"<svg {look}", 1)


@dataclass(frozen=True)
class Look:
    """How a method is drawn, alike in all figures.

    Attributes:
        label: its name, shortened.
        color: that of its family.
        dashes: of its line, lengths in widths; () for none.
        marker: its sign.
        strong: whether it is drawn so that it is found first.
    """

    label: str
    color: str
    dashes: tuple[float, ...]
    marker: str
    strong: bool

    @property
    def width(self) -> float:
        """Of its line, in points."""
        return 2.2 if self.strong else 1.2


def looks(found: EvaluationView, names: list[str]) -> Mapping[str, Look]:
    """How each method is drawn: colours tell families, lines and signs the methods of one."""
    seen: dict[str, int] = {}
    labels: dict[str, str] = {}
    given = {}
    for name in names:
        method, family = found.methods[name]["method"], found.methods[name]["family"]
        number = seen[family] = seen.get(family, -1) + 1
        label = shortened(name)
        while label in labels.values():
            label = f"{label[: _LONGEST - 4]}… {len(labels) + 1}"
        labels[name] = label
        dashes = _DASHES[number % len(_DASHES)]
        given[name] = Look(
            label=label,
            color=_FAMILIES.get(family, _OTHER),
            dashes=_DASHES[1] if method == RANDOM else dashes,
            marker=_MARKERS[number % len(_MARKERS)],
            strong=method == SELF,
        )
    return given


def shortened(name: str) -> str:
    """A name that is not too long, of characters that the figures' font has."""
    plain = phrases.one_line(name).encode("ascii", "backslashreplace").decode()
    return phrases.shortened(plain, _LONGEST)


def families(found: EvaluationView, names: list[str]) -> list[tuple[str, str]]:
    """The families of methods and their colours."""
    present = [found.methods[name]["family"] for name in names]
    known = [(name, color) for name, color in _FAMILIES.items() if name in present]
    others = [name for name in dict.fromkeys(present) if name not in _FAMILIES]
    return known + [(name, _OTHER) for name in others]


def family_key(drawing: "Drawing", entries: list[tuple[str, str]], left: float) -> None:
    """The families' colours in a row or two at the foot of a figure, from `left` inches on."""
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
    """How many rows the families' names take."""
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
    """How wide a text is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans", weight="bold" if strong else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) / 72


def panel(
    width: float, height: float, left: float, right: float, bottom: float, top: float
) -> tuple["Drawing", "Axes"]:
    """A figure with one panel of that size, and so much room around it, all in inches."""
    drawing = new_figure(left + width + right, bottom + height + top)
    drawing.set_layout_engine("none")
    whole = drawing.get_size_inches()
    axes = drawing.add_axes(
        (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
    )
    return drawing, axes


def saved(drawing: "Drawing", name: str, caption: str) -> Figure:
    """A figure in both formats, the same bytes for the same figure."""
    svg, png = io.StringIO(), io.BytesIO()
    drawing.savefig(svg, format="svg", metadata={"Date": None})
    drawing.savefig(png, format="png", dpi=150)
    return Figure(name, caption, svg.getvalue(), png.getvalue())
