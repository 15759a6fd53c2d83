"""What `normxlogit evaluate --benchmark` prints."""

import sys
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table


def show_benchmark(results: Mapping[str, Any]) -> None:
    """The figures of each reading at the last layer, and what they are of."""
    from normxlogit.evaluation.report.blimp import left_out, of_cases

    found = results["text"]
    metrics = ("average_precision", "dot_product")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("reading", no_wrap=True)
    for metric in metrics:
        table.add_column(f"{metric} ↑", justify="right")
    for name in sorted(found[metrics[0]], key=lambda name: -found[metrics[0]][name]["mean"][-1]):
        table.add_row(name, *(_figure(found[metric][name]) for metric in metrics))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    for names, why in left_out(results["failed"]):
        typer.echo(f"Left out ({', '.join(names)}): {why}")
    layers = len(found[metrics[0]]["normxlogit"]["mean"])
    typer.echo(
        f"{of_cases(results)} Figures are of the sentence's words "
        f"at layer {layers}, intervals 95 %."
    )


def _figure(figure: Mapping[str, list[float]]) -> str:
    return f"{figure['mean'][-1]:.3f} [{figure['low'][-1]:.3f}, {figure['high'][-1]:.3f}]"
