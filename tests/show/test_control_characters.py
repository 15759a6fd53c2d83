"""Nothing in a result steers the terminal or the page that it is shown on."""

import dataclasses
import io
import random
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from normxlogit import Attribution, Comparison, Failure, InputError
from normxlogit.show import phrases
from normxlogit.show.dispatch import fragment, page, plain, render
from tests.helpers.control_characters import CONTROLS, HOSTILE, assert_visible
from tests.helpers.pages import HTMLReader
from tests.helpers.results import MADE_BY_HAND, word_attribution

ENUMERATED = ("problem", "kind", "unit", "reductions", "readout", "axes", "operator")
"""Fields whose text is one of a few words."""


def hostile(value: Any, name: str = "") -> Any:
    """The value with control characters at the end of every text in it, offsets unchanged."""
    if isinstance(value, str):
        return value if name in ENUMERATED else value + HOSTILE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{n: hostile(v, n) for n, v in fields.items()})
    if isinstance(value, tuple):
        return tuple(hostile(item, name) for item in value)
    if isinstance(value, Mapping):
        return {hostile(key): hostile(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("width", [1, 7, 80])
@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_terminals_get_signs(name: str, width: int) -> None:
    result = hostile(MADE_BY_HAND[name])
    assert_visible(plain(result))
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=width)
    console.print(render(result, special=True))
    # All that is left without the colours, which rich sets and every line of which it ends.
    assert_visible(re.sub(r"\x1b\[[\d;]*m", "", file.getvalue()))
    assert "\x1b[5m" not in file.getvalue()


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_pages_get_signs(name: str) -> None:
    result = hostile(MADE_BY_HAND[name])
    failure = Failure(HOSTILE, InputError(HOSTILE))
    for html in (page([result, failure]), fragment(result)):
        assert_visible(html)
        reader = HTMLReader(html)
        for _, attributes in reader.elements:
            for value in attributes.values():
                assert_visible(value or "")


@pytest.mark.parametrize("width", [1, 7, 20, 80])
def test_comparisons_get_signs_at_any_width(width: int) -> None:
    result = hostile(MADE_BY_HAND["pair"])
    unsigned = dataclasses.replace(
        result, provenance=dataclasses.replace(result.provenance, unsigned=HOSTILE)
    )
    methods = {f"a{HOSTILE}": result, "b" * 90: unsigned, "c": result}
    comparison = Comparison(methods, {f"d{HOSTILE}": HOSTILE})
    file = io.StringIO()
    Console(file=file, width=width).print(comparison)
    for shown in (file.getvalue(), str(comparison), comparison.to_html(), fragment(comparison)):
        assert_visible(shown)
    HTMLReader(comparison.to_html())
    comparison.plot().canvas.draw()


@pytest.mark.parametrize("width", [1, 2, 3, 7, 11, 20, 39])
@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_narrow_terminals(name: str, width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width).print(render(MADE_BY_HAND[name]))
    assert file.getvalue().strip()


def test_each_control_character_is_one_sign_and_others_stay() -> None:
    draw = random.Random(0)
    for _ in range(300):
        others = draw.choices("aé漢👍🏽\u200d\u200f\xa0\n\t <&", k=5)
        text = "".join(draw.sample([*others, *draw.choices(CONTROLS, k=3)], 8))
        signs = phrases.visible(text)
        assert_visible(signs)
        assert phrases.visible(signs) == signs
        assert [c for c in signs if c in others] == [c for c in text if c in others] or "\r" in text
        assert len(signs) == len(text.replace("\r\n", "\n"))


def test_the_order_of_what_is_shown_is_that_of_the_text() -> None:
    """An override would show "evil" as "live"."""
    text = "\u202elive\u202c good"
    shown: Attribution = word_attribution(text, np.ones(2))
    assert "\ufffdlive\ufffd good" in plain(shown)
    assert "\ufffdlive\ufffd" in shown.to_html()
