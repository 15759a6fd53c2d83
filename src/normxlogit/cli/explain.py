"""`normxlogit explain`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from normxlogit.cli.common import (
    Contrast,
    Debug,
    Device,
    Dtype,
    Format,
    Gguf,
    Long,
    Method,
    Model,
    Output,
    Readout,
    Revision,
    Shape,
    Threshold,
    Trust,
    Words,
    check_output,
    check_utf8,
    load,
    one_or_several,
    options_of,
    quiet,
    reporting,
    show,
    texts_of,
    write_utf8,
)


def explain(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="One or more texts. Without any, or as '-', standard input is one text. Of models "
            "for pictures or sounds, their files.",
        ),
    ] = None,
    model: Model = "demo",
    pair: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The second text of a pair; of a question, the text that has the answer.",
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A choice, for multiple choice; give each."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read one text from a file (UTF-8).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="What to explain: a label or its number, or 'all'; may be given several times. "
            "Of language models a token, or a text that continues TEXT; of questions an answer. "
            "Without it, what the model predicts.",
        ),
    ] = None,
    contrast: Contrast = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="WORD|NUMBER",
            help="Of models that say something of every token: the word, or the token's number.",
        ),
    ] = None,
    method: Method = "normxlogit",
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
            help="An option of the method's own, such as norm=word or n_steps=300; may be given "
            "several times. 'normxlogit methods NAME' tells which there are.",
        ),
    ] = None,
    words: Words = True,
    special: Annotated[
        bool, typer.Option("--special", help="Show special tokens such as [CLS] too.")
    ] = False,
    threshold: Threshold = 0.5,
    long: Annotated[
        Long,
        typer.Option(
            help="With a text over the model's limit: stop, explain its beginning, or explain it "
            "in windows that overlap."
        ),
    ] = Long.ERROR,
    form: Shape = Format.TEXT,
    output: Output = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: Gguf = None,
    trust_remote_code: Trust = False,
    batch_size: Annotated[int, typer.Option(min=1, help="How many texts run together.")] = 32,
    debug: Debug = False,
) -> None:
    """Show which words a prediction rests on.

    Example: normxlogit explain "A great movie with poor performers."
    """
    write_utf8()
    with reporting(debug):
        which_layer = _layer(layer)
        inputs = _inputs(texts or [], pair, choice or [], file)
        check_output(output)
        options = options_of(option or [])
        with quiet(debug):
            from normxlogit.methods import find_method

            explainer = load(
                model,
                revision=revision,
                device=device,
                dtype=dtype,
                gguf_file=gguf_file,
                trust_remote_code=trust_remote_code,
            )
            find_method(method).check(options, which_layer)
            results = explainer.stream(
                inputs,
                target=one_or_several(target),
                contrast=contrast,
                method=method,
                layer=which_layer,
                readout=readout,
                threshold=threshold,
                position=_position(position),
                batch_size=batch_size,
                long=long.value,
                **options,
            )
            failures = show(results, form, output, words=words, special=special, count=len(inputs))
        if failures and debug:
            raise failures[0].error
        if failures:
            raise typer.Exit(1)


def _layer(value: str | None) -> int | Literal["all"] | None:
    if value is None:
        return None
    if value == "all":
        return "all"
    if not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"--layer {value!r} is neither a number from 1 nor 'all'.")
    return int(value)


def _position(value: str | None) -> str | int | None:
    """A number is a token's, anything else a word."""
    return int(value) if value is not None and value.lstrip("-").isdecimal() else value


def _inputs(texts: list[str], pair: str | None, choices: list[str], file: Path | None) -> list[Any]:
    """What is to be explained: texts, or one pair, or one text with choices."""
    texts = texts_of(texts, file, 'normxlogit explain "A great movie."')
    check_utf8([pair or "", *choices])
    if pair is None and not choices:
        return list(texts)
    if pair is not None and choices:
        raise typer.BadParameter("give either --pair or --choice, not both.")
    if len(texts) != 1:
        name = "--choice" if choices else "--pair"
        raise typer.BadParameter(f"{name} takes one TEXT before it, got {len(texts)}.")
    return [(texts[0], choices or pair)]
