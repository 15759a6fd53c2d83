"""`normxlogit fit`."""

from functools import partial
from shlex import quote
from typing import Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model, check_source
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.evaluation_tables import print_held_out
from normxlogit.cli.io import check_output, check_utf8, use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Debug,
    Device,
    Dtype,
    GgufFile,
    Model,
    PairColumn,
    Revision,
    Split,
    Subset,
    TextColumn,
    TrustRemoteCode,
)
from normxlogit.data.rows import Columns
from normxlogit.model.loading.names import DEMO


def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Texts like those to be explained, without labels: a file (.parquet, .csv, .tsv, "
            ".jsonl, .ndjson, or .txt with a text on each line), a folder of these, the URI of "
            "either in an object store (s3://...), or the id of a data set on the Hugging Face "
            "Hub.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write, such as reviews.head. The same command goes on with a fit "
            "that was stopped.",
        ),
    ],
    text: TextColumn = "text",
    pair: PairColumn = None,
    model: Model = "demo",
    subset: Subset = None,
    split: Split = None,
    texts: Annotated[
        int, typer.Option(min=1, help="How many texts to draw at random from the source.")
    ] = 2000,
    masks: Annotated[
        int,
        typer.Option(
            min=2,
            help="How many random sets of words to hide in each text, an even number; each is a "
            "forward pass.",
        ),
    ] = 16,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,NUMBER,...",
            help="The blocks whose outputs the head reads, 0 being the first block's input. "
            "Default: four from there to the last.",
        ),
    ] = None,
    width: Annotated[int, typer.Option(min=1, help="How many hidden units the head has.")] = 64,
    seed: Annotated[
        int, typer.Option(min=0, help="Of all that is drawn: the same seed gives the same head.")
    ] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Fit an attribution head to a model: Shapley values at the price of one forward pass.

    It says at the end how good the head is on texts that it was not fitted on.

    Example: normxlogit fit reviews.csv --text review --model MODEL --output reviews.head
    """
    use_utf8()
    with reporting(debug):
        from normxlogit.fitting.options import FitOptions

        options = FitOptions(texts, masks, _parse_layers(layers), width, seed)
        check_utf8([source, text, pair or ""])
        from normxlogit.data.location import local_path

        file = local_path(output, what="a head is written to a file")
        check_output(file)
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code)
        check_model(named)
        columns = Columns(text, pair)
        with quiet(debug):
            check_source(source, columns, subset=subset, split=split)
            from normxlogit.fitting.run import fit as fit_head

            explainer = load(named)
            head = fit_head(
                explainer,
                source,
                columns,
                options,
                output=file,
                subset=subset,
                split=split,
                progress=True,
                say=partial(terminal.say, err=True),
            )
        print_held_out(head.record)
        terminal.say(f"The head: {file}")
        # A bare name may mean another head than the file.
        path = f"./{file}" if str(file) == DEMO else str(file)
        terminal.say(
            f"To explain with it: normxlogit explain --model {quote(model)} --head "
            f"{quote(path)} 'A text.'"
        )


def _parse_layers(layers: str | None) -> list[int] | None:
    if layers is None:
        return None
    parts = [part.strip() for part in layers.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(
            f"--layers takes numbers with commas between them, such as 0,2,4,6; got {layers!r}."
        )
    return [int(part) for part in parts]
