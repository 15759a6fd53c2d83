"""`normxlogit evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model, check_source
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.evaluation_tables import print_benchmark, print_evaluation, print_sources
from normxlogit.cli.io import read_text, use_utf8
from normxlogit.cli.model import ModelOptions, load, prefer_cached_data
from normxlogit.cli.options import (
    Debug,
    Device,
    Dtype,
    GgufFile,
    PairColumn,
    Revision,
    TrustRemoteCode,
    complete_methods,
    split_names,
)
from normxlogit.data.rows import Columns
from normxlogit.extras import check_installed, require

OPTIONS = (
    "model, revision, head, data, text, pair, label, subset, split, methods, preset, unit, "
    "operator, ratios, metrics, draws, seed, long, max_length, limit, benchmark, weights"
)
"""The options that a `--config` file may set."""
TEXT_OPTIONS = (
    "model",
    "revision",
    "head",
    "data",
    "text",
    "pair",
    "label",
    "subset",
    "split",
    "weights",
)
"""Those of them whose value is text."""
SOURCES = "sources"
"""The benchmark that needs no data."""


def evaluate(
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder on this machine for the report and the scores. That of a run that was "
            "stopped resumes it.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model on the Hugging Face Hub, or a folder. Default: the one in the --config "
            "file, else 'demo', which comes with this package.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="An attribution head that 'normxlogit fit' fitted to this model, or 'demo' for "
            "the demo model's, for method attribution_head, which is then among the default "
            "methods.",
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
    pair: PairColumn = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of gold labels, or values.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="The subset of a data set on the Hub.")] = None,
    split: Annotated[str | None, typer.Option(help="The split of a data set on the Hub.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            autocompletion=complete_methods,
            help="See 'normxlogit methods'; with options NAME:OPTION=VALUE, such as "
            "integrated_gradients:n_steps=100 or logat:layer=5.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="corrected, or paper: as in the notebook of the NormXLogit paper."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="What is ranked and hidden: word, token, sentence.")
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="How units are hidden: mask (the mask token), remove (by the attention mask), "
            "delete (from the text), pad, unk, eos, or another token."
        ),
    ] = None,
    ratios: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,SHARE,...",
            help="Which shares of a text to hide, from 0 to 1. Default: 0.1,0.2,...,0.9.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Besides comprehensiveness and sufficiency: curves, naopc, loo_tau, soft, sanity.",
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="How many random orders to draw.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of random orders and the bootstrap.")
    ] = None,
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
            help="blimp: instead of hiding words, measure whether a language model's scores point "
            "to the words that are BLiMP's cues. --data is BLiMP's folder or nyu-mll/blimp; "
            "--limit applies to each paradigm. sources: measure which methods name the documents "
            "that a language model's answers come from, on questions made from --seed, or on "
            "--data, a file of JSON lines with question, documents and gold.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="For --benchmark sources: what 'normxlogit fit-sources' fitted to this model.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help=f"A YAML file with any of these options by name: {OPTIONS}; methods, ratios and "
            "metrics as lists. Options on the command line take precedence."
        ),
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Measure which attribution methods to trust for a model and data, and write a report.

    Example: normxlogit evaluate --data reviews.csv --label label --output report
    """
    use_utf8()
    with reporting(debug):
        on_command_line = {
            "model": model,
            "revision": revision,
            "head": head,
            "data": data,
            "text": text,
            "pair": pair,
            "label": label,
            "subset": subset,
            "split": split,
            "methods": split_names(methods),
            "preset": preset,
            "unit": unit,
            "operator": operator,
            "ratios": _parse_shares(ratios),
            "metrics": split_names(metrics),
            "draws": draws,
            "seed": seed,
            "long": long,
            "max_length": max_length,
            "limit": limit,
            "benchmark": benchmark,
            "weights": weights,
        }
        in_file = _read_config(config)
        if model not in (None, in_file.get("model", model)):
            for name in ("revision", "head", "weights"):  # they are of the other model
                in_file.pop(name, None)
        overrides = {key: value for key, value in on_command_line.items() if value is not None}
        options = {**in_file, **overrides}
        source = options.pop("data", None)
        if source is None and options.get("benchmark") != SOURCES:
            raise typer.BadParameter("no data. Give --data FILE, or a --config that names it.")
        from normxlogit.data.location import local_path

        folder = local_path(output)
        model, revision = options.pop("model", "demo"), options.pop("revision", None)
        benchmark = options.pop("benchmark", None)
        head = options.pop("head", None)
        named = ModelOptions(
            model,
            revision,
            device,
            dtype,
            gguf_file,
            trust_remote_code,
            head,
        )
        check_model(named)
        with quiet(debug):
            if benchmark is None:
                _check_evaluation(source, folder, options)
            elif benchmark == SOURCES:
                from normxlogit.evaluation.sources.options import check_options

                check_options(options)
            else:
                from normxlogit.evaluation.benchmark.options import check_benchmark

                check_benchmark(benchmark, options)
                prefer_cached_data(source)
            explainer = load(named)
            if benchmark is None:
                evaluation = explainer.evaluate(source, folder, progress=True, **options)
                print_evaluation(evaluation)
            elif benchmark == SOURCES:
                from normxlogit.evaluation.sources.run import benchmark_sources

                results = benchmark_sources(
                    explainer, source, folder, name=model, progress=True, **options
                )
                print_sources(results)
            else:
                from normxlogit.evaluation.benchmark.run import blimp

                results = blimp(explainer, source, folder, name=model, progress=True, **options)
                print_benchmark(results)
        report = "report.html" if benchmark is None else "report.md"
        terminal.say(f"The report: {folder / report}")


def _check_evaluation(source: str, folder: Path, options: Mapping[str, Any]) -> None:
    """Check the data, the folder and the options of `Explainer.evaluate`."""
    from normxlogit.evaluation.plan import PACKAGES, plan_of

    check_installed(PACKAGES, "evaluate")
    rest = dict(options)
    text, pair, label = (rest.pop(name, None) for name in ("text", "pair", "label"))
    subset, split = (rest.pop(name, None) for name in ("subset", "split"))
    plan_of(**rest)

    from normxlogit.evaluation.checkpoint import Checkpoint

    Checkpoint.check_place(folder)
    columns = Columns("text" if text is None else text, pair, None, label)
    check_source(source, columns, subset=subset, split=split)


def _parse_shares(shares: str | None) -> list[float | str] | None:
    """Parse numbers separated by commas; the evaluation refuses what is not a number."""
    parts = split_names(shares)
    return None if parts is None else [_parse_share(part) for part in parts]


def _parse_share(share: str) -> float | str:
    try:
        return float(share)
    except ValueError:
        return share


def _read_config(config: Path | None) -> dict[str, Any]:
    """Return the options in a YAML file whose value is not null."""
    if config is None:
        return {}
    yaml = require("yaml", "evaluate", need="settings in a file need PyYAML")
    text = read_text(config)
    try:
        options = yaml.safe_load(text)
    except RecursionError as error:
        raise typer.BadParameter(f"{config} is not valid YAML: it is nested too deeply.") from error
    # PyYAML lets errors of what reads numbers and dates through, such as of the date 2024-99-99.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise typer.BadParameter(f"{config} is not valid YAML: {reason}") from error
    names = OPTIONS.split(", ")
    if not isinstance(options, Mapping) or not set(options) <= set(names):
        unknown = (
            [key for key in options if key not in names] if isinstance(options, Mapping) else []
        )
        raise typer.BadParameter(
            f"{config} must have options by name, and {', '.join(map(str, unknown)) or 'it'} is "
            f"none. The options: {OPTIONS}."
        )
    set_options = {key: value for key, value in options.items() if value is not None}
    for key in TEXT_OPTIONS:
        if not isinstance(set_options.get(key, ""), str):
            raise typer.BadParameter(
                f"{config}: {key} must be text, got {set_options[key]!r}. Put what looks like a "
                "number in quotes."
            )
    return set_options
