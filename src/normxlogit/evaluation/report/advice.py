"""The advice of a report: which method to use and why, and when not NormXLogit, by fixed rules.

A method is recommended if it is statistically indistinguishable from the best in comprehensiveness
and in sufficiency (if none is in both: in comprehensiveness), and the cheapest of these; if costs
differ by no more than a quarter, the better estimate decides. If a baseline, such as random order,
is indistinguishable from the best, no method is recommended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from normxlogit.evaluation.metrics.bootstrap import Estimate
from normxlogit.evaluation.perturb.operators import EFFECTS
from normxlogit.evaluation.report.verdicts import verdict
from normxlogit.evaluation.report.view import MAIN, SELF, EvaluationView, times
from normxlogit.show.phrases import decimal, percent, quoted

FEW = 100
"""With fewer examples the advice warns that they are few."""
ALIKE = 1.25
"""The ratio up to which costs count as the same."""
DEAR = 2
"""A method that takes more times as long as classifying may be too slow for a corpus."""
HEAD = "attribution_head"

Differences = Callable[[str, str, str], Estimate | None]
"""Take a metric and two methods; return the first's estimate minus the second's."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text.

    Attributes:
        heading: its heading.
        message: what to take from it.
        details: the figures behind that; may be empty.
    """

    heading: str
    message: str
    details: str = ""

    @property
    def text(self) -> str:
        """The whole of it."""
        return f"{self.message} {self.details}".rstrip()


def advice(view: EvaluationView, difference: Differences) -> list[Paragraph]:
    """Write the advice.

    Args:
        view: the results.
        difference: the difference of two methods in a metric; called for those in `MAIN`.
    """
    pool = recommendable(view, difference)
    pick = cheapest(view, pool) if pool else None
    paragraphs = [
        Paragraph(_verdict(view, pick), _in_short(view, pick), _reasons(view, pick, pool))
    ]
    if view.variants:
        about = pick if pick in view.variants else view.variants[0]
        paragraphs.append(_about_normxlogit(view, about, pick, difference))
    return [*paragraphs, _limits(view)]


def recommendable(view: EvaluationView, difference: Differences) -> list[str]:
    """The best methods, between which the estimates do not decide; none if a baseline is one."""
    main, brief = MAIN
    first = view.ahead(main)
    if any(view.is_baseline(name) for name in first):
        return []
    if view.random is not None:
        # A method may be indistinguishable both from the best and from random order.
        gaps = {name: difference(main, name, view.random) for name in first}
        first = [
            n for n, gap in gaps.items() if gap is None or verdict(view, main, gap) == "better"
        ]
    return [name for name in first if name in view.ahead(brief)] or first


def cheapest(view: EvaluationView, pool: Sequence[str]) -> str:
    """The cheapest of some methods, which are in the order of their estimates.

    Among methods that cost about the same it is the first.
    """
    costs = {name: cost for name in pool if (cost := view.forwards(name)) is not None}
    if not costs:
        return pool[0]
    least = min(costs.values())
    return next(name for name in pool if costs.get(name, float("inf")) <= ALIKE * least)


def _verdict(view: EvaluationView, pick: str | None) -> str:
    if pick is None:
        return "No method can be recommended on these figures"
    if len([name for name in view.methods if not view.is_baseline(name)]) == 1:
        return f"{pick} was compared with no other method that looks at the model"
    return f"Use {pick} here"


def _in_short(view: EvaluationView, pick: str | None) -> str:
    """Say what hiding does by the method that is recommended, and what that costs."""
    if pick is None:
        baselines = [name for name in view.ahead(MAIN[0]) if view.is_baseline(name)]
        return (
            f"{_listed(baselines)} {_are(baselines)} no explanation, yet not shown to be behind "
            "the best in comprehensiveness, so nothing here shows that any method ranks better "
            f"than that. More examples, or another way to hide {view.units}, may."
        )
    effect = "moves the value" if view.regression else "lowers the confidence"
    drop = f"Hiding the {view.units} that it ranks highest {effect} by {_value(view, pick)}"
    if view.random is not None and view.estimate(view.random, MAIN[0]) is not None:
        drop += f" on average, hiding random {view.units} by {_value(view, view.random)}"
    cost = "" if view.forwards(pick) is None else f" {_capital(_cost(view, pick))}."
    return f"{drop}.{cost}"


def _value(view: EvaluationView, name: str) -> str:
    estimate = view.estimate(name, MAIN[0])
    return "–" if estimate is None else view.amount(MAIN[0], estimate["value"])


def _reasons(view: EvaluationView, pick: str | None, pool: Sequence[str]) -> str:
    sentences = [_leading(view, metric) for metric in MAIN]
    first, second = (view.ahead(metric) for metric in MAIN)
    if pick is None:
        return " ".join(sentences)
    if pick not in second:
        sentences.append(
            "No method is at the top in both metrics; comprehensiveness decides here. If a few "
            f"{view.units} are to stand for the whole text, go by sufficiency."
        )
    sentences += _costs(view, pick, pool)
    if any(view.methods[name]["method"] == "occlusion" for name in first):
        sentences.append(
            f"Occlusion hides {view.units} one at a time to compute its scores, much as the test "
            "does to judge them, which favours it."
        )
    return " ".join(sentences)


def _costs(view: EvaluationView, pick: str, pool: Sequence[str]) -> list[str]:
    """Why this method of the pool, as far as costs decide."""
    sentences = []
    cost = view.forwards(pick)
    if len(pool) > 1 and cost is not None:
        unmeasured = [name for name in pool if view.forwards(name) is None]
        is_least = all(cost <= (view.forwards(name) or cost) for name in pool)
        sentences.append(
            f"The figures do not decide between {_listed(pool)}; {pick} "
            f"{'is the cheapest' if is_least else 'costs about as little as any'} of them: "
            f"{_cost(view, pick)}."
        )
        if unmeasured:
            sentences.append(f"The cost of {_listed(unmeasured)} is not known.")
    if view.costs is None:
        sentences.append("The cost of the methods was not measured.")
    is_compared = any(method["method"] == HEAD for method in view.methods.values())
    if cost is not None and cost > DEAR and not is_compared:
        sentences.append(
            "Where that is too slow, an attribution head may do: fitted to the model once, by the "
            "command fit, it explains a text at about the price of classifying it, and --head "
            "compares it with these."
        )
    return sentences


def _leading(view: EvaluationView, metric: str) -> str:
    """Name the best method in a metric, and those indistinguishable from it."""
    best, *others = view.ahead(metric)
    peers = [name for name in others if view.beside_best(name, metric) == "same"]
    ahead = [name for name in others if name not in peers]
    amount = _estimate(view, metric, view.estimate(best, metric))
    if metric == MAIN[0]:
        action, most = f"Hiding the {view.units} that a method ranks highest", "most"
    else:
        action, most = f"Keeping only the {view.units} ranked highest", "least"
    effect = "moves the value" if view.regression else "lowers the confidence"
    sentences = [f"{action} {effect} {most} with {best}: {metric} {amount}."]
    if ahead:
        sentences.append(f"Ahead of it: {_listed(ahead)}.")
    if peers:
        sentences.append(f"Statistically indistinguishable from it: {_listed(peers)}.")
    elif not ahead and len(view.ranking(metric)) > 1:
        sentences.append("All others are behind it.")
    return " ".join(sentences)


def _about_normxlogit(
    view: EvaluationView, name: str, pick: str | None, difference: Differences
) -> Paragraph:
    sentences = []
    if len(view.variants) > 1:
        sentences.append(
            f"Of the {len(view.variants)} variants of NormXLogit here this is about {name}"
            + (
                "."
                if name == SELF
                else ", chosen by its figures on these very texts, which flatters it."
            )
        )
    sentences += [_place(view, name, metric) for metric in MAIN]
    chance = {
        metric: verdict(view, metric, gap)
        for metric in MAIN
        if view.random and (gap := difference(metric, name, view.random)) is not None
    }
    sentences += _beside_chance(chance)
    if view.forwards(name) is not None and name != pick:
        sentences.append(f"{_capital(_cost(view, name))}.")
    heading = "Why NormXLogit, and when not" if name == pick else "When not to use NormXLogit"
    message = " ".join(_when_not(view, name, pick, chance, difference))
    return Paragraph(heading, message, " ".join(filter(None, sentences)))


def _place(view: EvaluationView, name: str, metric: str) -> str:
    """Name a method's rank in a metric and its distance from the best."""
    estimate, order = view.estimate(name, metric), view.ranking(metric)
    if estimate is None:
        return f"{name} has no figure for {metric}."
    if len(order) == 1:
        return ""
    place = f"In {metric}, {name} is number {order.index(name) + 1} of {len(order)}"
    gap = estimate["beside_best"]
    if gap is None:
        return f"{place}."
    if not gap["differs"]:
        return f"{place}, and statistically indistinguishable from the best, {gap['best']}."
    low, high = sorted((abs(gap["low"]), abs(gap["high"])))
    return (
        f"{place}, {view.amount(metric, abs(gap['value']))} behind {gap['best']} "
        f"({view.amount(metric, low)} to {view.amount(metric, high)})."
    )


def _beside_chance(chance: dict[str, str]) -> list[str]:
    """Compare with random order; `chance` has the outcome by metric."""
    phrases = {
        "better": "is better than random order",
        "same": "is statistically indistinguishable from random order",
        "worse": "is worse than random order",
    }
    if not chance:
        return []
    if len(set(chance.values())) == 1:
        (outcome,) = set(chance.values())
        return [f"It {phrases[outcome]} in {' and '.join(chance)}."]
    clauses = [f"{phrases[outcome]} in {metric}" for metric, outcome in chance.items()]
    return [f"It {', and '.join(clauses)}."]


def _when_not(
    view: EvaluationView,
    name: str,
    pick: str | None,
    chance: dict[str, str],
    difference: Differences,
) -> list[str]:
    """Say when NormXLogit is not the method to use."""
    main, brief = MAIN
    if chance.get(main, "better") != "better":
        return ["So it is not the method to use here."]
    better = [
        other
        for other in view.ranking(main)
        if other != name
        and not view.is_baseline(other)
        and view.methods[other]["method"] != SELF
        and (gap := difference(main, other, name)) is not None
        and verdict(view, main, gap) == "better"
    ]
    sentences = [_against_better(view, name, better, is_pick=name == pick)]
    if not better and name in view.ranking(brief) and view.beside_best(name, brief) == "behind":
        best = view.ahead(brief)[0]
        sentences.append(
            f"Where a few {view.units} are to stand for the whole text, use {best}, which is "
            "ahead of it in sufficiency."
        )
    if chance.get(brief, "better") != "better":
        sentences.append(
            f"It is not the method to pick a few {view.units} by that are to stand for the whole "
            f"text: random {view.units} did no worse."
        )
    return sentences


def _against_better(
    view: EvaluationView, name: str, better: Sequence[str], *, is_pick: bool
) -> str:
    """Weigh a method against those that are better in comprehensiveness, by cost."""
    cost = view.forwards(name)
    costs = {other: c for other in better if (c := view.forwards(other)) is not None}
    no_dearer = [other for other in costs if cost is not None and costs[other] <= ALIKE * cost]
    if better and is_pick:
        return f"Ahead of it in comprehensiveness alone: {_listed(better)}."
    if no_dearer:
        return (
            f"{_listed(no_dearer)} {'costs' if len(no_dearer) == 1 else 'cost'} no more and "
            f"{_are(no_dearer)} ahead of it in comprehensiveness, so it is not the method to use "
            "here."
        )
    if better and cost is not None and costs:
        least = min(costs, key=lambda other: costs[other])
        return (
            f"It is not the method to use where {times(costs[least])} times the time of "
            f"classifying a text can be afforded: {_listed(better)} {_are(better)} ahead of it in "
            f"comprehensiveness, and {least} costs the least of these. It is for where that is too "
            "slow."
        )
    if better:
        return (
            f"{_listed(better)} {_are(better)} ahead of it in comprehensiveness, so it is not the "
            "method to use where these can be afforded."
        )
    if len(view.ranking(MAIN[0])) > 1:
        return "No other method is shown to be ahead of it in comprehensiveness."
    return "It was compared with nothing, so no figure here says when it is not."


def _limits(view: EvaluationView) -> Paragraph:
    examples = view.results["examples"]
    count = examples["evaluated"]
    message = f"This is from {count:,} {'example' if count == 1 else 'examples'} and one model."
    if count < FEW:
        message += (
            f" {count} are few: the intervals are wide, and more examples may change the order."
        )
    sentences = [
        "Intervals cover 95% of resamples of the examples. Two methods are statistically "
        "indistinguishable if the interval of their difference includes zero, which does not make "
        "them equal."
    ]
    if len(view.methods) > 5:
        sentences.append(
            f"Among {len(view.methods)} methods, some differences seem real by chance alone: the "
            "intervals are not widened for the number of comparisons."
        )
    sentences += [_model_quality(view), _hidden(view.settings)]
    return Paragraph("How far to trust this", message, " ".join(filter(None, sentences)))


def _model_quality(view: EvaluationView) -> str:
    """Say how good the model itself is."""
    examples = view.results["examples"]
    accuracy, pearson = examples.get("accuracy"), examples.get("pearson")
    if accuracy is not None:
        quality = f"The model itself is right on {percent(accuracy)} of the examples"
        frequency = max(examples["labels"].values(), default=0) / max(examples["labelled"], 1)
        if len(examples["labels"]) > 1 and accuracy <= frequency:
            quality += (
                ", no more than always predicting the most frequent label would be "
                f"({percent(frequency)})"
            )
    elif pearson is not None:
        quality = f"The model's values correlate with the labels by {decimal(pearson, 2)} (Pearson)"
    else:
        return "Without labels it is not known how often the model itself is right."
    return f"{quality}; methods are tested on its predictions, right or wrong."


def _hidden(settings: Any) -> str:
    """Say how the operator affects the results."""
    operator = settings["operator"]
    effect = EFFECTS.get(operator, f"the token {operator!r} in place of each token")
    text = (
        f"The {settings['unit']}s were hidden by {quoted(operator)}: {effect}. The model was "
        "hardly trained to classify such texts, so its output for them need not rest on what it "
        "uses in whole ones, and hiding in another way may rank the methods differently."
    )
    if settings["preset"] == "paper":
        text += (
            " The preset “paper” hides special tokens too, and is meant for comparison with "
            "published figures: decide by the preset “corrected”."
        )
    return text


def _cost(view: EvaluationView, name: str) -> str:
    return (
        f"explaining a text by {name} takes {times(view.forwards(name) or 0)} times as long as "
        "classifying it"
    )


def _estimate(view: EvaluationView, metric: str, estimate: Any) -> str:
    low, high = (view.amount(metric, estimate[end]) for end in ("low", "high"))
    return f"{view.amount(metric, estimate['value'])} (95% interval {low} to {high})"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
