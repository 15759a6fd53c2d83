"""`normxlogit summary`."""

import json
import sys
from typing import Annotated

import typer

from normxlogit.cli.common import (
    Debug,
    Format,
    Output,
    Shape,
    check_output,
    quiet,
    reporting,
    write_utf8,
)
from normxlogit.data.files import write_whole


def summary(
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="What 'normxlogit corpus' wrote to; also its URI."),
    ],
    top: Annotated[
        int,
        typer.Option(
            min=0, help="How many words of each label, and how many rows, are told at most."
        ),
    ] = 20,
    min_count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often a word must occur to be told. Without it 5, or once for every 1000 "
            "records of the label, if that is more.",
        ),
    ] = None,
    form: Shape = Format.TEXT,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Tell what a corpus holds: labels, words with the highest mean attribution, rows that differ.

    Example: normxlogit summary explained --format html --output summary.html
    """
    write_utf8()
    with reporting(debug):
        check_output(output)
        with quiet(debug):
            from normxlogit.corpus import summary as read_back

            found = read_back(folder, top=top, min_count=min_count)
        if form is Format.TEXT and output is None:
            from rich.console import Console

            Console().print(found)
            return
        if form is Format.JSON:
            whole = json.dumps(found.to_dict(), ensure_ascii=False) + "\n"
        else:
            whole = found.to_html() if form is Format.HTML else f"{found}\n"
        if output is None:
            sys.stdout.write(whole)
            sys.stdout.flush()
        else:
            write_whole(output, whole)
