"""Which module shows which kind of result.

Such a module has `body(result)`, HTML without a frame, `render(result)`, what rich prints, and
`figure(result)`, a matplotlib figure; those of texts also take `special`, whether special tokens
are listed. `ASSETS`, if it has them, names style sheets and scripts that its HTML needs.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from normxlogit.results.base import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

_MODULES = {"text": "text", "generation": "generation", "image": "image", "audio": "audio"}


def body(result: Result, special: bool) -> Markup:
    """HTML of a result, to be put into a frame."""
    html: Markup = _module(result).body(result, **_options(result, special))
    return html


def render(result: Result, special: bool) -> "RenderableType":
    """What rich prints of a result."""
    shown: RenderableType = _module(result).render(result, **_options(result, special))
    return shown


def figure(result: Result, special: bool) -> "Figure":
    """A result as a matplotlib figure."""
    drawn: Figure = _module(result).figure(result, **_options(result, special))
    return drawn


def assets(results: Sequence[Result]) -> list[str]:
    """The names of the style sheets and scripts that the HTML of these results needs."""
    names = [name for result in results for name in getattr(_module(result), "ASSETS", ())]
    return list(dict.fromkeys(names))


def _module(result: Result) -> Any:
    return import_module(f"{__package__}.{_MODULES[result.kind]}")


def _options(result: Result, special: bool) -> dict[str, bool]:
    return {"special": special} if result.kind == "text" else {}
