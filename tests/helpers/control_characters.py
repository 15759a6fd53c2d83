"""Characters that steer a terminal, or reverse what is read."""

import re
import unicodedata

HOSTILE = "\x1b]0;title\x07\x1b[5m\x9b2J\x08\x7f\u202eevil\u2066\r\ud800"
"""Text that renames a window, clears a screen, blinks, deletes, and turns words around."""

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = [*(c for c in map(chr, range(0xA0)) if unicodedata.category(c) == "Cc"), *BIDI, "\udfff"]
CONTROLS = [c for c in CONTROLS if c not in "\n\t"]
_CONTROL = re.compile("[" + re.escape("".join(CONTROLS)) + "\ud800-\udfff]")


def assert_visible(text: str) -> None:
    """Assert that a text has no control characters but line breaks and tabs."""
    hidden = [repr(text[m.start() - 20 :][:60]) for m in _CONTROL.finditer(text)]
    assert not hidden, hidden[0]
