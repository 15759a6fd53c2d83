"""What a cell of a notebook shows, behind the filters of those who show notebooks."""

import re
from html.parser import HTMLParser

import pytest

from normxlogit.results.comparison import Comparison
from tests.helpers.results import GOOD_BAD, IMAGE, SOUND, chat, generation, word_attribution
from tests.show.test_policy import PICTURE

LENGTH = r"-?\d*\.?\d+(px|em|rem|%)?"
COLOR = r"(#[0-9a-f]{6}|transparent|rgba\(\d{1,3},\d{1,3},\d{1,3},(0?\.\d+|1\.0+|0|1)\))"
BORDER = rf"none|({LENGTH} (solid|dashed|dotted) {COLOR})"
JUPYTERLAB = {
    "background-color": COLOR,
    "background-image": r"none|url\(data:image/(png|svg\+xml);base64,[\w+/=]+\)",
    "background-size": rf"({LENGTH} ?){{1,2}}",
    "border": BORDER,
    "border-bottom": BORDER,
    "border-collapse": "collapse|separate",
    "border-left": BORDER,
    "border-radius": LENGTH,
    "border-top": BORDER,
    "bottom": LENGTH,
    "caption-side": "top|bottom",
    "cursor": "pointer",
    "display": "none|block|inline-block|flex|grid",
    "flex": rf"\d \d {LENGTH}",
    "flex-wrap": "wrap",
    "float": "none",
    "font-size": LENGTH,
    "font-style": "normal|italic",
    "font-weight": "normal|bold|400|600",
    "gap": rf"({LENGTH} ?){{1,2}}",
    "grid-template-columns": r"max-content 1fr",
    "height": rf"auto|{LENGTH}",
    "justify-content": "space-between",
    "left": LENGTH,
    "line-height": LENGTH,
    "margin": rf"({LENGTH} ?){{1,4}}",
    "margin-left": LENGTH,
    "margin-right": LENGTH,
    "max-height": LENGTH,
    "max-width": rf"none|{LENGTH}",
    "opacity": r"0\.\d+|1",
    "overflow": "hidden|auto",
    "overflow-wrap": "normal|break-word",
    "overflow-x": "auto",
    "overflow-y": "auto",
    "padding": rf"({LENGTH} ?){{1,4}}",
    "padding-bottom": LENGTH,
    "padding-left": LENGTH,
    "position": "static|relative|absolute",
    "table-layout": "auto|fixed",
    "text-align": "left|right|center",
    "top": LENGTH,
    "white-space": "normal|nowrap|pre-wrap",
    "width": rf"auto|{LENGTH}",
}
"""Properties that JupyterLab 4 keeps in a notebook that is not trusted, and some of their values:
the ones that a fragment may use."""

GREYED = {"filter: grayscale(1)"}
"""What may be lost: the picture under the scores then has its colours."""

ELEMENTS = frozenset(
    [
        "article",
        "b",
        "br",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "footer",
        "h2",
        "h3",
        "h4",
        "i",
        "aside",
        "section",
        "p",
        "small",
        "span",
        "strong",
        "summary",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "wbr",
        "bdi",
    ]
)
ATTRIBUTES = frozenset(["class", "dir", "style", "title", "colspan", "scope"])
"""Of what a fragment may use, what JupyterLab keeps."""

CASES = {
    "text": GOOD_BAD,
    "layers": word_attribution("a b", [[1.0, -1.0], [2.0, 3.0]], layers=(1, 2), axes=("layer",)),
    "generation": generation(),
    "chat": chat([("user", "hi there"), ("assistant", "ok"), ("user", "again")], "yes sir"),
    "image": PICTURE,
    "image without a copy": IMAGE,
    "audio": SOUND,
    "comparison": Comparison({"one": GOOD_BAD, "other": GOOD_BAD}, {}),
}


class Sanitized(HTMLParser):
    """What a host leaves of HTML, and what it takes away."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.lost: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ELEMENTS:
            self.lost.add(f"<{tag}>")
        for name, value in attrs:
            if name == "style":
                self._check(value or "")
            elif name not in ATTRIBUTES and not name.startswith(("aria-", "data-")):
                self.lost.add(f"{tag} {name}") if name not in ("role", "tabindex") else None

    def _check(self, style: str) -> None:
        for declaration in re.split(r";(?![^(]*\))", style):
            name, _, value = declaration.partition(":")
            if not re.fullmatch(JUPYTERLAB.get(name, r"(?!)"), value):
                self.lost.add(f"{name}: {value}")


@pytest.mark.parametrize("name", CASES)
def test_jupyterlab_takes_no_style_away(name: str) -> None:
    assert Sanitized(CASES[name]._repr_html_()).lost <= GREYED
