"""The seam between objects that show themselves and the packages that draw them.

What draws stands above what it draws, so these objects cannot import it. `normxlogit/__init__.py`,
which knows both, puts a loader of each display into `DISPLAYS`; it runs when something is first
shown. The module stands this low because importing it must cost nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from rich.console import RenderableType


class Display(Protocol):
    """Draws objects of some kinds."""

    def render(self, shown: Any) -> "RenderableType":
        """Return what rich prints."""

    def plain(self, shown: Any) -> str:
        """Return text without colours, 88 columns wide."""

    def to_html(self, shown: Any) -> str:
        """Return a self-contained HTML page."""

    def fragment(self, shown: Any) -> str:
        """Return HTML for a notebook, which needs no style sheet and no script."""


class ResultDisplay(Display, Protocol):
    """Draws results: also as figures, and over their image."""

    def figure(self, shown: Any, **options: Any) -> "Figure":
        """Return a matplotlib figure."""

    def overlay(
        self, shown: Any, picture: "Image | None", *, smooth: bool, strength: float
    ) -> "Image":
        """Return an image under its scores."""


DISPLAYS: dict[str, Callable[[], Any]] = {}
"""A loader of each display, by the `display_name` of the objects that it draws."""


class Displayed:
    """An object that prints itself, makes a page of itself, and draws itself in notebooks."""

    display_name: ClassVar[str]

    def to_html(self) -> str:
        """Return a self-contained HTML page, with scores as colours, bars and numbers."""
        return self._display().to_html(self)

    def __str__(self) -> str:
        return self._display().plain(self)

    def __rich__(self) -> "RenderableType":
        return self._display().render(self)

    def _repr_html_(self) -> str:
        return self._display().fragment(self)

    def _display(self) -> Display:
        display: Display = DISPLAYS[self.display_name]()
        return display
