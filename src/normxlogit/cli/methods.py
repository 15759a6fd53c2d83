"""`normxlogit methods`."""

import inspect
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from normxlogit.cli.common import reporting, write_utf8

if TYPE_CHECKING:
    from normxlogit.methods import Method


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Tell all about this one.")
    ] = None,
) -> None:
    """List the attribution methods: what each costs, what it serves, where it comes from.

    Example: normxlogit methods integrated_gradients
    """
    write_utf8()
    with reporting(debug=False):
        from normxlogit.methods import METHODS, find_method

        if name is None:
            _table(sorted(METHODS.values(), key=lambda m: (m.family != "head on top", m.family)))
            return
        method = find_method(name)
        options = list(inspect.signature(method.score).parameters.values())[1:]
        said = ", ".join(f"{option.name}={option.default!r}" for option in options)
        typer.echo(f"{method.name}  options: {said or 'none'}\n")
        typer.echo(inspect.getdoc(method.score))
        typer.echo(f"\nServes: {method.serves}\nSource: {method.source}")


def _table(methods: list["Method"]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "family", "cost", "serves", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for method in methods:
        table.add_row(method.name, method.family, method.cost, method.serves, method.source)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
