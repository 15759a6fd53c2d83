"""The display of results, as `normxlogit.data.display` defines one: each kind by its type.

This module stands on top of what draws: nothing else in this package knows all kinds of results.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from normxlogit.errors import OptionError
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Result
from normxlogit.results.comparison import Comparison
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.image import ImageAttribution
from normxlogit.results.sources import SourceAttribution
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
from normxlogit.show.sources import page as sources_page
from normxlogit.show.sources import plot as sources_plot
from normxlogit.show.sources import terminal as sources_terminal
from normxlogit.show.text import page as text_page
from normxlogit.show.text import plot as text_plot
from normxlogit.show.text import terminal as text_terminal
from normxlogit.show.text.ranking import Order

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

__all__ = ["article", "body", "figure", "fragment", "overlay", "page", "plain", "render", "to_html"]


Shown = Result | Comparison | SourceAttribution
"""What is shown in one piece."""


@singledispatch
def body(result: Result, **_options: Any) -> html.Body:
    """Return the HTML of a result of any unit, targets and layers, which needs a frame.

    Options of texts, here and below; other kinds take them and do nothing with them:

        special: gives special tokens bars too; the tables of numbers always have them, marked.
        order: "strength" lists the strongest words, "text" all of them as the text has them.
        tokens: shows tokens as they are, and not the words that they make.
    """
    raise TypeError(f"{type(result).__name__} has no HTML: register a function for it here.")


@singledispatch
def render(result: Shown, **_options: Any) -> "RenderableType":
    """Return what rich prints of a result; for options see `body`."""
    raise TypeError(f"{type(result).__name__} has no report: register a function for it here.")


@singledispatch
def figure(result: Shown, **_options: Any) -> "Figure":
    """Return a result as a figure; for options see `body`.

    `top` is how many tokens of a text, or words of the prompt of generated text, are drawn at most.

    Raises:
        InputError: it is an image whose patches are not known.
        OptionError: `top` is for a result that is no text.
        MissingExtraError: matplotlib is not installed.
    """
    raise TypeError(f"{type(result).__name__} has no figure: register a function for it here.")


@body.register(Attribution)
def _(
    result: Attribution, *, special: bool = False, order: Order = "strength", tokens: bool = False
) -> html.Body:
    return text_page.body(result, special=special, order=order, tokens=tokens)


@render.register(Attribution)
def _(
    result: Attribution, *, special: bool = False, order: Order = "strength", tokens: bool = False
) -> "RenderableType":
    return text_terminal.render(result, special=special, order=order, tokens=tokens)


@figure.register(Attribution)
def _(
    result: Attribution,
    *,
    top: int | None = None,
    special: bool = False,
    order: Order = "strength",
    tokens: bool = False,
) -> "Figure":
    return text_plot.figure(result, top=top, special=special, order=order, tokens=tokens)


@body.register(GenerationAttribution)
def _(result: GenerationAttribution, **_options: Any) -> html.Body:
    return generation_page.body(result)


@render.register(GenerationAttribution)
def _(
    result: GenerationAttribution, *, streamed: bool = False, **_options: Any
) -> "RenderableType":
    return generation_terminal.render(result, streamed=streamed)


@figure.register(GenerationAttribution)
def _(result: GenerationAttribution, *, top: int | None = None, **_options: Any) -> "Figure":
    return generation_plot.figure(result, top)


@body.register(ImageAttribution)
def _(result: ImageAttribution, **_options: Any) -> html.Body:
    return image_page.body(result)


@render.register(ImageAttribution)
def _(result: ImageAttribution, **_options: Any) -> "RenderableType":
    return image_terminal.render(result)


@figure.register(ImageAttribution)
def _(result: ImageAttribution, *, top: int | None = None, **_options: Any) -> "Figure":
    _check_whole(top)
    return image_plot.figure(result)


@body.register(AudioAttribution)
def _(result: AudioAttribution, **_options: Any) -> html.Body:
    return audio_page.body(result)


@render.register(AudioAttribution)
def _(result: AudioAttribution, **_options: Any) -> "RenderableType":
    return audio_terminal.render(result)


@figure.register(AudioAttribution)
def _(result: AudioAttribution, *, top: int | None = None, **_options: Any) -> "Figure":
    _check_whole(top)
    return audio_plot.figure(result)


def _check_whole(top: int | None) -> None:
    if top is not None:
        raise OptionError(
            "top is for plots of texts; this one shows the whole input. Leave it out."
        )


@render.register(Comparison)
def _(result: Comparison, **_options: Any) -> "RenderableType":
    return comparison_terminal.render(result)


@figure.register(Comparison)
def _(result: Comparison, *, top: int | None = None, **_options: Any) -> "Figure":
    _check_whole(top)
    return comparison_plot.figure(result)


@figure.register(SourceAttribution)
def _(result: SourceAttribution, *, top: int | None = None, **_options: Any) -> "Figure":
    _check_whole(top)
    return sources_plot.figure(result)


@render.register(SourceAttribution)
def _(result: SourceAttribution, **_options: Any) -> "RenderableType":
    return sources_terminal.render(result)


def plain(result: Shown, **options: Any) -> str:
    """Return what `render` does, as text without colours, 88 columns wide."""
    return terminal.plain(render(result, **options))


def page(items: Sequence[Shown | Failure], **options: Any) -> str:
    """Return a self-contained page of results and failures, in their order."""
    return html.page([article(item, **options) for item in items])


def to_html(result: Shown) -> str:
    """Return a self-contained page of a result."""
    return page([result])


def fragment(result: Shown, **options: Any) -> str:
    """Return the HTML of a result for a notebook, which needs no style sheet and no script."""
    return html.fragment(article(result, **options))


def article(item: Shown | Failure, **options: Any) -> html.Article:
    if isinstance(item, Failure):
        return html.failure_article(item)
    if isinstance(item, Comparison):
        return comparison_page.article(item)
    if isinstance(item, SourceAttribution):
        return sources_page.article(item)
    return html.result_article(item, body(item, **options))
