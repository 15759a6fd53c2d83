"""The Markdown report of evidence alignment on BLiMP."""

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
    "In each case the model is asked for one word, the target, and another word, the cue, is the "
    "evidence that determines it. The dot product is the share of the scores on the cue: of their "
    "softmax for signed scores, of their sum for others. Average precision is the mean precision "
    "at the cue's tokens, from the highest score down. Higher is better; `random`, `first` and "
    "`nearest` do not look at the model. Intervals cover 95% of resamples of the cases. Scores "
    "that point to the cue are plausible; whether the model decides by it is not measured here."
)
READINGS = (
    "`normxlogit` and `logat` score the good word, `logat_foil` the bad one, `..._contrast` their "
    "difference; `norm` is the norm of each layer's hidden states; context-mixing methods score "
    "single layers, from the position that the head reads. `first` ranks tokens from the start of "
    "the text, `nearest` by their distance to the target."
)
_MOST = 12
"""The most layers in a table, the last included; results.json has all of them."""


def evidence(results: Mapping[str, Any], figure: Figure) -> str:
    """Write the tables of each reading, a link to the figure's file, and the settings."""
    return "\n".join(_lines(results, figure)) + "\n"


def of_cases(results: Mapping[str, Any]) -> str:
    """Say how many cases the model was asked, and how often it was right."""
    count, cases = sum(results["asked"].values()), sum(results["test_cases"].values())
    text = f"{count:,} of {cases:,} cases can be asked"
    if count < cases:
        text += " (in the others the words are not single tokens"
        is_causal = results["task"] == Task.CAUSAL.value
        text += ", or the cue comes after them)" if is_causal else ")"
    if left := results["text"]["all_evidence"]:
        text += f"; in {left:,} of them all tokens are evidence"
    return f"{text}. The model prefers the good word in {percent(results['accuracy'])}."


def left_out(failed: Mapping[str, str]) -> list[tuple[list[str], str]]:
    """Group the names of methods that are left out by the reason."""
    reasons = dict.fromkeys(failed.values())
    return [([name for name in failed if failed[name] == why], why) for why in reasons]


def _lines(results: Mapping[str, Any], figure: Figure) -> Iterator[str]:
    settings = results["settings"]
    yield f"# Evidence on BLiMP: {plain(phrases.without_folders(str(settings['model']['name'])))}"
    yield f"\n{of_cases(results)}"
    for names, why in left_out(results["failed"]):
        named = ", ".join(f"`{name}`" for name in names)
        yield f"\nLeft out ({named}): {plain(why)}"
    yield f"\n![{plain(figure.caption)}](figures/{figure.name}.svg)"
    for name, heading in SETS.items():
        measured = results[name]
        yield f"\n## {heading}"
        yield f"\n{measured['cases']:,} cases, {measured['tokens']:.1f} tokens per case."
        if len(measured["dot_product"]["normxlogit"]["mean"]) > _MOST:
            yield f"\nAt most {_MOST} layers are shown; results.json has all of them."
        for metric in ("dot_product", "average_precision"):
            title = metric.replace("_", " ").capitalize()
            yield f"\n{title} ↑, by layer, and the last layer's interval:\n"
            yield from _table(measured[metric])
    yield f"\n{HOW_TO_READ}\n\n{READINGS}"
    yield "\n## How this was measured\n"
    facts = {
        **tables.of_model(settings["model"]),
        **{
            f"Data, {paradigm}": f"{tables.of_data(data)}; {results['asked'][paradigm]:,} "
            f"of {results['test_cases'][paradigm]:,} cases asked"
            for paradigm, data in settings["data"].items()
        },
        "Limit of cases per paradigm": settings["limit"],
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
    yield table_row(["Reading", *(str(layer + 1) for layer in layers), "95%"])
    yield table_row(["---"] * (len(layers) + 2))
    for reading, values in readings.items():
        yield table_row(
            [
                f"`{reading}`",
                *(phrases.decimal(values["mean"][layer], 2) for layer in layers),
                " to ".join(phrases.decimal(values[end][-1], 2) for end in ("low", "high")),
            ]
        )
