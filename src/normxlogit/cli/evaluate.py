"""`normxlogit evaluate`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from normxlogit.cli.benchmark import show_benchmark
from normxlogit.cli.common import (
    Debug,
    Device,
    Dtype,
    Gguf,
    Revision,
    Trust,
    bytes_of,
    decoded,
    load,
    prefer_cached_data,
    quiet,
    reporting,
    write_utf8,
)

if TYPE_CHECKING:
    from normxlogit.evaluation.run import Evaluation

OPTIONS = (
    "model, revision, data, text, pair, label, subset, split, methods, preset, unit, operator, "
    "ratios, metrics, draws, seed, long, max_length, limit, benchmark"
)
"""What may stand in a file."""
NAMES = ("model", "revision", "data", "text", "pair", "label", "subset", "split")
"""Which of it is text."""


def evaluate(
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder on this machine for the report and the scores; one of a run that was "
            "stopped, to go on with it.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model on the Hugging Face Hub, or a folder; 'demo', which comes with this "
            "package, if neither this nor the file names one.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A file (.parquet, .csv, .tsv, .jsonl, .ndjson, .txt), a folder of these, or the "
            "id of a data set on the Hub.",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of the texts.")] = None,
    pair: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The second texts of pairs.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The right labels, or values.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Of a data set on the Hub.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a data set on the Hub.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="See 'normxlogit methods'; with options NAME:OPTION=VALUE, such as "
            "integrated_gradients:n_steps=100 or logat:layer=5.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="corrected, or paper: the way of the NormXLogit paper's notebook."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="What is ranked and hidden: word, token, sentence.")
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="How it is hidden: mask (the mask token), remove (by the attention mask), delete "
            "(from the text), pad, unk, eos, or another token."
        ),
    ] = None,
    ratios: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,SHARE,...",
            help="Which shares of a text are hidden, from 0 to 1; 0.1,0.2,...,0.9 if not given.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Beside comprehensiveness and sufficiency: curves, naopc, loo_tau, soft, sanity.",
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="How many random orders there are.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of random orders and the bootstrap.")] = None,
    long: Annotated[
        str | None,
        typer.Option(
            help="A text over the model's limit is left out (error) or cut to its beginning "
            "(truncate)."
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(metavar="TOKENS", help="A limit below the model's, special tokens included."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many rows to read.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="blimp: hide no words, but tell whether a language model's scores point to the "
            "words that BLiMP's cues are. --data is BLiMP's folder or nyu-mll/blimp, --limit is of "
            "each paradigm.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help=f"A YAML file with any of these options by name: {OPTIONS}; methods, ratios and "
            "metrics as lists. What is given here takes precedence."
        ),
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: Gguf = None,
    trust_remote_code: Trust = False,
    debug: Debug = False,
) -> None:
    """Tell which attribution methods to trust for a model and data, and write a report.

    Example: normxlogit evaluate --data reviews.csv --label label --output report
    """
    write_utf8()
    with reporting(debug):
        given = {
            "model": model,
            "revision": revision,
            "data": data,
            "text": text,
            "pair": pair,
            "label": label,
            "subset": subset,
            "split": split,
            "methods": _names(methods),
            "preset": preset,
            "unit": unit,
            "operator": operator,
            "ratios": _shares(ratios),
            "metrics": _names(metrics),
            "draws": draws,
            "seed": seed,
            "long": long,
            "max_length": max_length,
            "limit": limit,
            "benchmark": benchmark,
        }
        inherited = _read(config)
        if model not in (None, inherited.get("model", model)):
            inherited.pop("revision", None)
        options = {**inherited, **{k: v for k, v in given.items() if v is not None}}
        source = options.pop("data", None)
        if source is None:
            raise typer.BadParameter("no data. Give --data FILE, or a --config that names it.")
        from normxlogit.data.location import local_folder

        folder = local_folder(output)
        name, revision = options.pop("model", "demo"), options.pop("revision", None)
        asked = options.pop("benchmark", None)
        if asked is not None:
            from normxlogit.evaluation.blimp.run import blimp, check_benchmark

            check_benchmark(asked, options)
        prefer_cached_data(source)
        with quiet(debug):
            explainer = load(
                name,
                revision=revision,
                device=device,
                dtype=dtype,
                gguf_file=gguf_file,
                trust_remote_code=trust_remote_code,
            )
            if asked is None:
                _show(explainer.evaluate(source, folder, progress=True, **options))
            else:
                read = blimp(explainer, source, folder, name=name, progress=True, **options)
                show_benchmark(read)
        report = "report.html" if asked is None else "report.md"
        typer.echo(f"The report: {folder / report}")


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",")]


def _shares(given: str | None) -> list[float | str] | None:
    """What is no number stays as it is, to be refused."""
    names = _names(given)
    return None if names is None else [_share(name) for name in names]


def _share(name: str) -> float | str:
    try:
        return float(name)
    except ValueError:
        return name


def _read(config: Path | None) -> dict[str, Any]:
    """The options in a file that have a value."""
    if config is None:
        return {}
    import yaml

    try:
        options = yaml.safe_load(decoded(bytes_of(config), str(config)))
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{config} is no YAML: {error}") from error
    known = OPTIONS.split(", ")
    if not isinstance(options, Mapping) or not set(options) <= set(known):
        found = [key for key in options if key not in known] if isinstance(options, Mapping) else []
        raise typer.BadParameter(
            f"{config} must have options by name, and {', '.join(map(str, found)) or 'it'} is "
            f"none. The options: {OPTIONS}."
        )
    given = {key: value for key, value in options.items() if value is not None}
    for key in NAMES:
        if not isinstance(given.get(key, ""), str):
            raise typer.BadParameter(
                f"{config}: {key} must be text, got {given[key]!r}. Put what looks like a number "
                "in quotes."
            )
    return given


def _show(found: "Evaluation") -> None:
    results = found.results
    metrics = results["metrics"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("method", no_wrap=True)
    for name, metric in metrics.items():
        table.add_column(f"{name} {'↑' if metric['higher_is_better'] else '↓'}", justify="right")
    table.add_column("cost", justify="right")
    methods = results["methods"]
    ranked = sorted(methods, key=lambda n: -methods[n]["figures"]["comprehensiveness"]["value"])
    for name in ranked:
        figures = methods[name]["figures"]
        cost = found.costs["methods"].get(name)
        table.add_row(
            name,
            *(_figure(figures[metric]) for metric in metrics),
            "" if cost is None else f"{cost['forwards']:.3g}",
        )
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    for name, why in results["failed"].items():
        typer.echo(f"{name} left out: {why}")
    examples = results["examples"]
    left = ", ".join(f"{count} {kind}" for kind, count in examples["errors"].items())
    typer.echo(
        f"{examples['evaluated']} of {examples['read']} rows"
        + (f" ({left})" if left else "")
        + ". "
        "Intervals are 95 %; = is no difference from the best method within one; cost is time in "
        "forward passes."
    )
    forwards = results["forwards"]
    typer.echo(f"Variants of texts: {forwards['asked']:,} asked for, {forwards['run']:,} run.")
    for note in results["notes"]:
        typer.echo(f"Note: {note}")


def _figure(figure: Mapping[str, Any]) -> str:
    beside = figure["beside_best"]
    mark = "*" if beside is None else " " if beside["differs"] else "="
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] {mark}"
