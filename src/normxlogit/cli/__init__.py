"""The command `normxlogit`, a module per subcommand.

Torch and the like are imported inside the commands only, so that `--help` is quick.
"""

import gc
import os
import sys
import traceback
from typing import Annotated

import typer

from normxlogit import __version__
from normxlogit.cli import terminal
from normxlogit.cli.commands.corpus import corpus
from normxlogit.cli.commands.evaluate import evaluate
from normxlogit.cli.commands.explain import explain
from normxlogit.cli.commands.export import export
from normxlogit.cli.commands.fit import fit
from normxlogit.cli.commands.fit_sources import fit_sources
from normxlogit.cli.commands.generate import generate
from normxlogit.cli.commands.methods import methods
from normxlogit.cli.commands.serve import serve
from normxlogit.cli.commands.sources import sources
from normxlogit.cli.commands.summary import summary
from normxlogit.cli.errors import Commands

app = typer.Typer(
    name="normxlogit",
    cls=Commands,
    help="What a transformer's prediction rests on, at the price of one forward pass.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    # Else a fork after tokenizers have used threads, as Ray's start is, makes them print a warning.
    # What is forked here becomes another program at once, so nothing can be locked in it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Imports leave no garbage, but at Python's own threshold a quarter of the time that it takes to
    # explain one text goes into searching torch and transformers for it.
    gc.set_threshold(100_000)
    try:
        app()
    except Exception:  # with --debug; else commands let none through
        terminal.write(traceback.format_exc(), err=True)
        sys.exit(1)
    finally:
        # What is left goes with the process; Python would search all of it on its way out.
        gc.freeze()


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.say(f"normxlogit {__version__}")
        raise typer.Exit


@app.callback()
def _normxlogit(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


app.command()(explain)
app.command()(generate)
app.command()(sources)
app.command()(corpus)
app.command()(summary)
app.command()(evaluate)
app.command()(fit)
app.command()(fit_sources)
app.command()(export)
app.command()(serve)
app.command()(methods)
