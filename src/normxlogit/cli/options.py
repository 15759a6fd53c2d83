"""The options that several commands share, as typer declares them, and how they are parsed."""

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from normxlogit.data.option_values import parse_option
from normxlogit.methods import METHODS
from normxlogit.model.loading.names import DEVICES, DTYPES


class Format(str, Enum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"
    CSV = "csv"


SUFFIXES = {
    ".csv": Format.CSV,
    ".html": Format.HTML,
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
}
"""The formats that the name of a file implies; any other is text."""


class Order(str, Enum):
    """In which order words are listed."""

    STRENGTH = "strength"
    TEXT = "text"


class Long(str, Enum):
    """How a text over the model's limit is handled."""

    ERROR = "error"
    TRUNCATE = "truncate"
    WINDOW = "window"


class Reduction(str, Enum):
    """How the scores of a word's tokens become the word's."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"


class Engine(str, Enum):
    """Where models run."""

    LOCAL = "local"
    RAY = "ray"


READOUTS = ("logit", "margin", "logprob", "centered", "closeness", "distance", "value")


def complete_methods(incomplete: str) -> list[str]:
    """Return the names that the last of some methods, with commas between them, may become."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in METHODS if name.startswith(last)]


def complete_from(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that finds the names which begin with what is there."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


Method = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_methods,
        help="normxlogit, which is the default without --head, or one to compare it with: see "
        "'normxlogit methods'.",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME,...]",
        autocompletion=complete_methods,
        help="normxlogit, which is the default without --head, or another: see 'normxlogit "
        "methods'. Several are shown side by side, with options NAME:OPTION=VALUE.",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="An attribution head that 'normxlogit fit' fitted to this model, or 'demo' for the "
        "demo model's; then the method is attribution_head, unless --method names another.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model on the Hugging Face Hub, or a folder; 'demo' comes with this package.",
    ),
]
Contrast = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Explain the target rather than this label."),
]
Readout = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_from(READOUTS),
        help="The number read from the head: logit, margin, logprob, centered; for a regression "
        "closeness, distance, value.",
    ),
]
Threshold = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="For multi-label models: the probability from which a label is predicted.",
    ),
]
TextColumn = Annotated[str, typer.Option(metavar="COLUMN", help="The column of the texts.")]
PairColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column of the second texts of pairs.")
]
Subset = Annotated[
    str | None, typer.Option(metavar="NAME", help="The subset of a data set on the Hub.")
]
Split = Annotated[
    str | None, typer.Option(metavar="NAME", help="The data set's split; all, if not given.")
]
Words = Annotated[
    bool, typer.Option("--words/--tokens", help="Score words, or the model's tokens.")
]
Reduce = Annotated[
    Reduction | None,
    typer.Option(
        help="What makes the score of a word of those of its tokens: sum, which is the default, "
        "mean, or max, the one of the largest magnitude."
    ),
]
Revision = Annotated[str | None, typer.Option(help="The model's branch, tag or commit on the Hub.")]
Device = Annotated[
    str, typer.Option(autocompletion=complete_from(DEVICES), help="auto, cpu, cuda or mps.")
]
Dtype = Annotated[
    str,
    typer.Option(
        autocompletion=complete_from(DTYPES),
        help="Of the weights: auto, float32, bfloat16 or float16.",
    ),
]
GgufFile = Annotated[
    str | None,
    typer.Option("--gguf-file", metavar="NAME", help="Which of the model's GGUF files to load."),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to this file, completely or not at all; its name implies the format.",
    ),
]
LanguageModel = Annotated[
    str,
    typer.Option("--model", "-m", help="A language model on the Hugging Face Hub, or a folder."),
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="json writes one object per line; html writes a page; csv a table of words or tokens. "
        "Default: what the name of --output ends in, else text.",
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks, and what the libraries log.")
]


def word_reduction(words: bool, reduce: Reduction | None) -> str | None:
    """Return how words are scored; None for tokens."""
    if words:
        return (reduce or Reduction.SUM).value
    if reduce is not None:
        raise typer.BadParameter("--reduce is for words. Leave it out, or leave out --tokens.")
    return None


def one_or_several(targets: list[str] | None) -> str | list[str] | None:
    """Return a single target bare, so that the result has no target axis."""
    if not targets:
        return None
    return targets[0] if len(targets) == 1 else targets


def find_format(named: Format | None, output: Path | None) -> Format:
    """Return the format that was named, else the one that the name of the output implies."""
    if named is not None:
        return named
    return Format.TEXT if output is None else SUFFIXES.get(output.suffix.lower(), Format.TEXT)


def split_names(names: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if names is None else [name.strip() for name in names.split(",")]


def parse_options(assignments: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE assignments into options by name, see `parse_option`."""
    options = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(
                f"--option takes NAME=VALUE, such as norm=word; got {assignment!r}."
            )
        if name in options:
            raise typer.BadParameter(f"--option {name} is given twice.")
        options[name] = parse_option(value)
    return options
