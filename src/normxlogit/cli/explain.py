"""`normxlogit explain`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import check_output, check_utf8, read_texts, use_utf8, write_results
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Contrast,
    Debug,
    Device,
    Dtype,
    Format,
    GgufFile,
    Head,
    Long,
    Method,
    Model,
    Output,
    OutputFormat,
    Readout,
    Reduce,
    Revision,
    Threshold,
    TrustRemoteCode,
    Words,
    one_or_several,
    parse_options,
    word_reduction,
)


def explain(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="One or more texts. Without any, or as '-', standard input is one text. For "
            "models of images or audio, the files.",
        ),
    ] = None,
    model: Model = "demo",
    pair: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The second text of a pair; for a question, the text that has the answer.",
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A choice, for multiple choice; given once for each."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read one text from a file (UTF-8).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="What to explain: a label or its number, or 'all'; may be given several times. "
            "For language models a token, or a text that continues TEXT; for questions an "
            "answer. Default: what the model predicts.",
        ),
    ] = None,
    contrast: Contrast = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="WORD|NUMBER",
            help="For models that predict for every token: the word, or the token's number.",
        ),
    ] = None,
    method: Method = None,
    head: Head = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|all",
            help="Read this layer instead of the last, or all of them.",
        ),
    ] = None,
    readout: Readout = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the method, such as norm=word or n_steps=300; may be given "
            "several times. 'normxlogit methods NAME' lists them.",
        ),
    ] = None,
    words: Words = True,
    reduce: Reduce = None,
    special: Annotated[
        bool, typer.Option("--special", help="Show special tokens such as [CLS] too.")
    ] = False,
    threshold: Threshold = 0.5,
    long: Annotated[
        Long,
        typer.Option(
            help="A text over the model's limit: error refuses it, truncate explains its "
            "beginning, window explains it in overlapping windows."
        ),
    ] = Long.ERROR,
    output_format: OutputFormat = Format.TEXT,
    output: Output = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    batch_size: Annotated[int, typer.Option(min=1, help="How many texts run together.")] = 32,
    debug: Debug = False,
) -> None:
    """Show which words a prediction rests on.

    Example: normxlogit explain "A great movie with poor performers."
    """
    use_utf8()
    with reporting(debug):
        parsed_layer = _parse_layer(layer)
        inputs = _read_inputs(texts or [], pair, choice or [], file)
        check_output(output)
        reduction = word_reduction(words, reduce)
        options = parse_options(option or [])
        with quiet(debug):
            from normxlogit.methods import find_method

            explainer = load(
                ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code, head)
            )
            default = "normxlogit" if head is None else "attribution_head"
            # Before the call, whose own arguments an option could be named like.
            find_method(default if method is None else method).check(options, parsed_layer)
            results = explainer.stream(
                inputs,
                target=one_or_several(target),
                contrast=contrast,
                method=method,
                layer=parsed_layer,
                readout=readout,
                threshold=threshold,
                position=_parse_position(position),
                batch_size=batch_size,
                long=long.value,
                **options,
            )
            failures = write_results(
                results,
                output_format,
                output,
                reduction=reduction,
                special=special,
                count=len(inputs),
            )
        if failures and debug:
            raise failures[0].error
        if failures:
            raise typer.Exit(1)


def _parse_layer(value: str | None) -> int | Literal["all"] | None:
    if value is None:
        return None
    if value == "all":
        return "all"
    if not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"--layer {value!r} is neither a number from 1 nor 'all'.")
    return int(value)


def _parse_position(value: str | None) -> str | int | None:
    """Return the number of a token, else the word itself."""
    return int(value) if value is not None and value.lstrip("-").isdecimal() else value


def _read_inputs(
    texts: list[str], pair: str | None, choices: list[str], file: Path | None
) -> list[Any]:
    """Return the inputs to explain: texts, or one pair, or one text with its choices."""
    texts = read_texts(texts, file, 'normxlogit explain "A great movie."')
    check_utf8([pair or "", *choices])
    if pair is None and not choices:
        return list(texts)
    if pair is not None and choices:
        raise typer.BadParameter("give either --pair or --choice, not both.")
    if len(texts) != 1:
        name = "--choice" if choices else "--pair"
        raise typer.BadParameter(f"{name} takes one TEXT before it, got {len(texts)}.")
    return [(texts[0], choices or pair)]
