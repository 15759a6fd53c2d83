"""What a host of notebooks leaves of HTML."""

import re
from html.parser import HTMLParser

LENGTH = r"-?\d*\.?\d+(px|em|rem|%)?"
COLOR = r"(#[0-9a-f]{6}|transparent|rgba\(\d{1,3},\d{1,3},\d{1,3},(0?\.\d+|1\.0+|0|1)\))"
BORDER = rf"none|({LENGTH} (solid|dashed|dotted) {COLOR})"
STYLES = {
    "background": "none",
    "background-color": COLOR,
    "background-image": r"none|url\(data:image/(png|svg\+xml);base64,[\w+/=]+\)",
    "background-size": rf"({LENGTH} ?){{1,2}}",
    "border": BORDER,
    "border-bottom": BORDER,
    "border-collapse": "collapse",
    "border-left": BORDER,
    "border-radius": LENGTH,
    "border-top": BORDER,
    "bottom": LENGTH,
    "caption-side": "top",
    "cursor": "pointer",
    "display": "none|block|flex|grid",
    "flex": rf"\d \d {LENGTH}",
    "flex-wrap": "wrap",
    "float": "none",
    "font-size": LENGTH,
    "font-style": "normal|italic",
    "font-weight": "normal|[1-9]00",
    "gap": rf"({LENGTH} ?){{1,2}}",
    "grid-template-columns": "max-content 1fr",
    "height": LENGTH,
    "justify-content": "space-between",
    "left": LENGTH,
    "line-height": LENGTH,
    "margin": rf"({LENGTH} ?){{1,4}}",
    "margin-left": LENGTH,
    "margin-right": LENGTH,
    "max-height": LENGTH,
    "max-width": rf"none|{LENGTH}",
    "min-width": LENGTH,
    "opacity": r"0\.\d+|1",
    "overflow": "hidden|auto",
    "overflow-wrap": "normal|break-word",
    "overflow-x": "auto",
    "overflow-y": "auto",
    "padding": rf"({LENGTH} ?){{1,4}}",
    "padding-bottom": LENGTH,
    "padding-left": LENGTH,
    "position": "relative|absolute",
    "table-layout": "auto|fixed",
    "text-align": "left|right|center",
    "top": LENGTH,
    "white-space": "normal|nowrap|pre-wrap",
    "width": rf"auto|{LENGTH}",
}
"""Of the properties and values that JupyterLab 4 keeps in a notebook that is not trusted, those
that are of use here."""

ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        "article aside b bdi br caption dd details div dl dt em figcaption figure footer h1 h2 h3 "
        "h4 i li p section small span strong summary table tbody td th thead tr ul wbr",
    )
)
ATTRIBUTES = frozenset({"class", "dir", "title", "colspan", "scope", "open"})
UNSEEN = re.compile(r"aria-.*|data-.*|role|tabindex")
"""Attributes whose loss no one sees."""


class _Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ELEMENTS:
            self.lost.add(f"<{tag}>")
        for name, value in attrs:
            if name == "style":
                self._read_style(value or "")
            elif name not in ATTRIBUTES and not UNSEEN.fullmatch(name):
                self.lost.add(name)

    def _read_style(self, style: str) -> None:
        for declaration in re.split(r";(?![^(]*\))", style):
            name, _, value = declaration.partition(":")
            if name not in STYLES or not re.fullmatch(STYLES[name], value):
                self.lost.add(declaration)


def lost_when_untrusted(html: str) -> set[str]:
    """What JupyterLab takes away from HTML in a notebook that is not trusted.

    All but the grey of a picture under its scores, which then has its colours.
    """
    return _Reader(html).lost - {"filter:grayscale(1)"}
