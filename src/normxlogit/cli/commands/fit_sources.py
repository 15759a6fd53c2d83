"""`normxlogit fit-sources`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import check_output, check_utf8, use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Debug,
    Device,
    Dtype,
    GgufFile,
    LanguageModel,
    Revision,
    TrustRemoteCode,
)
from normxlogit.cli.tables import print_figures

if TYPE_CHECKING:
    from normxlogit.sources.weights import SourceWeights


def fit_sources(
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write, such as smollm.sources."
        ),
    ],
    model: LanguageModel,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[QUESTIONS]",
            help="A file of JSON lines with question, documents and gold, the numbers of the "
            "documents that the answer is in, from 0. Default: questions that this package makes.",
        ),
    ] = None,
    questions: Annotated[int, typer.Option(min=12, help="How many questions to ask.")] = 240,
    seed: Annotated[int, typer.Option(min=0, help="Of the questions that are made.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Fit to a model what tells the sources of its answers in one pass, and when to cite one.

    Weights of attention heads, fitted to what leaving a document out changes, and the scores from
    which a source is cited, chosen on questions that the weights were not fitted on.

    Example: normxlogit fit-sources --model MODEL --output model.sources
    """
    use_utf8()
    with reporting(debug):
        check_utf8([str(source or "")])
        from normxlogit.data.location import local_path

        file = local_path(output, what="weights are written to a file")
        check_output(file)
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code)
        check_model(named)
        with quiet(debug):
            weights = load(named).fit_sources(
                source, file, questions=questions, seed=seed, progress=True
            )
        _print_held_out(weights)
        terminal.say(f"The weights: {file}")
        terminal.say(
            f"To use them: normxlogit sources --model {quote(model)} --method attention --weights "
            f"{quote(str(file))} --documents FOLDER --question 'A question?'"
        )


def _print_held_out(weights: "SourceWeights") -> None:
    held_out = weights.held_out
    rows = []
    for name, figures in held_out["methods"].items():
        top1 = figures["top1"]
        rows.append(
            [
                name,
                f"{top1['value']:.2f} [{top1['low']:.2f}, {top1['high']:.2f}]",
                f"{weights.thresholds[name]:.3g}",
                f"{figures['precision']:.2f}",
                f"{figures['recall']:.2f}",
            ]
        )
    print_figures(["method", "top-1 ↑", "cited from", "precision ↑", "recall ↑"], rows)
    agreement = held_out["agreement"]
    agreeing = (
        ""
        if agreement is None
        else " Where leaving a document out halves the answer's probability at least, the heads "
        f"name the same document in {100 * agreement:.0f}%."
    )
    terminal.say(
        f"On {held_out['questions']:,} questions that the heads were not fitted on, on which the "
        f"thresholds were chosen. Intervals are 95%.{agreeing}"
    )
