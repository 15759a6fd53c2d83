"""What commands write to standard output and standard error, the one place that does.

Texts, labels and file names come from anywhere. What is written to a terminal shows their control
characters as signs, so that none steers the terminal; pipes and files get them as they are.
"""

import sys
from typing import TYPE_CHECKING

from normxlogit.show.phrases import visible

if TYPE_CHECKING:
    from rich.console import Console

_WIDEST = 1000
"""The most columns that a line is filled up to."""
_WIDTH = 80


def shown(text: str, *, err: bool = False) -> str:
    """Return text as standard output, or standard error, may have it."""
    stream = sys.stderr if err else sys.stdout
    return visible(text) if stream is not None and stream.isatty() else text


def write(text: str, *, err: bool = False) -> None:
    """Write text to standard output or standard error, at once."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(shown(text, err=err))
        stream.flush()


def say(line: str, *, err: bool = False) -> None:
    """Write a line, see `write`."""
    write(f"{line}\n", err=err)


def console(*, err: bool = False, width: int | None = None) -> "Console":
    """Return a console, which prints what has passed `shown`.

    Args:
        err: whether it prints to standard error.
        width: how wide it is; without it, as wide as the terminal.
    """
    from rich.console import Console

    rich_console = Console(stderr=err, width=width, highlight=False)
    # COLUMNS=0 says that the width is not known, and rich would leave no column for anything.
    if not 0 < rich_console.width <= _WIDEST:
        rich_console.width = _WIDTH
    return rich_console
