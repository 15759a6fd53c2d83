"""HTML by Jinja2 templates, in which every value is made visible and escaped unless a template
made it.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from normxlogit.show import phrases


def fill(template: str, values: Mapping[str, object], package: str = __package__) -> Markup:
    """Return the HTML that a template makes of these values.

    Args:
        template: the name of its file.
        values: the names that it uses, all of them: one that is missing is an error.
        package: the package in whose folder `templates` it is. It may import from the templates
            of this package too.
    """
    return Markup(_environment(package).get_template(template).render(values))


def asset(name: str, package: str = __package__) -> Markup:
    """Return the text of a style sheet or script of a package."""
    return Markup((files(package) / name).read_text("utf-8"))


def script_data(data: Any) -> Markup:
    """Return JSON for a script element, in which an HTML parser sees nothing but text.

    What is in a script element is not unescaped as HTML is, so that entities would reach the
    script as they are, and "</script>" or "<!--" in a token would end or hide the element. JSON's
    own escapes mean the same character to JSON and nothing to HTML. U+2028 and U+2029 end lines in
    JavaScript, and half a surrogate pair cannot be written as UTF-8.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup("".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text))


@cache
def _environment(package: str) -> Environment:
    packages = dict.fromkeys((package, __package__))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["one_line"] = phrases.one_line
    environment.filters["quoted"] = phrases.quoted
    environment.filters["shortened"] = phrases.shortened
    return environment


def _visible(value: object) -> object:
    """Return text with signs for its control characters; other values unchanged."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return phrases.visible(str(value)) if is_text else value
