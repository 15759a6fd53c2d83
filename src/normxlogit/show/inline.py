"""Styles written into the elements, for hosts that take style sheets away.

A notebook that is not trusted loses its style elements, scripts and drawings; some hosts, such as
GitHub, drop style attributes too. So what a cell shows has its style, that of `notebook.css`, in
attributes, its drawings as backgrounds, and elements whose names say the most important part:
words with strong scores are bold or italic.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cache, lru_cache
from html.parser import HTMLParser
from typing import NamedTuple

from markupsafe import Markup

from normxlogit.show.templating import asset

STRONG = 0.5
"""The share of the largest score from which on a word is bold or italic where styles are lost."""

Declarations = dict[str, str]

# Titles of a drawing's parts are shown where these are pointed at, as a background's never are.
_LEFT_OUT = frozenset({"script", "title"})
_VOID = frozenset({"br", "hr", "img", "wbr", "col", "input"})
_STYLED = re.compile(r'\s+(?:class|style)="[^"]*"')
_VARIABLE = re.compile(r"var\((--[a-z]+)\)")
_CALCULATION = re.compile(r"calc\(([\d.]+)(em|%|) ([*/]) ([\d.]+)\)")


class Compound(NamedTuple):
    """An element's name and classes, or what a selector asks of them; the name "" is any."""

    name: str
    classes: frozenset[str]


class Rule(NamedTuple):
    """A rule of a style sheet: elements, each somewhere in the one before; and the last's style."""

    selector: tuple[Compound, ...]
    style: Declarations


@dataclass(frozen=True)
class Element:
    """An element that is open.

    Attributes:
        path: it and what it is in, the outermost first, as the template has them.
        written: the name that is written for it.
        variables: the custom properties that it has or inherits.
    """

    path: tuple[Compound, ...]
    written: str
    variables: Declarations


class _Drawing(NamedTuple):
    """A drawing: how many elements were open and parts written before it, and its style."""

    depth: int
    start: int
    style: Declarations


def inlined(html: Markup) -> Markup:
    """Return HTML of our templates with styles in its elements, and without any script.

    What only a script would show, hidden elements, is left out too.
    """
    writer = _Writer()
    writer.feed(html)
    writer.close()
    return Markup("".join(writer.parts))


class _Writer(HTMLParser):
    """Writes what it reads, with styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self._open: list[Element] = []
        # How many elements were open where something began that is left out.
        self._left_out: int | None = None
        self._drawing: _Drawing | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        declared = _declarations(attributes.get("style") or "")
        outer = self._open[-1] if self._open else Element((), "", {})
        variables = outer.variables | {
            name: declared[name] for name in declared if name.startswith("--")
        }
        classes = frozenset((attributes.get("class") or "").split())
        source = self.get_starttag_text() or ""
        written = _plain_name(tag, classes, variables) or source[1 : 1 + len(tag)]
        depth = len(self._open)
        path = (*outer.path, Compound(tag, classes))
        self._open.append(Element(path, written, variables))
        style = _sheet_style(path) | declared
        if self._left_out is None and (tag in _LEFT_OUT or "hidden" in attributes):
            self._left_out = depth
        if tag == "svg":
            self._drawing = _Drawing(depth, len(self.parts), style)
            style = {}
        resolved = _resolved(style, variables)
        styled = f' style="{resolved}"' if resolved else ""
        self._write(f"<{written}{styled}{_STYLED.sub('', source[1 + len(tag) :])}")
        if tag in _VOID or source.endswith("/>"):
            self._close()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, _tag: str) -> None:
        self._write(f"</{self._open[-1].written}>")
        self._close()

    def handle_data(self, data: str) -> None:
        self._write(data)

    def handle_entityref(self, name: str) -> None:
        self._write(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._write(f"&#{name};")

    def _write(self, text: str) -> None:
        if self._left_out is None:
            self.parts.append(text)

    def _close(self) -> None:
        self._open.pop()
        depth = len(self._open)
        if self._left_out == depth:
            self._left_out = None
        if self._drawing is not None and self._drawing.depth == depth:
            svg = "".join(self.parts[self._drawing.start :])
            self.parts[self._drawing.start :] = [_background(svg, self._drawing.style)]
            self._drawing = None


def _plain_name(tag: str, classes: frozenset[str], variables: Declarations) -> str | None:
    """Return the name for an element that is coloured by a score; None of any other.

    A mark would be yellow where styles are lost, whatever its score.
    """
    if tag not in ("mark", "em"):
        return None
    share = 0.0 if "nx-special" in classes else float(variables.get("--share", 1))
    if share < STRONG:
        return "span"
    return "i" if "nx-against" in classes else "b"


def _background(svg: str, style: Declarations) -> str:
    """Return an element that has a drawing as its background, in the drawing's proportions."""
    width, height = map(float, re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)[0])
    if "xmlns=" not in svg:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    drawn = style | {
        "background-image": f"url(data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})",
        "background-size": "100% 100%",
        "padding-bottom": f"{100 * height / width:.2f}%",
    }
    return f'<div style="{_resolved(drawn, {})}"></div>'


@cache
def _rules() -> tuple[Rule, ...]:
    """Return the rules of `notebook.css`: of any two that match, the later one wins."""
    sheet = re.sub(r"/\*.*?\*/", "", asset("notebook.css"), flags=re.DOTALL)
    return tuple(
        Rule(tuple(map(_compound, selector.split())), _declarations(body))
        for selectors, _, body in (block.partition("{") for block in sheet.split("}")[:-1])
        for selector in selectors.split(",")
    )


def _compound(text: str) -> Compound:
    name, *classes = text.split(".")
    return Compound(name, frozenset(classes))


@lru_cache(maxsize=4096)
def _sheet_style(path: tuple[Compound, ...]) -> Declarations:
    """Return what the sheet gives to the innermost of these elements."""
    style: Declarations = {}
    for rule in _rules():
        if _matches(rule.selector, path):
            style |= rule.style
    return style


def _matches(selector: tuple[Compound, ...], path: tuple[Compound, ...]) -> bool:
    *outer, last = selector
    *around, element = path
    ancestors = iter(around)
    return _is(element, last) and all(
        any(_is(ancestor, compound) for ancestor in ancestors) for compound in outer
    )


def _is(element: Compound, wanted: Compound) -> bool:
    return wanted.name in ("", element.name) and wanted.classes <= element.classes


def _declarations(text: str) -> Declarations:
    # A semicolon in url(...) ends no declaration.
    parts = (part.partition(":") for part in re.split(r";(?![^(]*\))", text))
    return {name.strip(): value.strip() for name, colon, value in parts if colon}


def _resolved(style: Declarations, inherited: Declarations) -> str:
    """Return a style attribute in which custom properties are replaced by their values.

    As in a style sheet, a declaration that names a property which is not there does not hold.
    """
    variables = inherited | {name: style[name] for name in style if name.startswith("--")}
    return ";".join(
        f"{name}:{_calculated(_VARIABLE.sub(lambda match: variables[match[1]], value))}"
        for name, value in style.items()
        if not name.startswith("--") and variables.keys() >= set(_VARIABLE.findall(value))
    )


def _calculated(value: str) -> str:
    def result(match: re.Match[str]) -> str:
        left, unit, operator, right = match.groups()
        number = float(left) * float(right) if operator == "*" else float(left) / float(right)
        return f"{number:.2f}{unit}"

    return _CALCULATION.sub(result, value)
