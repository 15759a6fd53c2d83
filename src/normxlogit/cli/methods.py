"""`normxlogit methods`."""

import inspect
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from normxlogit.cli import terminal
from normxlogit.cli.errors import reporting
from normxlogit.cli.io import use_utf8

if TYPE_CHECKING:
    from normxlogit.methods import Method


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
        from normxlogit.methods import METHODS, find_method

        if name is None:
            _print_table(
                sorted(METHODS.values(), key=lambda m: (m.family != "head on top", m.family))
            )
            return
        method = find_method(name)
        options = list(inspect.signature(method.score).parameters.values())[1:]
        defaults = ", ".join(f"{option.name}={option.default!r}" for option in options)
        terminal.say(f"{method.name}  options: {defaults or 'none'}\n")
        terminal.say(inspect.getdoc(method.score) or "")
        terminal.say(f"\nServes: {method.serves}\nSource: {method.source}")


def _print_table(methods: list["Method"]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "family", "cost", "serves", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for method in methods:
        cells = (method.name, method.family, method.cost, method.serves, method.source)
        table.add_row(*(Text(terminal.shown(cell)) for cell in cells))
    terminal.console(width=None if sys.stdout.isatty() else 200).print(table)
