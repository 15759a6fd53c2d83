"""`normxlogit explain`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from normxlogit.cli.checks import check_method, check_model, check_readout, find_blank
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import (
    check_output,
    check_utf8,
    note_file_names,
    read_texts,
    use_utf8,
    write_results,
)
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
    Methods,
    Model,
    Order,
    Output,
    OutputFormat,
    Readout,
    Reduce,
    Revision,
    Threshold,
    TrustRemoteCode,
    Words,
    find_format,
    one_or_several,
    parse_options,
    split_names,
    word_reduction,
)
from normxlogit.errors import InputError

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer
    from normxlogit.results.base import Result
    from normxlogit.results.comparison import Comparison
    from normxlogit.results.text import Failure


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
    method: Methods = None,
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
    order: Annotated[
        Order,
        typer.Option(help="List the strongest words first, or all words as the text has them."),
    ] = Order.STRENGTH,
    threshold: Threshold = 0.5,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Hide words of the text in some dozens of forward passes more, and say how far "
            "the scores hold.",
        ),
    ] = False,
    long: Annotated[
        Long,
        typer.Option(
            help="A text over the model's limit: error refuses it, truncate explains its "
            "beginning, window explains it in overlapping windows."
        ),
    ] = Long.ERROR,
    named_format: OutputFormat = None,
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
        parsed_layer, methods = _parse_layer(layer), split_names(method)
        inputs = _read_inputs(texts or [], pair, choice or [], file)
        check_output(output)
        output_format = find_format(named_format, output)
        reduction = word_reduction(words, reduce)
        options = parse_options(option or [])
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code, head)
        check_model(named)
        if methods is not None and len(methods) > 1:
            _check_comparison(option, verify, output_format, by_words=words and not special)
            from normxlogit.evaluation.method_specs import parse_method_specs

            parse_method_specs(methods)
        else:
            # Options too: one could be named like an argument of the call.
            check_method(method, options, parsed_layer, head)
        check_readout(readout)
        with quiet(debug):
            results: Iterable[Result | Comparison | Failure] = find_blank(inputs)
            if not results:
                from normxlogit.tasks import Task

                explainer = load(named)
                if explainer.task not in (Task.IMAGE, Task.AUDIO):
                    note_file_names(texts or [])
                question: dict[str, Any] = {
                    "target": one_or_several(target),
                    "contrast": contrast,
                    "layer": parsed_layer,
                    "readout": readout,
                    "threshold": threshold,
                    "position": _parse_position(position),
                    "long": long.value,
                }
                if methods is not None and len(methods) > 1:
                    results = _compare(explainer, inputs, methods, question)
                else:
                    explained = explainer.stream(
                        inputs, method=method, batch_size=batch_size, **question, **options
                    )
                    results = _verify(explainer, inputs, explained) if verify else explained
            failures = write_results(
                results,
                output_format,
                output,
                reduction=reduction,
                special=special,
                count=len(inputs),
                order=order.value,
            )
        if failures and debug:
            raise failures[0].error
        if failures:
            raise typer.Exit(1)


def _check_comparison(
    options: list[str] | None, verify: bool, output_format: Format, *, by_words: bool
) -> None:
    """Raise `typer.BadParameter` for what a comparison of methods does not take."""
    if options:
        raise typer.BadParameter(
            "--option belongs to one method. Of several give each its own: NAME:OPTION=VALUE, such "
            "as normxlogit:norm=word."
        )
    if verify:
        raise typer.BadParameter("--verify takes one method. Give --method one name.")
    if output_format is Format.CSV:
        raise typer.BadParameter(
            "several methods are compared as text, html or json. In Python, "
            "compare(...).to_pandas() is a table."
        )
    if not by_words:
        raise typer.BadParameter(
            "several methods are compared by words. Leave out --tokens and --special."
        )


def _compare(
    explainer: "Explainer", inputs: Iterable[Any], methods: list[str], question: dict[str, Any]
) -> Iterator["Comparison | Failure"]:
    """Yield for each input what the methods say of it, or why it cannot be explained."""
    from normxlogit.results.text import Failure

    for item in inputs:
        try:
            yield explainer.compare(item, methods, **question)
        except InputError as error:
            yield Failure(item, error)


def _verify(
    explainer: "Explainer", inputs: Iterable[Any], results: Iterable["Result | Failure"]
) -> Iterator["Result | Failure"]:
    """Yield each result verified, or why it cannot be."""
    from normxlogit.results.text import Failure

    for item, result in zip(inputs, results, strict=True):
        if isinstance(result, Failure):
            yield result
            continue
        try:
            yield explainer.verify(result)
        except InputError as error:
            yield Failure(item, error)


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
