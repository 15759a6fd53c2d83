"""Figures of methods, by hand on tiny tables."""

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from normxlogit import InputError
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.sources.figures import RECORDS, build_figures
from normxlogit.evaluation.sources.thresholds import choose_threshold

QUESTIONS = [  # gold, scores, right, right sentence
    ([1], [0.1, 0.9, 0.6], True, True),
    ([0], [0.2, 0.7], False, False),
    ([0, 2], [0.8, 0.1, 0.4], True, None),
    ([], [0.3, 0.2], True, None),
    ([], [0.9, 0.2], None, None),
]


def records(method: str = "m", **changed: Any) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "kind": "k" if gold else "none",
            "question": "?",
            "answer": "a",
            "right": right,
            "gold": gold,
            "logprob": -1.0,
            "prior": -5.0,
            "method": method,
            "threshold": 0.5,
            "scores": scores,
            "named": int(np.argmax(scores)),
            "right_sentence": sentence,
            "drop": float(number + 1),
            "drop_of_others": 0.5,
            "passes": 3,
            "tokens": 30,
            "seconds": 0.25,
            **changed,
        }
        for number, (gold, scores, right, sentence) in enumerate(QUESTIONS)
    ]


def value(figures: dict[str, Any], group: str, metric: str) -> float:
    found = figures["groups"][group]["methods"]["m"][metric]
    assert found["low"] <= found["value"] <= found["high"]
    return float(found["value"])


def test_figures_by_hand() -> None:
    figures = build_figures(pa.Table.from_pylist(records(), RECORDS), 0)
    # Cited at 0.5: {1, 2}, {1}, {0}, nothing, {0}; right among these five: 1 and 0.
    expected = {
        "all": {
            "top1": 2 / 3,
            "sentence": 1 / 2,
            "precision": 2 / 5,
            "recall": 2 / 4,
            "drop": (1 + 2 + 3) / 3,
            "drop_of_others": 0.5,
            "no_source_auc": (3 + 0.5) / 6,  # 0.3 is below all three, 0.9 ties with one of them
            "silent": 1 / 2,
            "missed": 0,
        },
        "right": {"top1": 1, "precision": 2 / 3, "recall": 2 / 3, "no_source_auc": 1, "silent": 1},
    }
    for group, metrics in expected.items():
        for metric, wanted in metrics.items():
            assert value(figures, group, metric) == pytest.approx(wanted), (group, metric)
    assert figures["groups"]["right"]["questions"] == 3
    assert figures["questions"] == {
        "asked": 5,
        "failed": [],
        "kinds": {"k": {"questions": 3, "right": 2}, "none": {"questions": 2, "right": 1}},
    }
    assert figures["costs"]["m"] == {"passes": 3, "tokens": 30, "seconds": 0.25}


def test_a_question_on_which_a_method_fails_counts_for_none() -> None:
    others = records("other")
    others[0] |= {"error": "why", "scores": None, "named": None}
    table = pa.Table.from_pylist([*records(), *others], RECORDS)
    figures = build_figures(table, 0)
    assert figures["questions"]["failed"] == [0]
    assert value(figures, "all", "top1") == 1 / 2


def test_a_method_that_serves_no_question_is_left_out() -> None:
    others = records("other", error="why", scores=None, named=None)
    figures = build_figures(pa.Table.from_pylist([*records(), *others], RECORDS), 0)
    assert figures["failed"] == {"other": "why"}
    assert figures["questions"]["failed"] == []
    assert list(figures["groups"]["all"]["methods"]) == ["m"]
    with pytest.raises(InputError, match="why"):
        build_figures(pa.Table.from_pylist(others, RECORDS), 0)


@pytest.mark.parametrize("has_source", [True, False])
def test_no_auc_of_questions_of_one_kind(has_source: bool) -> None:
    some = [record for record in records() if bool(record["gold"]) == has_source]
    figures = build_figures(pa.Table.from_pylist(some, RECORDS), 0)
    assert figures["groups"]["all"]["methods"]["m"]["no_source_auc"] is None


def test_without_a_threshold_nothing_is_cited() -> None:
    figures = build_figures(pa.Table.from_pylist(records(threshold=None), RECORDS), 0)
    of_method = figures["groups"]["all"]["methods"]["m"]
    assert [m for m, figure in of_method.items() if figure is None] == [
        "precision",
        "recall",
        "silent",
        "missed",
    ]


def test_the_threshold_with_the_highest_f1() -> None:
    """Every threshold tried by brute force, on random tables with ties."""
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = [random.integers(0, 6, random.integers(1, 5)) / 5 for _ in range(4)]
        gold = [[n for n in range(len(row)) if random.random() < 0.4] for row in scores]
        if not any(gold):
            continue
        chosen = choose_threshold(scores, gold)

        def f1(threshold: float, scores: Any = scores, gold: Any = gold) -> float:
            cited = [{n for n, s in enumerate(row) if s >= threshold} for row in scores]
            right = sum(len(c & set(of)) for c, of in zip(cited, gold, strict=True))
            return 2 * right / (sum(map(len, cited)) + sum(map(len, gold)))

        assert f1(chosen.value) == max(f1(value) for row in scores for value in row)
        harmonic = 2 * chosen.precision * chosen.recall / (chosen.precision + chosen.recall)
        assert f1(chosen.value) == pytest.approx(harmonic)


def test_no_threshold_without_gold() -> None:
    with pytest.raises(InputError, match="no question has a gold source"):
        choose_threshold([np.array([0.5])], [[]])


def test_an_auc_and_a_ratio_of_resamples() -> None:
    """Each resample of the bootstrap by counting, from the weights that it drew."""
    scores, positive = np.array([0.1, 0.4, 0.4, 0.8, 0.2]), np.array([0, 1, 0, 1, 1], bool)
    bootstrap = Bootstrap(5, 0, 30)
    auc = bootstrap.auc(scores, positive)
    ratio = bootstrap.ratio(scores, positive.astype(float))
    counts = np.stack([bootstrap.mean(row).resampled * 5 for row in np.eye(5)], 1)  # [30, 5]
    for n, drawn in enumerate(counts.round().astype(int)):
        sample = np.repeat(np.arange(5), drawn)
        pairs = list(product(sample[positive[sample]], sample[~positive[sample]]))
        wins = [(scores[a] > scores[b]) + (scores[a] == scores[b]) / 2 for a, b in pairs]
        assert auc.resampled[n] == pytest.approx(np.mean(wins) if pairs else 0.5)
        whole = positive[sample].sum()
        assert ratio.resampled[n] == pytest.approx(scores[sample].sum() / whole if whole else 0)
