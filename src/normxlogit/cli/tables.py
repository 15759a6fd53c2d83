"""Tables that commands print: no figure is cut or wrapped, and columns stay apart."""

import sys
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normxlogit.cli import terminal

_GAP = 2
"""How many columns of a terminal stand between two of a table."""

_WITHOUT_TERMINAL = 200


def print_figures(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a name and its figures on each line.

    Where the terminal is too narrow for all columns, those that are left follow in a further block,
    with the names again.

    Args:
        headers: the names of the columns.
        rows: the cells of each row, as many.
    """
    from normxlogit.show.terminal import column_blocks  # with numpy, for which --help need not wait

    console = _console()
    widths = [max(cell_len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    name, *figures = widths
    for block in column_blocks(figures, console.width - name - _GAP, _GAP):
        if block.start:
            console.print()
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        columns = [0, *(column + 1 for column in block)]
        for column in columns:
            header = _text(headers[column])
            table.add_column(header, justify="right" if column else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(_text(row[column]) for column in columns))
        console.print(table)


def print_texts(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of short texts, which wrap within their columns; names come first."""
    table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, border_style="dim")
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*map(_text, row))
    _console().print(table)


def _console() -> Console:
    # Without a terminal there is no width to fit into, and rich would wrap at 80 columns.
    return terminal.console(width=None if sys.stdout.isatty() else _WITHOUT_TERMINAL)


def _text(cell: str) -> Text:
    """Return a cell for a table; brackets in it are no markup."""
    return Text(terminal.shown(cell))
