"""The tables and sentences that `normxlogit evaluate` and `normxlogit fit` print."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from normxlogit.cli import terminal
from normxlogit.cli.tables import print_figures
from normxlogit.show.phrases import decimal

if TYPE_CHECKING:
    from normxlogit.evaluation.run import Evaluation
    from normxlogit.methods.attribution_head.head import FitRecord

BENCHMARK_METRICS = ("average_precision", "dot_product")
SOURCE_METRICS = ("precision", "recall", "no_source_auc")


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print a row per method, best first, and what the figures are based on."""
    results = evaluation.results
    metrics, methods = results["metrics"], results["methods"]
    signs = ("↑" if metric["higher_is_better"] else "↓" for metric in metrics.values())
    headers = [f"{name} {sign}" for name, sign in zip(metrics, signs, strict=True)]
    rows = []
    for name in sorted(methods, key=lambda n: -methods[n]["figures"]["comprehensiveness"]["value"]):
        figures = methods[name]["figures"]
        cost = evaluation.costs["methods"].get(name)
        cells = (_compared_estimate(figures[metric]) for metric in metrics)
        rows.append([name, *cells, "" if cost is None else f"{cost['forwards']:.3g}"])
    print_figures(["method", *headers, "cost"], rows)
    for name, reason in results["failed"].items():
        terminal.say(f"{name} left out: {reason}")
    examples = results["examples"]
    skipped = ", ".join(f"{count} {kind}" for kind, count in examples["errors"].items())
    terminal.say(
        f"{examples['evaluated']} of {examples['read']} rows"
        + (f" ({skipped})" if skipped else "")
        + ". Intervals are 95%; = marks methods that are statistically indistinguishable from the "
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
    rows = [
        [name, *(_last_layer(metrics[metric][name]) for metric in BENCHMARK_METRICS)]
        for name in sorted(precision, key=lambda name: -precision[name]["mean"][-1])
    ]
    print_figures(["reading", *(f"{metric} ↑" for metric in BENCHMARK_METRICS)], rows)
    for names, reason in left_out(results["failed"]):
        terminal.say(f"Left out ({', '.join(names)}): {reason}")
    layers = len(precision["normxlogit"]["mean"])
    terminal.say(
        f"{of_cases(results)} Figures are for the sentence's words at layer {layers}, "
        "intervals 95%."
    )


def print_sources(results: Mapping[str, Any]) -> None:
    """Print a row per method with its main figures, the best in top-1 first."""
    from normxlogit.evaluation.report.sources import cell, method_names, of_questions

    everything, right = (results["groups"][name]["methods"] for name in ("all", "right"))
    rows = []
    for name in method_names(results):
        figures, cost = everything[name], results["costs"][name]
        of_right = right[name]["top1"] if name in right else None
        rows.append(
            [
                name,
                *(cell(figure) for figure in (figures["top1"], of_right)),
                *(cell(figures[metric]) for metric in SOURCE_METRICS),
                f"{cost['passes']:.1f}",
                f"{cost['seconds']:.2f}",
            ]
        )
    metrics = ("precision ↑", "recall ↑", "no source, AUC ↑")
    print_figures(
        ["method", "top-1 ↑", "of right answers", *metrics, "passes", "seconds"],
        rows,
    )
    terminal.say(
        f"{of_questions(results)} top-1: how often a document that the answer comes from has the "
        "highest score. Intervals are 95%."
    )


def print_held_out(record: "FitRecord") -> None:
    """Print how good an attribution head is beside other methods, and whether to use it."""
    held_out = record.held_out
    signs = (("comprehensiveness", 1), ("sufficiency", -1))
    rows = [
        [name, *(_beside_head(figures[metric], sign) for metric, sign in signs)]
        for name, figures in held_out["methods"].items()
        if "not_measured" not in figures
    ]
    print_figures(["method", "comprehensiveness ↑", "sufficiency ↓"], rows)
    for name, figures in held_out["methods"].items():
        if "not_measured" in figures:
            terminal.say(f"{name} left out: {figures['not_measured']}")
    terminal.say(
        f"On {held_out['texts']:,} texts that the head was not fitted on, words hidden "
        f"({record.hiding}). Intervals are 95%; behind and ahead compare with "
        f"{held_out['head']}, = is statistically indistinguishable from it."
    )
    terminal.say(
        "Of what the model says of these texts with random sets of words hidden, the head explains "
        f"{_explained(held_out['explained_variance'])} of the variance."
    )
    style = "bold green" if held_out["use"] else "bold red"
    terminal.console().print(Text(held_out["verdict"], style), soft_wrap=True)


def _beside_head(figure: Mapping[str, Any], sign: int) -> str:
    """Format a value with its interval, and how it stands to the head's.

    Args:
        figure: the figure, with the head's less this one.
        sign: 1 if more is better, else -1.
    """
    less = figure["head_less_this"]
    low, high = sorted((sign * less["low"], sign * less["high"]))
    place = "behind" if low > 0 else "ahead" if high < 0 else "=" if low < high else "*"
    value, least, most = (f"{decimal(figure[name]):>6}" for name in ("value", "low", "high"))
    return f"{value} [{least}, {most}] {place:<6}"


def _explained(shares: Sequence[float]) -> str:
    """Format shares of variance, one for each output: "85%", or the least and the most."""
    least, most = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    return f"{least}%" if least == most else f"{least} to {most}%"


def _compared_estimate(figure: Mapping[str, Any]) -> str:
    """Format a value with its interval and a mark: * the best, = indistinguishable from it."""
    beside = figure["beside_best"]
    mark = "*" if beside is None else " " if beside["differs"] else "="
    value, low, high = (decimal(figure[name]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}] {mark}"


def _last_layer(figure: Mapping[str, list[float]]) -> str:
    mean, low, high = (decimal(figure[name][-1]) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
