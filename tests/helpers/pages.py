"""HTML pages, read back, and the browser that shows them."""

import shutil
from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'& <b>"
"""Text that breaks out of markup unless it is escaped."""


class HTMLReader(HTMLParser):
    """Collect the elements of a page with their attributes, and its texts with their elements."""

    VOID = frozenset({"meta", "br", "wbr", "link", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.path: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.path == [], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.path:
            self.texts.append((self.path[-1] if self.path else "", data))

    def text(self, *tags: str) -> str:
        """The text of these elements, or of the whole page."""
        return "".join(data for tag, data in self.texts if tag in tags or not tags)


def find_browser() -> str | None:
    """The path of Chromium or Chrome, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)
