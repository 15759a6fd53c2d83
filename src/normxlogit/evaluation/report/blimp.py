"""The report of evidence alignment as Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from normxlogit.evaluation.report.pages import tables
from normxlogit.evaluation.report.pages.markdown import plain, table_row
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.show import phrases
from normxlogit.show.phrases import percent
from normxlogit.tasks import Task

SETS = {
    "text": "The words of the sentence",
    "all": "The same with special tokens, as in the paper",
}
HOW_TO_READ = (
    "Of each case one word, the target, is asked for, and another one, the cue, is the evidence "
    "that settles it. The dot product is the share of the scores that the cue has: of their "
    "softmax for what is made from logits, of their sum for the others. Average precision is the "
    "mean precision at the cue's tokens, from the highest score down. Higher is better; `random`, "
    "`first` and `nearest` say what is had without a look at the model. Intervals are of 95 % of "
    "resamples of the cases. That scores point to the cue is plausible; whether the model decides "
    "by it, these figures do not say."
)
READINGS = (
    "`normxlogit` and `logat` are of the good word, `logat_foil` of the bad one, `..._contrast` of "
    "their difference; `norm` is of each layer's states; the methods of context mixing are of "
    "single layers, from where the model is read. `first` ranks tokens from the beginning on, "
    "`nearest` by how near they are to the target."
)
_MOST = 12
"""Layers of a table, the last among them; the others are in results.json."""


def evidence(results: Mapping[str, Any], figure: Figure) -> str:
    """Tables of each reading's figures, a link to the figure's file, and how it was measured."""
    return "\n".join(_lines(results, figure)) + "\n"


def of_cases(results: Mapping[str, Any]) -> str:
    """What the model was asked, and how often it was right."""
    asked, cases = sum(results["asked"].values()), sum(results["test_cases"].values())
    said = f"{asked:,} of {cases:,} cases can be asked"
    if asked < cases:
        said += " (of the others the words are no single tokens"
        is_causal = results["task"] == Task.CAUSAL.value
        said += ", or the cue comes after them)" if is_causal else ")"
    if left := results["text"]["all_evidence"]:
        said += f"; in {left:,} of them there is nothing but evidence"
    return f"{said}. The model prefers the good word in {percent(results['accuracy'])}."


def left_out(failed: Mapping[str, str]) -> list[tuple[list[str], str]]:
    """The names of methods that are left out, by the reason."""
    reasons = dict.fromkeys(failed.values())
    return [([name for name, own in failed.items() if own == why], why) for why in reasons]


def _lines(results: Mapping[str, Any], figure: Figure) -> Iterator[str]:
    settings = results["settings"]
    yield f"# Evidence on BLiMP: {plain(str(settings['model']['name']))}"
    yield f"\n{of_cases(results)}"
    for names, why in left_out(results["failed"]):
        named = ", ".join(f"`{name}`" for name in names)
        yield f"\nLeft out ({named}): {plain(why)}"
    yield f"\n![{plain(figure.caption)}](figures/{figure.name}.svg)"
    for name, heading in SETS.items():
        found = results[name]
        yield f"\n## {heading}"
        yield f"\n{found['cases']:,} cases, {found['tokens']:.1f} tokens a case."
        if len(found["dot_product"]["normxlogit"]["mean"]) > _MOST:
            yield f"\nOf the layers no more than {_MOST} are shown; results.json has all."
        for metric in ("dot_product", "average_precision"):
            title = metric.replace("_", " ").capitalize()
            yield f"\n{title} ↑, by layer, and the last layer's interval:\n"
            yield from _table(found[metric])
    yield f"\n{HOW_TO_READ}\n\n{READINGS}"
    yield "\n## How this was measured\n"
    facts = {
        **tables.of_model(settings["model"]),
        **{
            f"Data, {paradigm}": f"{tables.of_data(data)}; {results['asked'][paradigm]:,} "
            f"of {results['test_cases'][paradigm]:,} cases asked"
            for paradigm, data in settings["data"].items()
        },
        "Limit of cases of each paradigm": settings["limit"],
        "Seed": str(settings["seed"]),
        "Versions": tables.of_versions(results["versions"]),
    }
    for name, value in facts.items():
        if value:
            yield f"- {plain(name)}: {plain(str(value))}"
    yield f"\n{phrases.CAVEAT}"


def _table(readings: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    depth = len(readings["normxlogit"]["mean"])
    layers = range(depth - 1, -1, -((depth + _MOST - 1) // _MOST))[::-1]
    yield table_row(["Reading", *(str(layer + 1) for layer in layers), "95 %"])
    yield table_row(["---"] * (len(layers) + 2))
    for reading, found in readings.items():
        yield table_row(
            [
                f"`{reading}`",
                *(f"{found['mean'][layer]:.2f}" for layer in layers),
                f"{found['low'][-1]:.2f} to {found['high'][-1]:.2f}",
            ]
        )
