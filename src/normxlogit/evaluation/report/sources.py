"""The Markdown report of how well methods name the sources of answers."""

from collections.abc import Iterator, Mapping
from typing import Any

from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.pages.markdown import plain, table_row
from normxlogit.evaluation.sources.figures import GROUPS, METRICS
from normxlogit.show import phrases
from normxlogit.show.phrases import percent

HOW_TO_READ = (
    "Each method scores the documents of a question for the model's own answer. top-1 is the share "
    "of questions, among those that a document answers, whose highest score is that of such a "
    "document, and sentence the same of sentences. Precision and recall are of cited documents, "
    "those whose score reaches the threshold. Drops are how far the answer's log-probability "
    "falls, in nats, when the named document goes, and when all others go: of the source that an "
    "answer rests on the first is large and the second small. The AUC says how often a question "
    "that no document answers has a lower highest score than one that a document answers; 0.5 is "
    "chance. The last two are the shares of questions for which nothing is cited. `random` draws "
    "scores. Intervals cover 95% of resamples of the questions."
)
COLUMNS = {
    "Sources": ("top1", "sentence", "precision", "recall", "drop", "drop_of_others"),
    "No source": ("no_source_auc", "silent", "missed"),
}


def sources_report(results: Mapping[str, Any]) -> str:
    """Write the tables of a benchmark of sources, and how it was measured."""
    return "\n".join(_lines(results)) + "\n"


def of_questions(results: Mapping[str, Any]) -> str:
    """Say how many questions there are, and how many the model answers rightly."""
    groups, failed = results["groups"], results["questions"]["failed"]
    right, count = groups["right"]["questions"], groups["all"]["questions"]
    known = [kind["questions"] for kind in results["questions"]["kinds"].values()]
    text = f"{count:,} questions"
    if failed:
        text += f" ({len(failed):,} more failed)"
    answered = [k for k in results["questions"]["kinds"].values() if k["right"] is not None]
    if not answered:
        return f"{text}; whether the model answers them rightly is not known."
    asked = sum(kind["questions"] for kind in answered)
    text += f"; of {asked:,} with a known answer" if asked < sum(known) else ""
    return f"{text}, the model answers {right:,} rightly ({percent(right / asked)})."


def method_names(results: Mapping[str, Any]) -> list[str]:
    """The names of the methods, the best in top-1 first."""
    figures = results["groups"]["all"]["methods"]

    def top1(name: str) -> float:
        figure = figures[name]["top1"]
        return 0.0 if figure is None else float(figure["value"])

    return sorted(figures, key=lambda name: -top1(name))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    settings = results["settings"]
    yield f"# Sources of answers: {plain(phrases.without_folders(settings['model']['name']))}"
    yield f"\n{of_questions(results)}"
    for name, reason in results["failed"].items():
        yield f"\nLeft out (`{name}`): {plain(reason)}"
    for group, about in GROUPS.items():
        of_group = results["groups"][group]
        if not of_group["methods"]:
            continue
        yield (
            f"\n## {about[0].upper()}{about[1:]}\n\n{of_group['with_source']:,} that a document "
            f"answers, {of_group['without_source']:,} that none does."
        )
        for heading, metrics in COLUMNS.items():
            shown = [m for m in metrics if any(f[m] for f in of_group["methods"].values())]
            if not shown:
                continue
            yield ""
            yield table_row([heading, *(METRICS[metric] for metric in shown)])
            yield table_row(["---"] * (1 + len(shown)))
            for name in method_names(results):
                figures = of_group["methods"][name]
                cells = (cell(figures[metric]) for metric in shown)
                yield table_row([f"`{name}`", *cells])
    yield "\n## What it costs\n"
    yield table_row(["Method", "passes", "tokens", "seconds", "threshold"])
    yield table_row(["---"] * 5)
    for name in method_names(results):
        cost, threshold = results["costs"][name], results["thresholds"][name]
        shown_threshold = "–" if threshold is None else f"{threshold:.3g}"
        counts = (f"{cost['passes']:.1f}", f"{cost['tokens']:,.0f}", f"{cost['seconds']:.2f}")
        yield table_row([f"`{name}`", *counts, shown_threshold])
    yield "\nMeans over the questions; tokens of a prefix that is computed once count once."
    yield f"\n## Kinds of questions\n\n{table_row(['Kind', 'questions', 'answered rightly'])}"
    yield table_row(["---"] * 3)
    for kind, counts_of in results["questions"]["kinds"].items():
        right = "–" if counts_of["right"] is None else f"{counts_of['right']:,}"
        yield table_row([plain(kind or "–"), f"{counts_of['questions']:,}", right])
    yield f"\n{HOW_TO_READ}\n\n## How this was measured\n"
    data = settings["data"]
    facts = {
        **tables.of_model(settings["model"]),
        "Data": ", ".join(f"{name} {value}" for name, value in data.items()),
        "Limit of questions": settings["limit"],
        "Seed": str(settings["seed"]),
        "Weights": settings["weights"],
        "Options": ", ".join(f"{name}={value}" for name, value in settings["generation"].items()),
        "Versions": tables.of_versions(results["versions"]),
    }
    for name, value in facts.items():
        if value:
            yield f"- {plain(name)}: {plain(str(value))}"
    yield f"\n{phrases.CAVEAT}"


def cell(figure: Mapping[str, float] | None) -> str:
    """Format an estimate with its interval."""
    if figure is None:
        return "–"
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"
