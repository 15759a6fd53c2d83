"""What tables, page and Markdown say alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from normxlogit.evaluation.perturb.operators import describe_operator
from normxlogit.evaluation.report.view import MAIN, EvaluationView, times, title
from normxlogit.evaluation.report.vs_random import VsRandom
from normxlogit.show.phrases import percent

DISAGREEMENT = (
    "Agreement is the mean of Spearman's rank correlations between the scores that two methods "
    "give to a text's {units}, over all pairs of these methods: {methods}. 1 says that all rank "
    "alike, 0 that they have nothing in common. Baselines are left out, and texts of fewer than "
    "{least} {units}."
)
HOW_TO_READ = (
    "Each figure comes with the interval that 95 % of resamples of the examples are in, and below "
    "it with its difference to the best method in that column. “No difference to the best” says "
    "that the interval of this difference, over the same examples, includes zero: these examples "
    "do not tell the two apart."
)
SANITY = (
    "Spearman's rank correlation of a method's scores with what it gives when something is "
    "changed, the mean over {examples} texts. With the weights of the head shuffled, and then of "
    "one layer more each time, a method that tells of the model falls towards 0; for the least "
    "probable class scores that tell of the class turn round, towards −1; from float32 to "
    "bfloat16 they should stay, near 1. Last, how far scores move when a text stands in a batch, "
    "as a share of its largest. A dash is what could not be measured."
)
BESIDE = {
    "best": "the best",
    "same": "no difference to the best",
    "ahead": "ahead of the best method",
}


@dataclass(frozen=True)
class Cell:
    """A method's figure.

    Attributes:
        value: the figure; a dash where there is none.
        interval: its 95 % interval.
        beside: how it compares with the best, and with random order if not better.
    """

    value: str
    interval: str
    beside: tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """A method: its name, its cells in the order of metrics, and what it costs."""

    name: str
    cells: tuple[Cell, ...]
    cost: str


def groups(found: EvaluationView) -> list[list[str]]:
    """The metrics by table: the main ones with what labels tell, and the others."""
    first = [metric for metric in found.metrics if metric.startswith(MAIN)]
    others = [metric for metric in found.metrics if metric not in first]
    return [group for group in (first, others) if group]


def rows(found: EvaluationView, metrics: list[str], random: VsRandom) -> list[TableRow]:
    """The methods, the best in comprehensiveness first."""
    return [
        TableRow(
            name, tuple(_cell(found, name, metric, random) for metric in metrics), cost(found, name)
        )
        for name in found.methods
    ]


def heading(found: EvaluationView, metric: str) -> str:
    """A column's, with the direction that is better."""
    arrow = "↑" if found.metrics[metric]["higher_is_better"] else "↓"
    return f"{title(metric)}\N{NO-BREAK SPACE}{arrow}"


def about(found: EvaluationView, metric: str) -> str:
    """What a metric is, and of how many examples where that is not all of them."""
    said = sentence(found.metrics[metric]["about"])
    own, evaluated = found.examples(metric), found.results["examples"]["evaluated"]
    if own == evaluated:
        return said
    return (
        f"{said} Of {own:,} of the {evaluated:,} examples: for the others not every method has one."
    )


def cost(found: EvaluationView, name: str) -> str:
    """The measured cost of a method, or else what it does."""
    forwards = found.forwards(name)
    stated = str(found.methods[name]["cost"])
    return stated if forwards is None else f"{times(forwards)} × ({stated})"


def cost_heading(found: EvaluationView) -> str:
    """What the column of costs shows."""
    if found.costs is None:
        return "Cost, not measured"
    return "Cost, × classifying"


def sanity(found: EvaluationView) -> tuple[list[str], list[list[str]]] | None:
    """The names of the columns, and a row for each method, if sanity was checked."""
    checked = found.results.get("sanity")
    if checked is None:
        return None
    names = ["Method", *checked["steps"], "other class", "bfloat16", "in a batch"]
    rows = [
        [
            name,
            *map(_correlation, (*one["shuffled"], one["other_class"], one["bfloat16"])),
            _apart(one["in_a_batch"]),
        ]
        for name, one in checked["methods"].items()
    ]
    return names, rows


def _correlation(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _apart(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0e}".replace("-", "−") if value else "0"


def facts(found: EvaluationView) -> list[tuple[str, str]]:
    """How it was measured: names and what they are."""
    settings, results = found.settings, found.results
    examples, forwards = results["examples"], results["forwards"]
    operator = settings["operator"]
    named = {
        **of_model(settings["model"]),
        "Data": of_data(settings["data"]),
        "Columns": ", ".join(
            f"{name} = {column}" for name, column in settings["columns"].items() if column
        ),
        "Examples": _examples(examples),
        "Left out": _left_out(examples),
        "Labels": _labels(examples),
        "The model's own": _quality(examples),
        "Preset": settings["preset"],
        "What is ranked": found.units,
        "Hidden by": f"{operator}: {describe_operator(operator)}",
        "Shares": ", ".join(f"{ratio:g}" for ratio in settings["ratios"]),
        "Random orders": f"{settings['draws']} for each example",
        "Seed": str(settings["seed"]),
        "Limit of tokens": None if settings["max_length"] is None else str(settings["max_length"]),
        "Limit of rows": None if settings["limit"] is None else str(settings["limit"]),
        "Too long a text": "truncated" if settings["long"] == "truncate" else "an error",
        "Forward passes": f"{forwards['run']:,} run on {forwards['tokens']:,} tokens, to answer "
        f"{forwards['asked']:,} questions; those of the methods not counted",
        "Costs measured on": None
        if found.costs is None
        else f"{found.costs['examples']} examples, "
        f"{1000 * found.costs['forward_seconds']:.3g} ms to classify one",
        "Versions": of_versions(results["versions"]),
    }
    return [(name, value) for name, value in named.items() if value]


def of_versions(versions: Mapping[str, str]) -> str:
    """Packages with their versions, on a line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def summary(found: EvaluationView) -> str:
    """What was evaluated, in a line."""
    examples = found.results["examples"]
    methods = f"{len(found.methods)} method{'s' * (len(found.methods) != 1)}"
    quality = _quality(examples)
    said = f"{methods} on {examples['evaluated']:,} examples"
    return f"{said}; the model's own {quality}" if quality else said


def sentence(text: str) -> str:
    """The text as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _cell(found: EvaluationView, name: str, metric: str, random: VsRandom) -> Cell:
    figure = found.figure(name, metric)
    if figure is None:
        return Cell("–", "", ())
    place = found.beside_best(name, metric)
    if place == "behind":
        gap = figure["beside_best"]
        beside = f"{found.signed(metric, gap['value'])} {found.interval(metric, gap)} to the best"
    else:
        beside = BESIDE[place]
    chance = {"same": "no difference to random", "worse": "worse than random"}
    more = random.get((name, metric))
    return Cell(
        found.amount(metric, figure["value"]),
        found.interval(metric, figure),
        (beside,) if more is None else (beside, chance[more]),
    )


def of_model(model: Mapping[str, Any]) -> dict[str, str | None]:
    """What a model is: names and what they are, some of which may not be known."""
    return {
        "Model": str(model["name"]),
        "Revision": model.get("revision"),
        "Class": ", ".join(filter(None, (model.get("architecture"), model.get("dtype")))),
        "Model's SHA-256": model.get("sha256"),
    }


def of_data(data: Mapping[str, Any]) -> str:
    """What tells data from other data, on a line."""
    if "files" not in data:
        return ", ".join(f"{name} {value}" for name, value in data.items() if value is not None)
    return "; ".join(
        f"{file['name']} ({file['bytes']:,} bytes, SHA-256 {file['sha256']})"
        for file in data["files"]
    )


def _examples(examples: Mapping[str, Any]) -> str:
    return (
        f"{examples['evaluated']:,} evaluated of {examples['read']:,} read; "
        f"{examples['labelled']:,} with a label"
    )


def _left_out(examples: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in examples["errors"].items())
    first = "; ".join(examples["first_errors"])
    return f"{counts} ({first})" if counts and first else counts


def _labels(examples: Mapping[str, Any]) -> str:
    labels = examples.get("labels") or {}
    return ", ".join(f"{name} {count:,}" for name, count in labels.items())


def _quality(examples: Mapping[str, Any]) -> str:
    if examples.get("accuracy") is not None:
        return f"accuracy {percent(examples['accuracy'])}"
    if examples.get("pearson") is not None:
        return f"correlation with the given values {examples['pearson']:.3f}"
    return ""
