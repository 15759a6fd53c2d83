"""Values of options that come as text, from the command line or a file."""

import json
from typing import Any

from normxlogit.errors import OptionError


def parse_option(text: str) -> Any:
    """Parse `text` as JSON if possible, else return it unchanged; true/false match any case."""
    word = text.lower()
    try:
        return json.loads(word if word in ("true", "false") else text)
    except ValueError:
        return text


def parse_method(text: str) -> tuple[str, dict[str, Any]]:
    """Parse NAME:OPTION=VALUE:...; return the method's name and its options.

    Raises:
        OptionError: an option has no value.
    """
    method, *assignments = text.split(":")
    options = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise OptionError(
                f"{text!r:.80} is no method with options: {assignment!r:.80} has no =. Write "
                "NAME:OPTION=VALUE, such as integrated_gradients:n_steps=100."
            )
        options[name] = parse_option(value)
    return method, options
