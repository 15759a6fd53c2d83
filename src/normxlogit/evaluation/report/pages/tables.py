"""Tables and texts that the page and the Markdown report share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from normxlogit.evaluation.perturb.operators import describe_operator
from normxlogit.evaluation.report.verdicts import VsRandom
from normxlogit.evaluation.report.view import MAIN, EvaluationView, times, title
from normxlogit.show.phrases import decimal, percent, with_minus, without_folders

DISAGREEMENT = (
    "Agreement is the mean of Spearman's rank correlations between the scores that two methods "
    "give to a text's {units}, over all pairs of these methods: {methods}. 1 means that all rank "
    "alike, 0 that they have nothing in common. Baselines and texts of fewer than {least} {units} "
    "are left out."
)
HOW_TO_READ = (
    "Each figure comes with its 95% interval over resamples of the examples, and below it with "
    "its difference from the best method in that column. “Indistinguishable from the best” means "
    "that the interval of this difference, over the same examples, includes zero. Of the columns "
    "with ↑ higher figures are better, of those with ↓ lower ones."
)
SANITY = (
    "Spearman's rank correlation of a method's scores with its scores after a change, the mean "
    "over {examples} texts. As the weights of the head and then of one more layer at a time are "
    "shuffled, scores that depend on the model fall towards 0; for the least probable class, "
    "scores that depend on the class reverse, towards −1; from float32 to bfloat16 they should "
    "stay, near 1. The last column is the largest difference in a batch, as a share of the text's "
    "largest score. A dash marks what could not be measured."
)
BESIDE = {
    "best": "the best",
    "same": "indistinguishable from the best",
    "ahead": "ahead of the best method",
}


@dataclass(frozen=True)
class Cell:
    """A method's estimate of a metric.

    Attributes:
        value: the estimate; a dash where there is none.
        key: the estimate as a number to sort by; None where there is none.
        interval: its 95% interval.
        beside: how it compares with the best, and with random order unless it is better.
    """

    value: str
    key: float | None
    interval: str
    beside: tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """A method: its name, its cells in the order of metrics, and its cost, as text and if it was
    measured as a number.
    """

    name: str
    cells: tuple[Cell, ...]
    cost: str
    forwards: float | None


def groups(view: EvaluationView) -> list[list[str]]:
    """Group the metrics by table: the main ones with their variants for labels, and the others."""
    first = [metric for metric in view.metrics if metric.startswith(MAIN)]
    others = [metric for metric in view.metrics if metric not in first]
    return [group for group in (first, others) if group]


def rows(view: EvaluationView, metrics: list[str], random: VsRandom) -> list[TableRow]:
    """Make a row for each method, the best in comprehensiveness first."""
    return [
        TableRow(
            name,
            tuple(_cell(view, name, metric, random) for metric in metrics),
            cost(view, name),
            view.forwards(name),
        )
        for name in view.methods
    ]


def heading(view: EvaluationView, metric: str) -> str:
    """The heading of a column, with an arrow in the direction that is better."""
    arrow = "↑" if view.metrics[metric]["higher_is_better"] else "↓"
    return f"{title(metric)}\N{NO-BREAK SPACE}{arrow}"


def about(view: EvaluationView, metric: str) -> str:
    """Describe a metric, with the number of examples if it is not all of them."""
    description = sentence(view.metrics[metric]["about"])
    examples, evaluated = view.examples(metric), view.results["examples"]["evaluated"]
    if examples == evaluated:
        return description
    return (
        f"{description} Over {examples:,} of the {evaluated:,} examples: for the others not every "
        "method has a value."
    )


def cost(view: EvaluationView, name: str) -> str:
    """The measured cost of a method with its nominal cost, or the nominal cost alone."""
    forwards = view.forwards(name)
    stated = str(view.methods[name]["cost"])
    return stated if forwards is None else f"{times(forwards)} × ({stated})"


def cost_heading(view: EvaluationView) -> str:
    """The heading of the column of costs."""
    if view.costs is None:
        return "Cost, not measured"
    return "Cost, × classifying"


def sanity(view: EvaluationView) -> tuple[list[str], list[list[str]]] | None:
    """The names of the columns, and a row for each method; None if sanity was not checked."""
    checked = view.results.get("sanity")
    if checked is None:
        return None
    names = ["Method", *checked["steps"], "other class", "bfloat16", "in a batch"]
    rows = [
        [
            name,
            *map(_correlation, (*checks["shuffled"], checks["other_class"], checks["bfloat16"])),
            _difference(checks["in_a_batch"]),
        ]
        for name, checks in checked["methods"].items()
    ]
    return names, rows


def _correlation(value: float | None) -> str:
    return "–" if value is None else decimal(value, 2)


def _difference(value: float | None) -> str:
    if value is None:
        return "–"
    return with_minus(f"{value:.0e}") if value else "0"


def facts(view: EvaluationView) -> list[tuple[str, str]]:
    """How it was measured: names and values."""
    settings, results = view.settings, view.results
    examples, forwards = results["examples"], results["forwards"]
    operator = settings["operator"]
    values = {
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
        "What is ranked": view.units,
        "Hidden by": f"{operator}: {describe_operator(operator)}",
        "Shares": ", ".join(f"{ratio:g}" for ratio in settings["ratios"]),
        "Random orders": f"{settings['draws']} for each example",
        "Seed": str(settings["seed"]),
        "Limit of tokens": None if settings["max_length"] is None else str(settings["max_length"]),
        "Limit of rows": None if settings["limit"] is None else str(settings["limit"]),
        "Too long a text": "truncated" if settings["long"] == "truncate" else "an error",
        "Forward passes": f"{forwards['run']:,} run on {forwards['tokens']:,} tokens, for "
        f"{forwards['asked']:,} requests; without those of the methods",
        "Costs measured on": None
        if view.costs is None
        else f"{view.costs['examples']} examples, "
        f"{1000 * view.costs['forward_seconds']:.3g} ms to classify one",
        "Versions": of_versions(results["versions"]),
    }
    return [(name, value) for name, value in values.items() if value]


def of_versions(versions: Mapping[str, str]) -> str:
    """List packages with their versions on one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def summary(view: EvaluationView) -> str:
    """Summarise what was evaluated in one line."""
    examples = view.results["examples"]
    methods = f"{len(view.methods)} method{'s' * (len(view.methods) != 1)}"
    quality = _quality(examples)
    scope = f"{methods} on {examples['evaluated']:,} examples"
    return f"{scope}; the model's own {quality}" if quality else scope


def sentence(text: str) -> str:
    """Make a sentence of a text: a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _cell(view: EvaluationView, name: str, metric: str, random: VsRandom) -> Cell:
    estimate = view.estimate(name, metric)
    if estimate is None:
        return Cell("–", None, "", ())
    place = view.beside_best(name, metric)
    if place == "behind":
        gap = estimate["beside_best"]
        beside = f"{view.signed(metric, gap['value'])} {view.interval(metric, gap)} to the best"
    else:
        beside = BESIDE[place]
    phrases = {"same": "indistinguishable from random", "worse": "worse than random"}
    chance = random.get((name, metric))
    return Cell(
        view.amount(metric, estimate["value"]),
        estimate["value"],
        view.interval(metric, estimate),
        (beside,) if chance is None else (beside, phrases[chance]),
    )


def of_model(model: Mapping[str, Any]) -> dict[str, str | None]:
    """Facts about a model: names and values, which may be None."""
    return {
        "Model": without_folders(str(model["name"])),
        "Revision": model.get("revision"),
        "Class": ", ".join(filter(None, (model.get("architecture"), model.get("dtype")))),
        "Model's SHA-256": model.get("sha256"),
    }


def of_data(data: Mapping[str, Any]) -> str:
    """Identify the data on one line."""
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
        return f"correlation with the labels {decimal(examples['pearson'])}"
    return ""
