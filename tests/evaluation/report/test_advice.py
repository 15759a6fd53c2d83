"""The advice of a report: what to use, and what limits it."""

import numpy as np
import pytest

from normxlogit.evaluation.metrics.bootstrap import Estimate
from normxlogit.evaluation.report.advice import advice
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.methods import METHODS
from tests.helpers.random_evaluation import METRICS, Data, method_costs, random_evaluation


def figures_of(**values: tuple[float, float, float | None]) -> EvaluationView:
    """Findings of methods with a comprehensiveness, a sufficiency and a cost.

    A method is behind the best if it differs by more than 0.05.
    """
    metrics = {"comprehensiveness": 0, "sufficiency": 1}
    methods: dict[str, Data] = {}
    for name in values:
        known = METHODS[name.partition(":")[0]]
        methods[name] = {"method": known.name, "family": known.family, "cost": "", "figures": {}}
    for metric, place in metrics.items():
        sizes = {name: (one, other)[place] for name, (one, other, _) in values.items()}
        named = [name for name in values if name != "random"]
        best = (max if place == 0 else min)(named, key=sizes.__getitem__)
        for name, value in sizes.items():
            gap = value - sizes[best]
            methods[name]["figures"][metric] = {
                "value": value,
                "low": value - 0.02,
                "high": value + 0.02,
                "examples": 400,
                "by_ratio": None,
                "beside_best": None
                if name == best
                else {
                    "best": best,
                    "value": gap,
                    "low": gap - 0.05,
                    "high": gap + 0.05,
                    "differs": abs(gap) > 0.05,
                },
            }
    results, _ = random_evaluation(("normxlogit",), examples=5)
    results["examples"]["evaluated"] = 400
    costs = {n: {"forwards": cost} for n, (_, _, cost) in values.items() if cost is not None}
    return EvaluationView(
        {**results, "methods": methods, "metrics": METRICS},
        {"examples": 16, "forward_seconds": 0.01, "methods": costs} if costs else None,
    )


def says(found: EvaluationView) -> list[tuple[str, str]]:
    """The advice, where methods differ if they do so by more than 0.05."""

    def difference(metric: str, one: str, other: str) -> Estimate:
        values = [found.methods[name]["figures"][metric]["value"] for name in (one, other)]
        gap = values[0] - values[1]
        return Estimate(gap, np.repeat([gap - 0.05, gap + 0.05], 100))

    return [(paragraph.heading, paragraph.text) for paragraph in advice(found, difference)]


class TestAdvice:
    def test_the_best_is_to_be_used_if_it_is_told_apart(self) -> None:
        (use, why), (_, own), _ = says(
            figures_of(occlusion=(0.5, 0.1, 50), normxlogit=(0.3, 0.3, 1.2), random=(0.1, 0.5, 1.0))
        )
        assert use == "Use occlusion here"
        assert "most with occlusion: comprehensiveness 0.500 (95% interval 0.480 to 0.520)" in why
        assert why.count("All others are behind it.") == 2
        assert "Occlusion hides words one at a time" in why
        assert "number 2 of 3, 0.200 behind occlusion (0.150 to 0.250)" in own
        assert "better than random order in comprehensiveness and sufficiency" in own
        assert "takes 1.2 times as long as classifying it" in own
        assert "not the method to use where 50 times" in own

    def test_instead_of_a_slow_method_a_head_may_be_fitted(self) -> None:
        rest = {"normxlogit": (0.3, 0.3, 1.2), "random": (0.1, 0.5, 1.0)}
        head = {"attribution_head": (0.4, 0.2, 1.3)}
        for methods, is_advised in (
            ({"occlusion": (0.5, 0.1, 50), **rest}, True),
            ({"occlusion": (0.5, 0.1, 50), **rest, **head}, False),
            ({"late_lrp": (0.5, 0.1, 1.9), **rest}, False),
            ({"occlusion": (0.5, 0.1, None), **rest}, False),
        ):
            (_, why), *_ = says(figures_of(**methods))
            assert ("by the command fit" in why) is is_advised

    def test_of_those_not_told_apart_the_cheapest_is_to_be_used(self) -> None:
        (use, why), (about, own), _ = says(
            figures_of(
                integrated_gradients=(0.5, 0.1, 50),
                gradient_x_input=(0.47, 0.12, 4),
                normxlogit=(0.46, 0.14, 1.2),
                random=(0.1, 0.5, 1.0),
            )
        )
        assert use == "Use normxlogit here"
        assert (
            why.count("Statistically indistinguishable from it: gradient_x_input and normxlogit.")
            == 2
        )
        assert (
            "normxlogit is the cheapest of them: explaining a text by normxlogit takes 1.2" in why
        )
        assert about == "Why NormXLogit, and when not"
        assert "statistically indistinguishable from the best, integrated_gradients" in own
        assert "No other method is shown to be ahead of it" in own

    def test_costs_a_quarter_apart_are_alike(self) -> None:
        pair = {"gradient_norm": (0.5, 0.1, 4.9), "gradient_x_input": (0.47, 0.12, 4.0)}
        assert says(figures_of(**pair))[0][0] == "Use gradient_norm here"
        pair["gradient_norm"] = (0.5, 0.1, 5.1)
        assert says(figures_of(**pair))[0][0] == "Use gradient_x_input here"

    def test_a_method_has_to_be_at_the_top_in_both(self) -> None:
        (use, why), *_ = says(
            figures_of(gradient_norm=(0.5, 0.1, 4), attention=(0.48, 0.4, 2), alti=(0.2, 0.09, 2))
        )
        assert use == "Use gradient_norm here"
        assert "decides here" not in why
        (use, why), *_ = says(figures_of(gradient_norm=(0.5, 0.3, 4), attention=(0.4, 0.1, 2)))
        assert use == "Use gradient_norm here"
        assert "No method is at the top in both metrics; comprehensiveness decides here." in why

    def test_nothing_is_recommended_if_a_baseline_is_at_the_top(self) -> None:
        for value in (0.47, 0.6):
            (use, why), (_, own), _ = says(
                figures_of(normxlogit=(0.5, 0.1, 1.2), random=(value, 0.5, 1.0))
            )
            assert use == "No method can be recommended on these figures"
            assert "random is no explanation" in why
            assert "So it is not the method to use here." in own
            assert ("Ahead of it: random." in why) == (value == 0.6)

    def test_a_method_no_better_than_random_is_not_recommended(self) -> None:
        found = figures_of(
            occlusion=(0.5, 0.1, 50), normxlogit=(0.46, 0.12, 1), random=(0.42, 0.5, 1)
        )
        assert says(found)[0][0] == "Use occlusion here"
        assert (
            "It is statistically indistinguishable from random order in comprehensiveness, and"
            in says(found)[1][1]
        )

    def test_what_costs_no_more_and_is_ahead_takes_its_place(self) -> None:
        _, (_, own), _ = says(
            figures_of(logat=(0.5, 0.1, 1.3), normxlogit=(0.3, 0.3, 1.2), random=(0.1, 0.5, 1.0))
        )
        assert "logat costs no more and is ahead of it in comprehensiveness, so it is not" in own

    def test_sufficiency_no_better_than_random(self) -> None:
        for value, word in ((0.48, "statistically indistinguishable from"), (0.7, "worse than")):
            _, (_, own), _ = says(
                figures_of(alti=(0.5, 0.1, 5), normxlogit=(0.4, value, 1.2), random=(0.1, 0.5, 1.0))
            )
            assert f"better than random order in comprehensiveness, and is {word} random" in own
            assert "random words did no worse" in own

    def test_without_normxlogit_it_is_not_spoken_of(self) -> None:
        found = figures_of(alti=(0.5, 0.1, 5), random=(0.1, 0.5, 1.0))
        assert "normxlogit" not in " ".join(f"{a} {b}" for a, b in says(found)).lower()
        assert says(found)[0][0] == "alti was compared with no other method that looks at the model"

    def test_a_method_alone_is_compared_with_nothing(self) -> None:
        (use, _), (_, own), _ = says(figures_of(normxlogit=(0.5, 0.1, 1.2)))
        assert use == "normxlogit was compared with no other method that looks at the model"
        assert own == "It was compared with nothing, so no figure here says when it is not."

    def test_a_variant_is_said_to_be_chosen(self) -> None:
        names = ("normxlogit", "normxlogit:layer=2", "normxlogit:layer=4")
        results, scores = random_evaluation(names)
        found = EvaluationView(results, method_costs(results))
        _, own, _ = advice(found, PairedBootstrap(scores, 0).difference)
        assert "Of the 3 variants" in own.text
        assert "normxlogit:layer=4, chosen by its figures on these very texts" in own.text

    def test_costs_that_are_not_known(self) -> None:
        found = figures_of(alti=(0.5, 0.1, None), normxlogit=(0.3, 0.3, None))
        (use, why), (_, own), _ = says(found)
        assert use == "Use alti here"
        assert "The cost of the methods was not measured." in why
        assert "where these can be afforded" in own
        (use, why), *_ = says(figures_of(alti=(0.5, 0.1, None), normxlogit=(0.48, 0.1, 2)))
        assert use == "Use normxlogit here"
        assert "The cost of alti is not known." in why

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"evaluated": 99}, "99 are few"),
            ({"evaluated": 1}, "from 1 example and"),
            (
                {"accuracy": 0.6, "labels": {"a": 3, "b": 2}, "labelled": 5},
                "always predicting the most frequent label would be (60.0%)",
            ),
            ({"accuracy": 0.9, "labels": {"a": 3, "b": 2}, "labelled": 5}, "right on 90.0%"),
            ({"accuracy": None}, "Without labels it is not known"),
            ({"accuracy": None, "pearson": 0.81}, "correlate with the labels by 0.81"),
        ],
    )
    def test_what_limits_it(self, changes: Data, said: str) -> None:
        found = figures_of(alti=(0.5, 0.1, 5), normxlogit=(0.3, 0.3, 1))
        assert said not in says(found)[-1][1]
        found.results["examples"].update(changes)
        text = says(found)[-1][1]
        assert said in text
        assert ("always predicting" in text) == (changes.get("accuracy") == 0.6)
        assert "hidden by “mask”" in text

    def test_ways_to_hide_and_presets_are_named(self) -> None:
        found = figures_of(alti=(0.5, 0.1, 5))
        found.results["settings"].update(operator="…", preset="paper", unit="token")
        assert "tokens were hidden by “…”: the token '…' in place" in says(found)[-1][1]
        assert "decide by the preset “corrected”" in says(found)[-1][1]

    def test_a_regression_has_no_confidence(self) -> None:
        results, scores = random_evaluation(("normxlogit", "alti"), regression=True)
        texts = advice(EvaluationView(results, None), PairedBootstrap(scores, 0).difference)
        assert "confidence" not in " ".join(paragraph.text for paragraph in texts)
        assert "moves the value most with" in texts[0].text
