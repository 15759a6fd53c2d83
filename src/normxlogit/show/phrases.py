"""Texts and numbers in the form in which terminal, page and plot show them."""

import math
import re
from typing import Literal

CAVEAT = (
    "An attribution describes this model, not the world, and proves nothing by itself: how "
    "faithful it is differs between models and methods and has to be measured."
)


# Control characters but line breaks and tabs; halves of surrogate pairs; and embeddings, overrides
# and isolates of the Unicode Bidirectional Algorithm, which show characters in another order.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Replace control characters by signs, so that they cannot steer a terminal or a page.

    Line breaks and tabs stay, the former as "\\n".
    """
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _HIDDEN.sub(lambda match: _sign(ord(match[0])), unified)


def _sign(code: int) -> str:
    if code == 0x7F:
        return "␡"
    # Unicode has a picture of each ASCII control character, at its own code from 0x2400 on.
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def one_line(text: str) -> str:
    """Return a token for a table: `visible`, with line breaks and tabs as signs."""
    return visible(text).replace("\n", "↵").replace("\t", "⇥") or "∅"


def without_folders(path: str) -> str:
    """Return the name of a model or a folder as others may see it: a path, by its last part.

    An id of the Hub, which has one slash, stays as it is.
    """
    parts = [part for part in re.split(r"[/\\]", path) if part]
    is_id = path.count("/") < 2 and "\\" not in path and path[:1] not in ("/", ".", "~")
    return path if is_id or not parts else parts[-1]


def quoted(text: str) -> str:
    """Return text in the quotation marks that all pages and terminals have."""
    return f"“{text}”"


def token(text: str) -> str:
    """Return a token's text on one line, in quotation marks if it begins or ends with space."""
    line = shortened(one_line(text)) if text else ""
    return line if text and text == text.strip() else quoted(line)


def shortened(text: str, length: int = 60) -> str:
    """Return the text, or its beginning and its end if it is longer than `length`."""
    if len(text) <= length:
        return text
    half = (length - 3) // 2
    return f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def number(value: float, largest: float, *, signed: bool = True) -> str:
    """Return a score with three figures for the largest; a dash for nan.

    It has a plus if it is positive and `signed`: if signs tell support from opposition.
    """
    if math.isnan(value):
        return "–"
    sign: Literal["", "+"] = "+" if signed else ""
    if not 1e-6 < largest < 1e6:
        return with_minus(f"{value:{sign}.2e}")
    return decimal(value, max(0, 2 - math.floor(math.log10(largest))), sign)


def decimal(value: float, places: int = 3, sign: Literal["", "+"] = "") -> str:
    """Return a number with so many places, if `sign` is "+" signed always; a dash for nan."""
    if math.isnan(value):
        return "–"
    # Adding 0.0 turns -0.0 into 0.0, which would show as "-0.00".
    return with_minus(f"{round(value, places) + 0.0:{sign}.{places}f}")


def with_minus(figure: str) -> str:
    """Return a number with the minus sign, as wide as a plus, that pages and terminals have."""
    return figure.replace("-", "−")


def share(part: float) -> str:
    """Return a share of a whole, with its sign if it is negative; a small one is not none."""
    return "<1%" if 0 < abs(part) < 0.005 else with_minus(f"{part + 0.0:.0%}")


def percent(probability: float) -> str:
    """Return a probability in a form that never claims certainty."""
    if 0 < probability < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < probability < 1 else f"{probability:.1%}"
