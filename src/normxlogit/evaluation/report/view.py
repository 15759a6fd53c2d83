"""The results of an evaluation, as its report needs them."""

import math
from collections.abc import Mapping
from typing import Any

from normxlogit.evaluation.method_specs import RANDOM
from normxlogit.show import phrases

BASELINE = "baseline"
SELF = "normxlogit"
MAIN = ("comprehensiveness", "sufficiency")
"""The main metrics of faithfulness, which have a value for every example."""

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
    """A view of results.json and cost.json.

    Attributes:
        results, costs: the content of the files; costs is None if they were not measured.
        methods: the results of each method, the best in comprehensiveness first.
        metrics: the description of each metric.
        settings: the settings of the evaluation.
    """

    def __init__(self, results: Mapping[str, Any], costs: Mapping[str, Any] | None) -> None:
        """Take the content of the files."""
        self.results, self.costs = results, costs
        self.metrics: Mapping[str, Mapping[str, Any]] = results["metrics"]
        self.settings: Mapping[str, Any] = results["settings"]
        methods = results["methods"]
        self.methods: dict[str, Mapping[str, Any]] = {
            name: methods[name] for name in self._ranked(methods, MAIN[0])
        }

    @property
    def regression(self) -> bool:
        """Whether the model predicts a value rather than probabilities."""
        return bool(self.results["problem"] == "regression")

    @property
    def units(self) -> str:
        """The units that are ranked, such as "words"."""
        return f"{self.settings['unit']}s"

    def estimate(self, name: str, metric: str) -> Mapping[str, Any] | None:
        """A method's estimate of a metric, with its interval; None if it has none."""
        estimate: Mapping[str, Any] | None = self.methods[name]["figures"].get(metric)
        return None if estimate is None or _is_missing(estimate["value"]) else estimate

    def examples(self, metric: str) -> int:
        """The number of examples behind a metric, which is the same for all methods."""
        first = next(iter(self.methods.values()))
        return int(first["figures"][metric]["examples"])

    def ranking(self, metric: str) -> list[str]:
        """The methods that have this metric, the best first."""
        return [
            name
            for name in self._ranked(self.methods, metric)
            if metric in self.metrics and self.estimate(name, metric) is not None
        ]

    def ahead(self, metric: str) -> list[str]:
        """The best method in a metric, followed by those not significantly behind it."""
        places = {name: self.beside_best(name, metric) for name in self.ranking(metric)}
        others = [name for name, place in places.items() if place in ("same", "ahead")]
        return [name for name, place in places.items() if place == "best"] + others

    def beside_best(self, name: str, metric: str) -> str:
        """Compare a method with the best: "best" itself, "same" if statistically
        indistinguishable, else "behind".

        Random order, which is never the best, may be "ahead" of it.
        """
        estimate = self.estimate(name, metric)
        if estimate is None or estimate["beside_best"] is None:
            return "best"
        gap = estimate["beside_best"]
        if not gap["differs"]:
            return "same"
        return "ahead" if self.is_gain(metric, gap["value"]) else "behind"

    def is_gain(self, metric: str, difference: float) -> bool:
        """Whether a difference of this sign is an improvement in `metric`."""
        return bool((difference > 0) == self.metrics[metric]["higher_is_better"])

    def is_baseline(self, name: str) -> bool:
        """Whether a method ignores what the model makes of the text."""
        return bool(self.methods[name]["family"] == BASELINE)

    @property
    def random(self) -> str | None:
        """The name of the random baseline; None if it was not evaluated."""
        return next((n for n, m in self.methods.items() if m["method"] == RANDOM), None)

    @property
    def variants(self) -> list[str]:
        """The variants of NormXLogit, the one without options first, then from the best on."""
        names = [name for name, method in self.methods.items() if method["method"] == SELF]
        return sorted(names, key=lambda name: name != SELF)

    def forwards(self, name: str) -> float | None:
        """The time to explain a text as a multiple of classifying it; None if not measured."""
        cost = (self.costs or {}).get("methods", {}).get(name)
        if cost is None or _is_missing(cost["forwards"]) or cost["forwards"] <= 0:
            return None
        return float(cost["forwards"])

    def by_layer(self) -> dict[str, dict[int, str]]:
        """Group methods that differ only in their layer.

        Returns:
            For each group, named by what its methods share, the method's name at each layer.
        """
        groups: dict[tuple[Any, ...], dict[int, str]] = {}
        for spec in self.settings["candidates"]:
            if spec["layer"] is not None and spec["name"] in self.methods:
                groups.setdefault(_without_layer(spec), {})[spec["layer"]] = spec["name"]
        return {
            ":".join(filter(None, shared)): dict(sorted(layers.items()))
            for shared, layers in groups.items()
            if len(layers) > 1
        }

    def representatives(self) -> list[str]:
        """The methods, in their order, with one from each group that differs only in the layer.

        It is the one without a layer, if there is one, or else the one at the last layer.
        """
        specs = {s["name"]: s for s in self.settings["candidates"] if s["name"] in self.methods}
        without_layer = {_without_layer(s) for s in specs.values() if s["layer"] is None}
        left_out = set()
        for layers in self.by_layer().values():
            *others, last = layers.values()
            left_out.update(others)
            if _without_layer(specs[last]) in without_layer:
                left_out.add(last)
        return [name for name in self.methods if name not in left_out]

    def amount(self, metric: str, value: float) -> str:
        """Format a value, with three digits for the largest of its metric."""
        values = [e["value"] for name in self.methods if (e := self.estimate(name, metric))]
        largest = max((abs(value) for value in values), default=0.0) or 1.0
        return phrases.number(value, largest, signed=False)

    def signed(self, metric: str, value: float) -> str:
        """Format a difference, with its sign."""
        shown = self.amount(metric, value)
        return f"+{shown}" if value > 0 else shown

    def interval(self, metric: str, estimate: Mapping[str, Any]) -> str:
        """Format the interval of an estimate, such as "[0.1, 0.2]"."""
        low, high = (self.amount(metric, estimate[end]) for end in ("low", "high"))
        return f"[{low}, {high}]"

    def _ranked(self, methods: Mapping[str, Any], metric: str) -> list[str]:
        sign = -1 if self.metrics.get(metric, {}).get("higher_is_better", True) else 1

        def place(name: str) -> tuple[bool, float, str]:
            estimate = methods[name]["figures"].get(metric)
            missing = estimate is None or _is_missing(estimate["value"])
            return missing, 0.0 if missing else sign * estimate["value"], name

        return sorted(methods, key=place)


def title(metric: str) -> str:
    """The title of a metric."""
    return _TITLES.get(metric, metric.replace("_", " ").capitalize())


def times(forwards: float) -> str:
    """Format a multiple, with two digits or all digits of a whole number."""
    if forwards >= 10:
        return f"{forwards:.0f}"
    return f"{forwards:.1f}" if forwards >= 0.95 else f"{forwards:.2f}"


def _without_layer(spec: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The settings of a method except its name and layer, in a comparable form."""
    options = sorted(f"{name}={value}" for name, value in spec["options"].items())
    reduction = None if spec["reduction"] == "sum" else f"reduction={spec['reduction']}"
    return spec["method"], spec["readout"], reduction, *options


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
