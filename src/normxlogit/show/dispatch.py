"""The display of results, as `normxlogit.data.display` defines one: each kind by its type.

This module stands on top of what draws: nothing else in this package knows all kinds of results.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING

from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Result
from normxlogit.results.comparison import Comparison
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.image import ImageAttribution
from normxlogit.results.text import Attribution, Failure
from normxlogit.show import html, terminal
from normxlogit.show.audio import page as audio_page
from normxlogit.show.audio import plot as audio_plot
from normxlogit.show.audio import terminal as audio_terminal
from normxlogit.show.comparison import page as comparison_page
from normxlogit.show.comparison import plot as comparison_plot
from normxlogit.show.comparison import terminal as comparison_terminal
from normxlogit.show.generation import page as generation_page
from normxlogit.show.generation import plot as generation_plot
from normxlogit.show.generation import terminal as generation_terminal
from normxlogit.show.image import page as image_page
from normxlogit.show.image import plot as image_plot
from normxlogit.show.image import terminal as image_terminal
from normxlogit.show.image.overlay import overlay
from normxlogit.show.text import page as text_page
from normxlogit.show.text import plot as text_plot
from normxlogit.show.text import terminal as text_terminal

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

__all__ = ["body", "figure", "fragment", "overlay", "page", "plain", "render", "to_html"]


Shown = Result | Comparison
"""What is shown in one piece."""


@singledispatch
def body(result: Result, **_options: bool) -> html.Body:
    """Return the HTML of a result of any unit, targets and layers, which needs a frame.

    For texts, `special=True` gives special tokens bars too; the tables of numbers always have them,
    marked. Other kinds take the option and do nothing with it, here and below.
    """
    raise TypeError(f"{type(result).__name__} has no HTML: register a function for it here.")


@singledispatch
def render(result: Shown, **_options: bool) -> "RenderableType":
    """Return what rich prints of a result; `special=True` lists special tokens of texts too."""
    raise TypeError(f"{type(result).__name__} has no report: register a function for it here.")


@singledispatch
def figure(result: Shown, **_options: bool) -> "Figure":
    """Return a result as a figure; `special=True` shows special tokens of texts too.

    Raises:
        InputError: it is an image whose patches are not known.
        MissingExtraError: matplotlib is not installed.
    """
    raise TypeError(f"{type(result).__name__} has no figure: register a function for it here.")


@body.register(Attribution)
def _(result: Attribution, *, special: bool = False) -> html.Body:
    return text_page.body(result, special=special)


@render.register(Attribution)
def _(result: Attribution, *, special: bool = False) -> "RenderableType":
    return text_terminal.render(result, special=special)


@figure.register(Attribution)
def _(result: Attribution, *, special: bool = False) -> "Figure":
    return text_plot.figure(result, special=special)


@body.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: bool) -> html.Body:
    return generation_page.body(result)


@render.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: bool) -> "RenderableType":
    return generation_terminal.render(result)


@figure.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: bool) -> "Figure":
    return generation_plot.figure(result)


@body.register(ImageAttribution)
def _(result: ImageAttribution, **_options: bool) -> html.Body:
    return image_page.body(result)


@render.register(ImageAttribution)
def _(result: ImageAttribution, **_options: bool) -> "RenderableType":
    return image_terminal.render(result)


@figure.register(ImageAttribution)
def _(result: ImageAttribution, **_options: bool) -> "Figure":
    return image_plot.figure(result)


@body.register(AudioAttribution)
def _(result: AudioAttribution, **_options: bool) -> html.Body:
    return audio_page.body(result)


@render.register(AudioAttribution)
def _(result: AudioAttribution, **_options: bool) -> "RenderableType":
    return audio_terminal.render(result)


@figure.register(AudioAttribution)
def _(result: AudioAttribution, **_options: bool) -> "Figure":
    return audio_plot.figure(result)


@render.register(Comparison)
def _(result: Comparison, **_options: bool) -> "RenderableType":
    return comparison_terminal.render(result)


@figure.register(Comparison)
def _(result: Comparison, **_options: bool) -> "Figure":
    return comparison_plot.figure(result)


def plain(result: Shown, *, special: bool = False) -> str:
    """Return what `render` does, as text without colours, 88 columns wide."""
    return terminal.plain(render(result, special=special))


def page(items: Sequence[Shown | Failure], *, special: bool = False) -> str:
    """Return a self-contained page of results and failures, in their order."""
    return html.page([_article(item, special) for item in items])


def to_html(result: Shown) -> str:
    """Return a self-contained page of a result."""
    return page([result])


def fragment(result: Shown, *, special: bool = False) -> str:
    """Return the HTML of a result for a notebook, with its style and script."""
    return html.fragment(_article(result, special))


def _article(item: Shown | Failure, special: bool) -> html.Article:
    if isinstance(item, Failure):
        return html.failure_article(item)
    if isinstance(item, Comparison):
        return comparison_page.article(item)
    return html.result_article(item, body(item, special=special))
