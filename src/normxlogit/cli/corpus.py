"""`normxlogit corpus`."""

from enum import Enum
from typing import Annotated

import typer

from normxlogit.cli.common import (
    Contrast,
    Debug,
    Device,
    Gguf,
    Long,
    Method,
    Model,
    Readout,
    Revision,
    Threshold,
    Trust,
    check_utf8,
    complain,
    load,
    one_or_several,
    options_of,
    prefer_cached_data,
    quiet,
    reporting,
    write_utf8,
)


class Engine(str, Enum):
    """Who explains the rows."""

    LOCAL = "local"
    RAY = "ray"


def corpus(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file (.parquet, .csv, .tsv, .jsonl, .ndjson, or .txt with a text on each "
            "line), a folder of these, the URI of either in an object store (s3://...), or the id "
            "of a data set on the Hugging Face Hub.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write here, a folder or its URI (s3://...); the same command goes on with a run "
            "that was stopped.",
        ),
    ],
    text: Annotated[str, typer.Option(metavar="COLUMN", help="The column of the texts.")] = "text",
    pair: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="That of the second texts of pairs.")
    ] = None,
    row_id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="What rows are called.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The right label, to stand beside the prediction."),
    ] = None,
    model: Model = "demo",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="What to explain: a label or its number, 'all', or column:NAME for the column "
            "with each row's own; labels may be given several times. Without it, what the model "
            "predicts.",
        ),
    ] = None,
    contrast: Contrast = None,
    method: Method = "normxlogit",
    layer: Annotated[
        int | None, typer.Option(min=1, help="Read this layer instead of the last.")
    ] = None,
    readout: Readout = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the method's own, such as norm=word; may be given several times.",
        ),
    ] = None,
    threshold: Threshold = 0.5,
    long: Annotated[
        Long,
        typer.Option(
            help="What to do with texts over the model's limit: error, a row that says so; "
            "truncate, explain their beginning; window, overlapping windows."
        ),
    ] = Long.ERROR,
    subset: Annotated[
        str | None, typer.Option(metavar="NAME", help="The subset of a data set on the Hub.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split of it; all, if not given.")
    ] = None,
    hash_texts: Annotated[
        bool, typer.Option("--hash", help="Write SHA-256 hashes of the texts in their place.")
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Write the scores of tokens as float16.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that cannot be explained.")
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many texts run together at most; of more than 128 tokens fewer, and fewer "
            "where memory runs out.",
        ),
    ] = 64,
    engine: Annotated[
        Engine,
        typer.Option(
            help="Who does it: local, this process; ray, the workers of a Ray cluster, or several "
            "on this machine."
        ),
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --engine ray, how many processes; as many as there is room for, if not "
            "given.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", help="With --engine ray, the share of a GPU for each, such as 0.5."
        ),
    ] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="Of the weights: float32, bfloat16, float16, or auto: bfloat16 on a processor "
            "that computes in it (AVX512-BF16, AMX), else as they are stored."
        ),
    ] = "auto",
    gguf_file: Gguf = None,
    trust_remote_code: Trust = False,
    debug: Debug = False,
) -> None:
    """Explain every text of a file, a folder or a data set, into Parquet files.

    Example: normxlogit corpus reviews.csv --text review --output explained
    """
    write_utf8()
    with reporting(debug):
        options = options_of(option or [])
        check_utf8([source, text, pair or "", row_id or "", label or "", *(target or [])])
        prefer_cached_data(source)
        with quiet(debug):
            from normxlogit.corpus.run import find_workers

            find_workers(engine.value, workers, gpus_per_worker)
            if engine is Engine.RAY and device == "auto":
                device = "cpu"
            if dtype == "auto" and not gpus_per_worker:
                dtype = fast_dtype(device, gguf_file)
            explainer = load(
                model,
                revision=revision,
                device=device,
                dtype=dtype,
                gguf_file=gguf_file,
                trust_remote_code=trust_remote_code,
            )
            summary = explainer.corpus(
                source,
                output,
                text=text,
                pair=pair,
                id=row_id,
                label=label,
                subset=subset,
                split=split,
                target=one_or_several(target),
                contrast=contrast,
                method=method,
                layer=layer,
                readout=readout,
                threshold=threshold,
                batch_size=batch_size,
                long=long.value,
                hash=hash_texts,
                float16=float16,
                strict=strict,
                progress=True,
                engine=engine.value,
                workers=workers,
                gpus_per_worker=gpus_per_worker,
                **options,
            )
        for why in summary.broken.values():
            complain(why)
        typer.echo(f"{'already finished: ' if summary.was_finished else ''}{summary}")
        if summary.broken:
            raise typer.Exit(1)


def fast_dtype(device: str, gguf_file: str | None) -> str:
    """The dtype that `auto` means here."""
    from normxlogit.model.loading import find_device, has_bfloat16

    return "bfloat16" if gguf_file is None and has_bfloat16(find_device(device)) else "auto"
