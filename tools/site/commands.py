"""The command reference: what each command says with --help, and of each method."""

from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from normxlogit.cli import app
from normxlogit.methods import METHODS

WIDTH = "88"

_ABOUT_COMMANDS = """\
# Commands

What each command says with `--help`. Exit codes: 0 done, 1 could not be done (with one line that
says why; `--debug` shows where), 2 wrong usage.
"""

_ABOUT_METHODS = """\
# The methods, one by one

What `normxlogit methods NAME` says of each. [Which to take](choose.md), and [what they have in
common](methods.md).
"""


def pages() -> dict[str, str]:
    """Return the pages in Markdown, by their places on the site."""
    commands = {"normxlogit": ["--help"]}
    commands |= {f"normxlogit {name}": [name, "--help"] for name in command_names()}
    methods = {name: ["methods", name] for name in METHODS}
    return {
        "commands.md": _page(_ABOUT_COMMANDS, commands),
        "method-reference.md": _page(_ABOUT_METHODS, methods),
    }


def command_names() -> list[str]:
    """Return the names of all commands, in their order."""
    group: Any = get_command(app)
    return list(group.commands)


def output(arguments: list[str]) -> str:
    """Return what the command prints for these arguments."""
    environment = {"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1"}
    result = CliRunner().invoke(app, arguments, env=environment, prog_name="normxlogit")
    if result.exit_code:
        raise RuntimeError(f"normxlogit {' '.join(arguments)} failed: {result.output}")
    return result.stdout.strip()


def _page(about: str, sections: dict[str, list[str]]) -> str:
    """Return a page with a section for each title, and in it what the command prints."""
    parts = [
        f"## {title}\n\n```text\n{output(arguments)}\n```" for title, arguments in sections.items()
    ]
    return "\n\n".join([about.strip(), *parts]) + "\n"
