"""Results show themselves, by a package that stands above them and is named when it is needed.

`normxlogit/__init__.py` says which one, so that nothing here imports it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


class Display(Protocol):
    """Draws objects of some kinds."""

    def render(self, shown: Any) -> "RenderableType":
        """Return what rich prints."""

    def plain(self, shown: Any) -> str:
        """Return text without colours, 88 columns wide."""

    def page(self, shown: Any) -> str:
        """Return a self-contained HTML page."""


class ResultDisplay(Display, Protocol):
    """Draws results in notebooks and as figures too."""

    def fragment(self, shown: Any) -> str:
        """Return HTML for a notebook."""

    def figure(self, shown: Any) -> "Figure":
        """Return a matplotlib figure."""


DISPLAYS: dict[str, Callable[[], Any]] = {}
"""Loads each display, by its name."""


class Displayed:
    """What prints itself, and makes a page of itself."""

    display_name: ClassVar[str]

    def to_html(self) -> str:
        """Return a self-contained HTML page, with scores as colours, bars and numbers."""
        return self._display().page(self)

    def __str__(self) -> str:
        return self._display().plain(self)

    def __rich__(self) -> "RenderableType":
        return self._display().render(self)

    def _display(self) -> Display:
        display: Display = DISPLAYS[self.display_name]()
        return display
