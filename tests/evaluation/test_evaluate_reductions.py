"""Methods evaluated with words scored by the sum, the mean or the largest of their tokens."""

from typing import Any

import numpy as np
import pytest

from normxlogit import Explainer, OptionError
from normxlogit.evaluation.plan import plan_of
from tests.helpers.evaluation import ROWS, TEXTS

REDUCTIONS = {"normxlogit": "sum", "normxlogit:reduction=mean": "mean", "largest": "max"}
METHODS: list[str | dict[str, str]] = [
    *list(REDUCTIONS)[:2],
    {"name": "largest", "method": "normxlogit", "reduction": "max"},
]


def test_words_are_ranked_by_each(bert: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    explained: list[int] = []
    explain = Explainer.explain

    def counted(self: Any, inputs: Any, **options: Any) -> Any:
        explained.append(len(inputs) if isinstance(inputs, list) else 1)
        return explain(self, inputs, **options)

    monkeypatch.setattr(Explainer, "explain", counted)
    found = bert.evaluate(ROWS, label="label", methods=METHODS)
    # Each is tried and timed by itself; the texts are explained once for all three.
    assert explained.count(len(TEXTS)) == 1
    monkeypatch.undo()
    records = found.scores.to_pylist()
    assert {record["method"] for record in records} == set(REDUCTIONS)
    for record in records:
        words = bert.explain(record["text"]).words(reduce=REDUCTIONS[record["method"]])
        np.testing.assert_allclose(record["scores"], words.scores[~words.special], rtol=1e-4)
    assert [spec["reduction"] for spec in found.results["settings"]["candidates"]] == [
        *("sum", "mean", "max")
    ]
    notes = " ".join(found.results["notes"])
    assert "normxlogit:reduction=mean: the score of a word is the mean of its tokens" in notes
    assert "largest: the score of a word is that of its token with the largest magnitude" in notes
    assert "normxlogit: the score" not in notes


def test_sanity_checks_are_of_the_same_scores(bert: Explainer) -> None:
    texts = ["unbelievably great movie with a plot", "the performers act unbelievably bad"]
    found = bert.evaluate(texts, methods=METHODS, metrics=["sanity"])
    checks = found.results["sanity"]["methods"]
    other, target = [], []
    for text in texts:
        outputs = [o.probability or 0.0 for o in bert.explain(text).prediction.outputs]
        other.append(int(np.argmin(outputs)))
        target.append(int(np.argmax(outputs)))
    from scipy.stats import spearmanr

    for name, reduction in REDUCTIONS.items():
        correlations = []
        for text, least, most in zip(texts, other, target, strict=True):
            both = [bert.explain(text, target=t).words(reduce=reduction) for t in (least, most)]
            first, second = (words.scores[~words.special] for words in both)
            correlations.append(spearmanr(first, second).statistic)
        assert checks[name]["other_class"] == pytest.approx(np.mean(correlations), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"methods": ["norm:reduction=median"]}, "reduction must be one of sum, mean, max"),
        ({"methods": ["random:reduction=max"]}, "random"),
        ({"methods": ["occlusion:reduction=max"]}, "occlusion scores whole words"),
        ({"methods": ["attribution_head:reduction=mean"]}, "attribution_head scores whole words"),
        ({"methods": ["norm:reduction=max"], "unit": "token"}, "nothing to reduce"),
        ({"methods": ["norm:reduction=max"], "preset": "paper"}, "nothing to reduce"),
    ],
)
def test_what_says_nothing_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        plan_of(**options)


def test_what_scores_tokens_is_not_refused() -> None:
    plan = plan_of(methods=["occlusion:unit=token:reduction=max", "late_lrp:reduce=abs"])
    assert [spec.reduction for spec in plan.method_specs] == ["max", "sum"]
    assert plan.method_specs[1].options == {"reduce": "abs"}
