"""Values of options that are given as text."""

import json
from typing import Any


def value_of(text: str) -> Any:
    """What is JSON, such as a number, as what it is; true and false in any case; else the text."""
    word = text.lower()
    try:
        return json.loads(word if word in ("true", "false") else text)
    except ValueError:
        return text
