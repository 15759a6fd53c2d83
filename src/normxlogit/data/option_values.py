"""Values of options that come as text, from the command line or a file."""

import json
from typing import Any


def parse_option(text: str) -> Any:
    """Parse `text` as JSON if possible, else return it unchanged; true/false match any case."""
    word = text.lower()
    try:
        return json.loads(word if word in ("true", "false") else text)
    except ValueError:
        return text
