"""Which method to use here and why, and when NormXLogit is not it: in words, by fixed rules.

A method is recommended if it is not told apart from the best, neither in comprehensiveness nor in
sufficiency (if none is both: in comprehensiveness), and is the cheapest of these; costs up to a
quarter apart count as the same, and then the better figure decides. If a baseline, such as random
order, is among those not told apart from the best, no method is recommended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from normxlogit.evaluation.metrics.bootstrap import Estimate
from normxlogit.evaluation.perturb.operators import EFFECTS
from normxlogit.evaluation.report.view import MAIN, SELF, EvaluationView, times
from normxlogit.evaluation.report.vs_random import gain
from normxlogit.show.phrases import percent

FEW = 100
"""Of fewer examples it is said that they are few."""
ALIKE = 1.25
"""The ratio up to which costs count as the same."""

Differences = Callable[[str, str, str], Estimate | None]
"""Takes a metric and two methods; how much more the one has than the other."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text and its heading."""

    heading: str
    text: str


def advice(found: EvaluationView, difference: Differences) -> list[Paragraph]:
    """What to do with these figures.

    Args:
        found: the figures.
        difference: of two methods in a metric; in question are `MAIN`.
    """
    pool = recommendable(found, difference)
    pick = cheapest(found, pool) if pool else None
    paragraphs = [Paragraph(_verdict(found, pick), _why(found, pick, pool))]
    if found.own:
        about = pick if pick in found.own else found.own[0]
        paragraphs.append(_own(found, about, pick, difference))
    return [*paragraphs, Paragraph("How far to trust this", _limits(found))]


def recommendable(found: EvaluationView, difference: Differences) -> list[str]:
    """The methods at the top, between which the figures do not decide; none if a baseline is."""
    main, brief = MAIN
    first = found.ahead(main)
    if any(found.is_baseline(name) for name in first):
        return []
    if found.random is not None:
        beside = {name: difference(main, name, found.random) for name in first}
        first = [
            n for n, gap in beside.items() if gap is None or gain(found, main, gap) == "better"
        ]
    return [name for name in first if name in found.ahead(brief)] or first


def cheapest(found: EvaluationView, pool: Sequence[str]) -> str:
    """The cheapest of some methods, in the order of their figures; the first if costs are alike."""
    costs = {name: cost for name in pool if (cost := found.forwards(name)) is not None}
    if not costs:
        return pool[0]
    least = min(costs.values())
    return next(name for name in pool if costs.get(name, float("inf")) <= ALIKE * least)


def _verdict(found: EvaluationView, pick: str | None) -> str:
    if pick is None:
        return "No method can be recommended on these figures"
    if len([name for name in found.methods if not found.is_baseline(name)]) == 1:
        return f"{pick} was compared with no other method that looks at the model"
    return f"Use {pick} here"


def _why(found: EvaluationView, pick: str | None, pool: Sequence[str]) -> str:
    sentences = [_leading(found, metric) for metric in MAIN]
    first, second = (found.ahead(metric) for metric in MAIN)
    baselines = [name for name in first if found.is_baseline(name)]
    if pick is None:
        sentences.append(
            f"{_listed(baselines)} {_are(baselines)} no explanation, and yet not shown to be "
            "behind the best in comprehensiveness, so nothing here shows that any method's ranking "
            f"is better than that. More examples, or another way to hide {found.units}, may."
        )
        return " ".join(sentences)
    if pick not in second:
        sentences.append(
            "No method is at the top in both figures; comprehensiveness decides here. If a few "
            f"{found.units} are to stand for the whole text, go by sufficiency."
        )
    cost = found.forwards(pick)
    if len(pool) > 1 and cost is not None:
        unmeasured = [name for name in pool if found.forwards(name) is None]
        is_least = all(cost <= (found.forwards(name) or cost) for name in pool)
        sentences.append(
            f"The figures do not decide between {_listed(pool)}; {pick} "
            f"{'is the cheapest' if is_least else 'costs about as little as any'} of them: "
            f"{_cost(found, pick)}."
        )
        if unmeasured:
            sentences.append(f"The cost of {_listed(unmeasured)} is not known.")
    elif cost is not None:
        sentences.append(f"{_capital(_cost(found, pick))}.")
    if found.costs is None:
        sentences.append("What the methods cost was not measured.")
    if any(found.methods[name]["method"] == "occlusion" for name in first):
        sentences.append(
            f"Occlusion hides {found.units} one at a time to find its scores, much as the test "
            "does to judge them, which favours it."
        )
    return " ".join(sentences)


def _leading(found: EvaluationView, metric: str) -> str:
    """Who is the best in a metric, and who is not told apart."""
    best, *others = found.ahead(metric)
    peers = [name for name in others if found.beside_best(name, metric) == "same"]
    over = [name for name in others if name not in peers]
    figure = found.figure(best, metric)
    amount = _estimate(found, metric, figure)
    if metric == MAIN[0]:
        done, most = f"Hiding the {found.units} that a method ranks highest", "most"
    else:
        done, most = f"Keeping only the {found.units} ranked highest", "least"
    effect = "moves the value" if found.regression else "lowers the confidence"
    sentences = [f"{done} {effect} {most} with {best}: {metric} {amount}."]
    if over:
        sentences.append(f"Ahead of it: {_listed(over)}.")
    if peers:
        sentences.append(f"Not told apart from it: {_listed(peers)}.")
    elif not over and len(found.ranking(metric)) > 1:
        sentences.append("All others are behind it.")
    return " ".join(sentences)


def _own(found: EvaluationView, name: str, pick: str | None, difference: Differences) -> Paragraph:
    """What is to be said of NormXLogit."""
    sentences = []
    if len(found.own) > 1:
        sentences.append(
            f"Of the {len(found.own)} variants of NormXLogit here this is about {name}"
            + (
                "."
                if name == SELF
                else ", chosen by its figures on these very texts, which flatters it."
            )
        )
    sentences += [_place(found, name, metric) for metric in MAIN]
    chance = {
        metric: gain(found, metric, beside)
        for metric in MAIN
        if found.random and (beside := difference(metric, name, found.random)) is not None
    }
    sentences += _beside_chance(chance)
    if found.forwards(name) is not None and name != pick:
        sentences.append(f"{_capital(_cost(found, name))}.")
    sentences += _when_not(found, name, pick, chance, difference)
    heading = "Why NormXLogit, and when not" if name == pick else "When NormXLogit is not the one"
    return Paragraph(heading, " ".join(filter(None, sentences)))


def _place(found: EvaluationView, name: str, metric: str) -> str:
    """Its rank in a metric, and how far it is from the best."""
    figure, order = found.figure(name, metric), found.ranking(metric)
    if figure is None:
        return f"{name} has no figure for {metric}."
    if len(order) == 1:
        return ""
    where = f"In {metric}, {name} is number {order.index(name) + 1} of {len(order)}"
    beside = figure["beside_best"]
    if beside is None:
        return f"{where}."
    if not beside["differs"]:
        return f"{where}, and not told apart from the best, {beside['best']}."
    low, high = sorted((abs(beside["low"]), abs(beside["high"])))
    return (
        f"{where}, {found.amount(metric, abs(beside['value']))} behind {beside['best']} "
        f"({found.amount(metric, low)} to {found.amount(metric, high)})."
    )


def _beside_chance(chance: dict[str, str]) -> list[str]:
    """How it compares with random order."""
    says = {
        "better": "is better than random order",
        "same": "is not told apart from random order",
        "worse": "is worse than random order",
    }
    if not chance:
        return []
    if len(set(chance.values())) == 1:
        (said,) = set(chance.values())
        return [f"It {says[said]} in {' and '.join(chance)}."]
    return [f"It {', and '.join(f'{says[said]} in {metric}' for metric, said in chance.items())}."]


def _when_not(
    found: EvaluationView,
    name: str,
    pick: str | None,
    chance: dict[str, str],
    difference: Differences,
) -> list[str]:
    """When NormXLogit is not the method to use."""
    main, brief = MAIN
    if chance.get(main, "better") != "better":
        return ["So it is not the method to use here."]
    sentences = []
    better = [
        other
        for other in found.ranking(main)
        if other != name
        and not found.is_baseline(other)
        and found.methods[other]["method"] != SELF
        and (gap := difference(main, other, name)) is not None
        and gain(found, main, gap) == "better"
    ]
    own = found.forwards(name)
    costs = {other: cost for other in better if (cost := found.forwards(other)) is not None}
    no_dearer = [other for other in costs if own is not None and costs[other] <= ALIKE * own]
    if better and name == pick:
        sentences.append(f"Ahead of it in comprehensiveness alone: {_listed(better)}.")
    elif no_dearer:
        sentences.append(
            f"{_listed(no_dearer)} {'costs' if len(no_dearer) == 1 else 'cost'} no more and "
            f"{_are(no_dearer)} ahead of it in comprehensiveness, so it is not the method to use "
            "here."
        )
    elif better and own is not None and costs:
        other = min(costs, key=lambda one: costs[one])
        sentences.append(
            f"It is not the method to use where {times(costs[other])} times the time of "
            f"classifying a text can be afforded: {_listed(better)} {_are(better)} ahead of it in "
            f"comprehensiveness, and {other} costs the least of these. It is for where that is too "
            "slow."
        )
    elif better:
        sentences.append(
            f"{_listed(better)} {_are(better)} ahead of it in comprehensiveness, so it is not the "
            "method to use where these can be afforded."
        )
    elif len(found.ranking(main)) > 1:
        sentences.append("No other method is shown to be ahead of it in comprehensiveness.")
    else:
        sentences.append("It was compared with nothing, so no figure here says when it is not.")
    if chance.get(brief, "better") != "better":
        sentences.append(
            f"It is not the method to pick a few {found.units} by that are to stand for the whole "
            f"text: random {found.units} did no worse."
        )
    return sentences


def _limits(found: EvaluationView) -> str:
    examples = found.results["examples"]
    count = examples["evaluated"]
    sentences = [
        f"This is from {count} {'example' if count == 1 else 'examples'} and one model. Intervals "
        "hold 95 % of resamples of the examples; where the interval of a difference includes zero, "
        "the two are not told apart, which does not make them equal."
    ]
    if count < FEW:
        sentences.append(
            f"{count} are few: the intervals are wide, and with more examples the order may be "
            "another."
        )
    if len(found.methods) > 5:
        sentences.append(
            f"Among {len(found.methods)} methods, some differences seem real by chance alone: the "
            "intervals are not widened for how many are compared."
        )
    sentences += [_right(found), _hidden(found.settings)]
    return " ".join(filter(None, sentences))


def _right(found: EvaluationView) -> str:
    """How good the model itself is."""
    examples = found.results["examples"]
    accuracy, pearson = examples.get("accuracy"), examples.get("pearson")
    if accuracy is not None:
        said = f"The model itself is right on {percent(accuracy)} of the examples"
        often = max(examples["labels"].values(), default=0) / max(examples["labelled"], 1)
        if len(examples["labels"]) > 1 and accuracy <= often:
            said += f", which saying the most frequent label always would be on {percent(often)}"
    elif pearson is not None:
        said = f"The model's values correlate with the given ones by {pearson:.2f} (Pearson)"
    else:
        return "Without labels it is not known how often the model itself is right."
    return f"{said}; methods are held against what it says, right or wrong."


def _hidden(settings: Any) -> str:
    """What the way to hide words does to the figures."""
    operator = settings["operator"]
    effect = EFFECTS.get(operator, f"the token {operator!r} in place of each token")
    said = (
        f"The {settings['unit']}s were hidden by “{operator}”: {effect}. The model was "
        "hardly trained to classify such texts, so what it says of them need not be what it goes "
        "by in whole ones, and hiding in another way may rank the methods otherwise."
    )
    if settings["preset"] == "paper":
        said += (
            " The preset “paper” hides special tokens too, and is there to be compared with "
            "published figures: decide by the preset “corrected”."
        )
    return said


def _cost(found: EvaluationView, name: str) -> str:
    return (
        f"explaining a text by {name} takes {times(found.forwards(name) or 0)} times as long as "
        "classifying it"
    )


def _estimate(found: EvaluationView, metric: str, figure: Any) -> str:
    low, high = (found.amount(metric, figure[end]) for end in ("low", "high"))
    return f"{found.amount(metric, figure['value'])} (95 % interval {low} to {high})"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
