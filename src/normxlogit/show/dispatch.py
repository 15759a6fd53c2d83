"""The display of results, as `normxlogit.data.display` defines one: each kind by its type.

This module stands on top of what draws: nothing else in this package knows all kinds of results.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING

from normxlogit.errors import OptionError
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Result
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.image import ImageAttribution
from normxlogit.results.text import Attribution, Failure
from normxlogit.show import html, terminal
from normxlogit.show.audio import page as audio_page
from normxlogit.show.audio import plot as audio_plot
from normxlogit.show.audio import terminal as audio_terminal
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


@singledispatch
def body(result: Result, **_options: bool) -> html.Body:
    """Return the HTML of a result of any unit, targets and layers, which needs a frame.

    For texts, `special=True` gives special tokens bars too; the tables of numbers always have them,
    marked. Other kinds take the option and do nothing with it, here and below.
    """
    raise TypeError(f"{type(result).__name__} has no HTML: register a function for it here.")


@singledispatch
def render(result: Result, **_options: bool) -> "RenderableType":
    """Return what rich prints of a result; `special=True` lists special tokens of texts too."""
    raise TypeError(f"{type(result).__name__} has no report: register a function for it here.")


@singledispatch
def figure(result: Result, **_options: int | None) -> "Figure":
    """Return a result as a figure; `special=True` shows special tokens of texts too.

    `top` is how many tokens of a text, or words of the prompt of generated text, are drawn at most.

    Raises:
        InputError: it is an image whose patches are not known.
        OptionError: `top` is for a result that is no text.
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
def _(result: Attribution, *, top: int | None = None, special: bool = False) -> "Figure":
    return text_plot.figure(result, special=special, top=top)


@body.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: bool) -> html.Body:
    return generation_page.body(result)


@render.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: bool) -> "RenderableType":
    return generation_terminal.render(result)


@figure.register(GenerationAttribution)
def _(result: GenerationAttribution, *, top: int | None = None, **_options: int | None) -> "Figure":
    return generation_plot.figure(result, top)


@body.register(ImageAttribution)
def _(result: ImageAttribution, **_options: bool) -> html.Body:
    return image_page.body(result)


@render.register(ImageAttribution)
def _(result: ImageAttribution, **_options: bool) -> "RenderableType":
    return image_terminal.render(result)


@figure.register(ImageAttribution)
def _(result: ImageAttribution, *, top: int | None = None, **_options: int | None) -> "Figure":
    _check_whole(top)
    return image_plot.figure(result)


@body.register(AudioAttribution)
def _(result: AudioAttribution, **_options: bool) -> html.Body:
    return audio_page.body(result)


@render.register(AudioAttribution)
def _(result: AudioAttribution, **_options: bool) -> "RenderableType":
    return audio_terminal.render(result)


@figure.register(AudioAttribution)
def _(result: AudioAttribution, *, top: int | None = None, **_options: int | None) -> "Figure":
    _check_whole(top)
    return audio_plot.figure(result)


def _check_whole(top: int | None) -> None:
    if top is not None:
        raise OptionError(
            "top is for plots of texts; this one shows the whole input. Leave it out."
        )


def plain(result: Result, *, special: bool = False) -> str:
    """Return what `render` does, as text without colours, 88 columns wide."""
    return terminal.plain(render(result, special=special))


def page(items: Sequence[Result | Failure], *, special: bool = False) -> str:
    """Return a self-contained page of results and failures, in their order."""
    return html.page(
        [
            html.failure_article(item)
            if isinstance(item, Failure)
            else html.result_article(item, body(item, special=special))
            for item in items
        ]
    )


def to_html(result: Result) -> str:
    """Return a self-contained page of a result."""
    return page([result])


def fragment(result: Result, *, special: bool = False) -> str:
    """Return the HTML of a result for a notebook, with its style and script."""
    return html.fragment(html.result_article(result, body(result, special=special)))
