"""What an evaluation found, as its report asks for it."""

import math
from collections.abc import Mapping
from typing import Any

from normxlogit.evaluation.method_specs import RANDOM
from normxlogit.show import phrases

BASELINE = "baseline"
SELF = "normxlogit"
MAIN = ("comprehensiveness", "sufficiency")
"""The figures that say how faithful a ranking is, of which every example has its own."""

_TITLES = {
    "naopc_comprehensiveness": "NAOPC comprehensiveness",
    "naopc_sufficiency": "NAOPC sufficiency",
    "loo_tau": "Leave-one-out τ",
    "pi_soft_nc": "π-Soft-NC",
    "pi_soft_ns": "π-Soft-NS",
    "comprehensiveness_accuracy": "Accuracy, top hidden",
    "sufficiency_accuracy": "Accuracy, top alone",
    "comprehensiveness_pearson": "Correlation, top hidden",
    "sufficiency_pearson": "Correlation, top alone",
}


class EvaluationView:
    """The content of results.json and cost.json.

    Attributes:
        results, costs: these; costs None if not measured.
        methods: what was found of each method, the best in comprehensiveness first.
        metrics: what there is to say of each metric.
        settings: how it was measured.
    """

    def __init__(self, results: Mapping[str, Any], costs: Mapping[str, Any] | None) -> None:
        """Take what was read from the files."""
        self.results, self.costs = results, costs
        self.metrics: Mapping[str, Mapping[str, Any]] = results["metrics"]
        self.settings: Mapping[str, Any] = results["settings"]
        found = results["methods"]
        self.methods: dict[str, Mapping[str, Any]] = {
            name: found[name] for name in self._ranked(found, MAIN[0])
        }

    @property
    def regression(self) -> bool:
        """Whether the model's output is a value, rather than probabilities."""
        return bool(self.results["problem"] == "regression")

    @property
    def units(self) -> str:
        """What is ranked, such as "words"."""
        return f"{self.settings['unit']}s"

    def figure(self, name: str, metric: str) -> Mapping[str, Any] | None:
        """A method's figure; None if it has none."""
        figure: Mapping[str, Any] | None = self.methods[name]["figures"].get(metric)
        return None if figure is None or _unknown(figure["value"]) else figure

    def examples(self, metric: str) -> int:
        """How many examples a metric's figures are of, the same for all methods."""
        return next(int(one["figures"][metric]["examples"]) for one in self.methods.values())

    def ranking(self, metric: str) -> list[str]:
        """The methods that have this figure, the best first."""
        return [
            name
            for name in self._ranked(self.methods, metric)
            if metric in self.metrics and self.figure(name, metric) is not None
        ]

    def ahead(self, metric: str) -> list[str]:
        """The best method in a metric, and then those that are not shown to be behind it."""
        places = {name: self.beside_best(name, metric) for name in self.ranking(metric)}
        others = [name for name, place in places.items() if place in ("same", "ahead")]
        return [name for name, place in places.items() if place == "best"] + others

    def beside_best(self, name: str, metric: str) -> str:
        """Whether a method is the "best", the "same" as far as can be told, or "behind".

        Random order, which is never called the best, may be "ahead" of it.
        """
        figure = self.figure(name, metric)
        if figure is None or figure["beside_best"] is None:
            return "best"
        gap = figure["beside_best"]
        if not gap["differs"]:
            return "same"
        return "ahead" if self.is_gain(metric, gap["value"]) else "behind"

    def is_gain(self, metric: str, difference: float) -> bool:
        """Whether what has so much more of a metric is the better for it."""
        return bool((difference > 0) == self.metrics[metric]["higher_is_better"])

    def is_baseline(self, name: str) -> bool:
        """Whether a method does not look at what the model makes of the text."""
        return bool(self.methods[name]["family"] == BASELINE)

    @property
    def random(self) -> str | None:
        """The name of the random order, if it is among the methods."""
        return next((n for n, one in self.methods.items() if one["method"] == RANDOM), None)

    @property
    def own(self) -> list[str]:
        """NormXLogit's candidates, the one with no options first, then the best."""
        names = [name for name, one in self.methods.items() if one["method"] == SELF]
        return sorted(names, key=lambda name: name != SELF)

    def forwards(self, name: str) -> float | None:
        """How many times as long explaining a text takes as classifying it; None if unknown."""
        found = (self.costs or {}).get("methods", {}).get(name)
        if found is None or _unknown(found["forwards"]) or found["forwards"] <= 0:
            return None
        return float(found["forwards"])

    def by_layer(self) -> dict[str, dict[int, str]]:
        """Candidates that differ in nothing but their layer: of each such group, called by what
        they share, the candidate's name of each layer.
        """
        groups: dict[tuple[Any, ...], dict[int, str]] = {}
        for one in self.settings["candidates"]:
            if one["layer"] is not None and one["name"] in self.methods:
                shared = (one["method"], one["readout"], *sorted(_options(one["options"])))
                groups.setdefault(shared, {})[one["layer"]] = one["name"]
        return {
            ":".join(filter(None, shared)): dict(sorted(layers.items()))
            for shared, layers in groups.items()
            if len(layers) > 1
        }

    def representatives(self) -> list[str]:
        """The methods, in their order; of those that differ in their layer only, one.

        It is left out for the same method without a layer, or else the last layer's.
        """
        left_out = set()
        plain = {
            (one["method"], one["readout"], *_options(one["options"]))
            for one in self.settings["candidates"]
            if one["layer"] is None and one["name"] in self.methods
        }
        by_name = {one["name"]: one for one in self.settings["candidates"]}
        for layers in self.by_layer().values():
            *others, last = layers.values()
            one = by_name[last]
            left_out.update(others)
            if (one["method"], one["readout"], *_options(one["options"])) in plain:
                left_out.add(last)
        return [name for name in self.methods if name not in left_out]

    def amount(self, metric: str, value: float) -> str:
        """A figure, with three digits for the largest of its metric."""
        values = [figure["value"] for name in self.methods if (figure := self.figure(name, metric))]
        largest = max((abs(value) for value in values), default=0.0) or 1.0
        return phrases.number(value, largest).lstrip("+").replace("-", "−")

    def signed(self, metric: str, value: float) -> str:
        """The same of a difference, with its sign."""
        shown = self.amount(metric, value)
        return f"+{shown}" if value > 0 else shown

    def interval(self, metric: str, found: Mapping[str, Any]) -> str:
        """The ends of an interval, such as "[0.1, 0.2]"."""
        return f"[{self.amount(metric, found['low'])}, {self.amount(metric, found['high'])}]"

    def _ranked(self, methods: Mapping[str, Any], metric: str) -> list[str]:
        sign = -1 if self.metrics.get(metric, {}).get("higher_is_better", True) else 1

        def place(name: str) -> tuple[bool, float, str]:
            figure = methods[name]["figures"].get(metric)
            missing = figure is None or _unknown(figure["value"])
            return missing, 0.0 if missing else sign * figure["value"], name

        return sorted(methods, key=place)


def title(metric: str) -> str:
    """What a metric is called."""
    return _TITLES.get(metric, metric.replace("_", " ").capitalize())


def times(forwards: float) -> str:
    """How many times as long, with two digits, or all of a whole number."""
    if forwards >= 10:
        return f"{forwards:.0f}"
    return f"{forwards:.1f}" if forwards >= 0.95 else f"{forwards:.2f}"


def _options(options: Mapping[str, Any]) -> list[str]:
    return sorted(f"{name}={value}" for name, value in options.items())


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)
