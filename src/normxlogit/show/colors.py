"""The colours of scores: blue for what supports the target, orange for what opposes it.

The colour-blind can tell these two apart. `fragment.css` and its like have colours of their own,
which differ on light and on dark ground.
"""

FOR, AGAINST = "#1a66cc", "#d9660a"
"""For the white ground of figures, and over images in grey."""

TERMINAL_FOR, TERMINAL_AGAINST = "#1a73e8", "#c25100"
"""For terminals: each has a contrast of about 4.5 to black and to white."""

QUIET = "#57606a"
"""The colour of axes and of all that is no score, in figures."""


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour such as "#1a66cc", each from 0 to 255."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue
