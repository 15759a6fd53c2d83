"""How results show themselves: what `normxlogit.results.display` asks for."""

from normxlogit.results.base import Result
from normxlogit.show import html
from normxlogit.show.html import fragment
from normxlogit.show.plot import figure
from normxlogit.show.terminal import plain, render

__all__ = ["figure", "fragment", "page", "plain", "render"]


def page(result: Result) -> str:
    """Return a self-contained page of one result."""
    return html.page([result])
