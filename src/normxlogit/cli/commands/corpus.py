"""`normxlogit corpus`."""

from dataclasses import replace
from enum import Enum
from shlex import quote
from typing import Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_method, check_model, check_readout, check_source
from normxlogit.cli.errors import complain, quiet, reporting
from normxlogit.cli.io import check_utf8, use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Contrast,
    Debug,
    Device,
    Engine,
    GgufFile,
    Head,
    Long,
    Method,
    Model,
    PairColumn,
    Readout,
    Revision,
    Split,
    Subset,
    TextColumn,
    Threshold,
    TrustRemoteCode,
    complete_from,
    one_or_several,
    parse_options,
)
from normxlogit.data.location import locate, redacted
from normxlogit.data.rows import Columns
from normxlogit.errors import OptionError
from normxlogit.extras import check_installed, require
from normxlogit.model.loading.names import DTYPES


class Runtime(str, Enum):
    """What runs the model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


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
            help="Where to write: a folder or its URI (s3://...). The same command resumes a run "
            "that was stopped.",
        ),
    ],
    text: TextColumn = "text",
    pair: PairColumn = None,
    row_id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The column of the rows' ids.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column of gold labels, to compare predictions with."
        ),
    ] = None,
    model: Model = "demo",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="What to explain: a label or its number, 'all', or column:NAME for a column "
            "that names each row's target; labels may be given several times. Default: what the "
            "model predicts.",
        ),
    ] = None,
    contrast: Contrast = None,
    method: Method = None,
    head: Head = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="Read this layer instead of the last.")
    ] = None,
    readout: Readout = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the method, such as norm=word; may be given several times.",
        ),
    ] = None,
    threshold: Threshold = 0.5,
    long: Annotated[
        Long,
        typer.Option(
            help="Texts over the model's limit: error writes a row that says so, truncate explains "
            "their beginning, window explains them in overlapping windows."
        ),
    ] = Long.ERROR,
    subset: Subset = None,
    split: Split = None,
    hash_texts: Annotated[
        bool, typer.Option("--hash", help="Write SHA-256 hashes instead of the texts.")
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Write the tokens' scores as float16.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that cannot be explained.")
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many texts run together at most; fewer if they have more than 128 tokens, or "
            "if memory runs out.",
        ),
    ] = 64,
    engine: Annotated[
        Engine,
        typer.Option(
            help="Where it runs: local, in this process; ray, in the workers of a Ray cluster, or "
            "in several on this machine."
        ),
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --engine ray, how many processes; as many as fit, if not given.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", help="With --engine ray, the share of a GPU for each, such as 0.5."
        ),
    ] = 0,
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="What runs the model: torch, or faster on a processor ONNX Runtime (onnx) or "
            "OpenVINO (openvino), for which it is exported the first time. They serve classifiers "
            "and regressions, with the default readout at the last layer."
        ),
    ] = Runtime.TORCH,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            autocompletion=complete_from((*DTYPES, "int8")),
            help="Of the weights: float32, bfloat16, float16, or auto: bfloat16 on a processor "
            "that computes in it (AVX512-BF16, AMX), else as they are stored. With --runtime onnx "
            "float32 (auto) or int8, with openvino float32 or bfloat16.",
        ),
    ] = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Explain every text of a file, a folder or a data set, into Parquet files.

    Example: normxlogit corpus reviews.csv --text review --output explained
    """
    use_utf8()
    with reporting(debug):
        from normxlogit.corpus.options import check_engine, check_target
        from normxlogit.exporting.runtime_options import check_request, check_runtime

        options = parse_options(option or [])
        check_target(one_or_several(target))
        check_engine(engine.value, workers, gpus_per_worker)
        check_utf8([source, text, pair or "", row_id or "", label or "", *(target or [])])
        is_torch = runtime is Runtime.TORCH
        precision = None if is_torch or dtype == "auto" else dtype
        if not is_torch:
            # The graph is made of the model in float32, on the processor.
            device, dtype = check_processor(device), "float32"
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code, head)
        check_model(named)
        check_method(method, options, layer, head)
        check_readout(readout)
        check_runtime(runtime.value, precision, engine.value)
        if not is_torch:
            check_request(
                runtime.value,
                method=method,
                options=options,
                layer=layer,
                readout=readout,
                has_head=head is not None,
            )
        require("pyarrow")
        if engine is Engine.RAY:
            check_installed(["ray"], "ray")
        with quiet(debug):
            from normxlogit.corpus.folder import Folder

            Folder.check_place(locate(output))
            columns = Columns(text, pair, row_id, label)
            check_source(source, columns, subset=subset, split=split, strict=strict)

            if engine is Engine.RAY and device == "auto":
                device = "cpu"
            if dtype == "auto" and not gpus_per_worker:
                dtype = fast_dtype(device, gguf_file)
            if runtime is Runtime.OPENVINO and precision is None:
                precision = fast_dtype(device, None).replace("auto", "float32")
            explainer = load(replace(named, device=device, dtype=dtype))
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
                runtime=runtime.value,
                precision=precision,
                **options,
            )
        for reason in summary.broken.values():
            complain(reason)
        terminal.say(f"{'already finished: ' if summary.was_finished else ''}{summary}")
        terminal.say(f"To see what is in it: normxlogit summary {quote(redacted(output))}")
        if summary.broken:
            raise typer.Exit(1)


def check_processor(device: str) -> str:
    """Return the device of a runtime other than torch.

    Raises:
        OptionError: another one was named.
    """
    if device not in ("auto", "cpu"):
        raise OptionError(
            f"only torch runs on {device!r:.80}; the other runtimes run on the processor. Leave "
            "out --device, or --runtime."
        )
    return "cpu"


def fast_dtype(device: str, gguf_file: str | None) -> str:
    """Return what `--dtype auto` means: bfloat16 on processors with instructions for it."""
    from normxlogit.model.loading.pretrained import find_device, has_bfloat16

    return "bfloat16" if gguf_file is None and has_bfloat16(find_device(device)) else "auto"
