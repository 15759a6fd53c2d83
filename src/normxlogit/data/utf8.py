"""What UTF-8 cannot hold."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def lone_surrogate(text: str) -> re.Match[str] | None:
    """Find half a surrogate pair, which Python puts for bytes that are not UTF-8."""
    return _SURROGATE.search(text)
