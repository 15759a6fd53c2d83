"""`normxlogit methods`."""

from typing import Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.errors import reporting
from normxlogit.cli.io import use_utf8
from normxlogit.cli.options import complete_methods
from normxlogit.cli.tables import print_texts
from normxlogit.methods import METHODS, find_declaration


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", autocompletion=complete_methods, help="Describe this one in full."
        ),
    ] = None,
) -> None:
    """List the attribution methods with their cost, the heads they serve and their source.

    Example: normxlogit methods integrated_gradients
    """
    use_utf8()
    with reporting(debug=False):
        if name is None:
            declared = map(METHODS.declaration, METHODS)
            rows = [
                (method.name, method.family, method.cost, method.serves, method.source)
                for method in sorted(declared, key=lambda m: (m.family != "head on top", m.family))
            ]
            print_texts(("name", "family", "cost", "serves", "source"), rows)
            return
        method = find_declaration(name)
        defaults = ", ".join(f"{option}={value!r}" for option, value in method.options.items())
        terminal.say(f"{method.name}  options: {defaults or 'none'}\n")
        terminal.say(method.documentation())
        terminal.say(f"\nServes: {method.serves}\nSource: {method.source}")
