"""The tables and sentences that `normxlogit evaluate` prints."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from normxlogit.cli import terminal

if TYPE_CHECKING:
    from normxlogit.evaluation.run import Evaluation

BENCHMARK_METRICS = ("average_precision", "dot_product")


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print a row per method, best first, and what the figures are based on."""
    results = evaluation.results
    metrics, methods = results["metrics"], results["methods"]
    table = _table("method")
    for name, metric in metrics.items():
        sign = "↑" if metric["higher_is_better"] else "↓"
        table.add_column(_cell(f"{name} {sign}"), justify="right")
    table.add_column("cost", justify="right")
    ranked = sorted(methods, key=lambda n: -methods[n]["figures"]["comprehensiveness"]["value"])
    for name in ranked:
        figures = methods[name]["figures"]
        cost = evaluation.costs["methods"].get(name)
        table.add_row(
            _cell(name),
            *(_compared_estimate(figures[metric]) for metric in metrics),
            "" if cost is None else f"{cost['forwards']:.3g}",
        )
    _print_table(table)
    for name, reason in results["failed"].items():
        terminal.say(f"{name} left out: {reason}")
    examples = results["examples"]
    skipped = ", ".join(f"{count} {kind}" for kind, count in examples["errors"].items())
    terminal.say(
        f"{examples['evaluated']} of {examples['read']} rows"
        + (f" ({skipped})" if skipped else "")
        + ". Intervals are 95 %; = marks methods that are statistically indistinguishable from the "
        "best (*); cost is time in forward passes."
    )
    forwards = results["forwards"]
    terminal.say(f"Variants of texts: {forwards['asked']:,} asked for, {forwards['run']:,} run.")
    for note in results["notes"]:
        terminal.say(f"Note: {note}")


def print_benchmark(results: Mapping[str, Any]) -> None:
    """Print a row per reading with its figures at the last layer, best first."""
    from normxlogit.evaluation.report.blimp import left_out, of_cases

    metrics = results["text"]
    precision = metrics[BENCHMARK_METRICS[0]]
    table = _table("reading")
    for metric in BENCHMARK_METRICS:
        table.add_column(f"{metric} ↑", justify="right")
    for name in sorted(precision, key=lambda name: -precision[name]["mean"][-1]):
        table.add_row(
            _cell(name), *(_last_layer(metrics[metric][name]) for metric in BENCHMARK_METRICS)
        )
    _print_table(table)
    for names, reason in left_out(results["failed"]):
        terminal.say(f"Left out ({', '.join(names)}): {reason}")
    layers = len(precision["normxlogit"]["mean"])
    terminal.say(
        f"{of_cases(results)} Figures are for the sentence's words at layer {layers}, "
        "intervals 95 %."
    )


def _table(first_column: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first_column, no_wrap=True)
    return table


def _print_table(table: Table) -> None:
    # Without a terminal there is no width to fit into, and rich would wrap at 80 columns.
    terminal.console(width=None if sys.stdout.isatty() else 200).print(table)


def _cell(text: str) -> Text:
    """Return a name for a table; brackets in it are no markup."""
    return Text(terminal.shown(text))


def _compared_estimate(figure: Mapping[str, Any]) -> str:
    """Format a value with its interval and a mark: * the best, = indistinguishable from it."""
    beside = figure["beside_best"]
    mark = "*" if beside is None else " " if beside["differs"] else "="
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] {mark}"


def _last_layer(figure: Mapping[str, list[float]]) -> str:
    return f"{figure['mean'][-1]:.3f} [{figure['low'][-1]:.3f}, {figure['high'][-1]:.3f}]"
