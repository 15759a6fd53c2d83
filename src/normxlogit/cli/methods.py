"""`normxlogit methods`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from normxlogit.cli import terminal
from normxlogit.cli.errors import reporting
from normxlogit.cli.io import use_utf8
from normxlogit.methods import METHODS, Declaration, find_declaration


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Describe this one in full.")
    ] = None,
) -> None:
    """List the attribution methods with their cost, the heads they serve and their source.

    Example: normxlogit methods integrated_gradients
    """
    use_utf8()
    with reporting(debug=False):
        if name is None:
            known = map(METHODS.declaration, METHODS)
            _print_table(sorted(known, key=lambda m: (m.family != "head on top", m.family)))
            return
        method = find_declaration(name)
        defaults = ", ".join(f"{option}={value!r}" for option, value in method.options.items())
        terminal.say(f"{method.name}  options: {defaults or 'none'}\n")
        terminal.say(method.documentation())
        terminal.say(f"\nServes: {method.serves}\nSource: {method.source}")


def _print_table(methods: Sequence[Declaration]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "family", "cost", "serves", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for method in methods:
        cells = (method.name, method.family, method.cost, method.serves, method.source)
        table.add_row(*(Text(terminal.shown(cell)) for cell in cells))
    terminal.console(width=None if sys.stdout.isatty() else 200).print(table)
