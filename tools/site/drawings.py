"""What the package itself draws on the site: results within pages, and pages of their own."""

import base64
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from mkdocs.utils import get_relative_url

from normxlogit import Explainer
from tools.samples import COMPLAINT


@dataclass(frozen=True)
class Drawing:
    """A value as HTML, and as plain text for readers of Markdown."""

    html: str
    text: str


DRAWINGS = dict[str, Drawing]()
"""The drawings of all pages, by the names in their marks."""

_MARK = re.compile(r'<div data-drawing="([^"]+)"></div>')

# Search leaves drawings out: tables of numbers find nothing.
_BOX = """\
<div class="drawing" data-search-exclude>
<template shadowrootmode="open"><style>{style}</style>{html}</template>
</div>"""
_STYLE = """\
table.dataframe { border-collapse: collapse; border: none; font-size: 0.8em; }
.dataframe th, .dataframe td { border: none; padding: 0.2em 0.8em; text-align: right; }
img { max-width: 100%; background: #fff; }"""


@cache
def demo() -> Explainer:
    """Return the demo with its attribution head, on the CPU as anywhere."""
    return Explainer.from_pretrained("demo", device="cpu", head="demo")


def drawing_of(value: Any) -> Drawing | None:
    """Return a value as a notebook draws it; None of one that has only its text."""
    if hasattr(value, "_repr_png_"):
        picture, size = value._repr_png_()
        data = base64.b64encode(picture).decode("ascii")
        source = f'src="data:image/png;base64,{data}" width="{size["width"]:.0f}"'
        return Drawing(f'<img alt="The figure of the line above." {source}>', "(a figure)")
    if hasattr(value, "_repr_html_"):
        return Drawing(value._repr_html_(), str(value))
    return None


def mark(name: str, drawing: Drawing) -> str:
    """Keep a drawing under a name, and return the Markdown that stands in its place."""
    DRAWINGS[name] = drawing
    return f'<div data-drawing="{name}"></div>'


def put_drawings(page: str) -> str:
    """Return the HTML of a page with its drawings: Markdown would have read them as text.

    Each has a tree of its own, as it would be changed by the site's style of tables.
    """
    return _MARK.sub(lambda match: _BOX.format(style=_STYLE, html=DRAWINGS[match[1]].html), page)


def put_texts(markdown: str) -> str:
    """Return a page in Markdown with its drawings as text."""
    return _MARK.sub(lambda match: f"```text\n{DRAWINGS[match[1]].text}\n```", markdown)


LIVE_PAGES: dict[str, Callable[[], str]] = {
    "live/why.html": lambda: demo().explain(COMPLAINT).to_html(),
}
"""Pages that the package makes, by their places on the site.

A written page shows one where it has the comment `<!-- live: PLACE -->`, instead of the picture
below the comment, which is for readers of the repository. What visitors can try in their browser
belongs here, and on docs/index.md in the place of live/why.html.
"""

_LIVE = re.compile(r"<!-- live: (\S+) -->\n!\[([^\]]*)\]\([^)]*\)")


def put_live_pages(markdown: str, url: str) -> str:
    """Return a page, which has an address below the site's, with its live pages as frames."""
    return _LIVE.sub(
        lambda match: (
            f'<iframe class="live" src="{get_relative_url(match[1], url)}" '
            f'title="{html.escape(match[2])}" loading="lazy"></iframe>'
        ),
        markdown,
    )
