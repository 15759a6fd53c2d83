"""`normxlogit export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_model
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import read_text, use_utf8
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import Debug, Head, Model, Revision, TrustRemoteCode
from normxlogit.cli.tables import print_figures

if TYPE_CHECKING:
    from normxlogit.exporting.manifest import Manifest


def export(
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder to write, which must be empty or not exist.",
        ),
    ],
    model: Model = "demo",
    head: Head = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Turn the blocks' weights into int8: a quarter of the size."),
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Turn all numbers into float16: half the size.")
    ] = False,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Texts like those to be explained, one on each line, on which to measure how far "
            "the graph is from the model.",
        ),
    ] = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Write a classifier as an ONNX graph that returns its own explanation.

    The graph runs without torch and transformers: in ONNX Runtime, OpenVINO, a browser. It is
    written only if it says what the model says.

    Example: normxlogit export --model MODEL --output exported
    """
    use_utf8()
    with reporting(debug):
        from normxlogit.data.location import local_path
        from normxlogit.data.pending_folder import check_free
        from normxlogit.exporting.manifest import NEEDED, find_precision
        from normxlogit.extras import check_installed

        folder = local_path(output, what="an export is written to a folder")
        find_precision(int8=int8, float16=float16)
        check_free(folder)
        check_installed(NEEDED, "onnx")
        lines = [] if texts is None else [x for x in read_text(texts).splitlines() if x.strip()]
        named = ModelOptions(model, revision, "cpu", "float32", None, trust_remote_code, head)
        check_model(named)
        with quiet(debug):
            explainer = load(named)
            from normxlogit.exporting.writing import export as write

            manifest = write(explainer, folder, int8=int8, float16=float16, texts=lines)
        _print_drift(manifest)
        terminal.say(f"The graph, its tokenizer, and README.md on how to read it: {folder}")
        terminal.say(f"To explain with it, in Python: normxlogit.load_exported({str(folder)!r})")


def _print_drift(manifest: "Manifest") -> None:
    """Print how far the graph is from the model."""
    headers = ("scores by", "largest difference", "other prediction", "other strongest token")
    figures = {
        **manifest.drift,
        **{f"{method}, your texts": drift for method, drift in manifest.given_drift.items()},
    }
    rows = []
    for name, drift in figures.items():
        counts = (drift.predictions_changed, drift.strongest_changed)
        ranks = (drift.rank_correlation, drift.lowest_rank_correlation)
        rows.append(
            [
                name,
                f"{drift.largest_difference:.1e}",
                *(f"{count} of {drift.texts}" for count in counts),
                *("–" if rank is None else f"{rank:.3f}" for rank in ranks),
            ]
        )
    print_figures([*headers, "rank correlation", "lowest"], rows)
    if failures := sum(drift.failures for drift in figures.values()):
        terminal.say(f"Texts that only one of graph and model explains: {failures}")
