"""`normxlogit summary`."""

from typing import Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import check_output, use_utf8, write_text
from normxlogit.cli.options import Debug, Format, Output, OutputFormat, find_format


def summary(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="The folder that 'normxlogit corpus' wrote to, or its URI."
        ),
    ],
    top: Annotated[
        int,
        typer.Option(min=0, help="How many words per label, and how many rows, to show at most."),
    ] = 20,
    min_count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often a word must occur to be shown. Default: 5, or once per 1000 records of "
            "the label, if that is more.",
        ),
    ] = None,
    named_format: OutputFormat = None,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Summarize a corpus: its labels, their words of highest mean attribution, rows that differ.

    Example: normxlogit summary explained --format html --output summary.html
    """
    use_utf8()
    with reporting(debug):
        check_output(output)
        output_format = find_format(named_format, output)
        with quiet(debug):
            from normxlogit.corpus import summary as summarize
            from normxlogit.data.plain import dump_json

            findings = summarize(folder, top=top, min_count=min_count)
        if output_format is Format.TEXT and output is None:
            terminal.console().print(findings)
            return
        if output_format is Format.JSON:
            text = dump_json(findings.to_dict()) + "\n"
        else:
            text = findings.to_html() if output_format is Format.HTML else f"{findings}\n"
        write_text(text, output)
