"""Where methods disagree, and by how much they differ on the same examples."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from normxlogit.evaluation.records import records_table
from normxlogit.evaluation.report.disputed_texts import agreement, disputed
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from tests.helpers.random_evaluation import DRAWS, RATIOS, Data, random_evaluation


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """By its definition: Pearson's correlation of mean ranks."""

    def ranks(values: Sequence[float]) -> list[float]:
        return [sum(w < v for w in values) + sum(w == v for w in values) / 2 for v in values]

    x, y = (np.array(ranks(values)) for values in (one, other))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


class TestDisagreement:
    def test_agreement_is_the_mean_of_spearman_over_pairs(self) -> None:
        rng = np.random.default_rng(3)
        scores = rng.integers(0, 5, (4, 9)).astype(float)
        scores[1, 2] = math.nan
        known = np.where(np.isnan(scores), -9, scores).tolist()
        pairs = {
            (i, j): spearman(known[i], known[j]) for i, j in itertools.combinations(range(4), 2)
        }
        found = agreement(scores)
        assert found is not None
        assert found[0] == pytest.approx(sum(pairs.values()) / 6)
        assert found[1] == min(pairs, key=lambda pair: pairs[pair])
        assert found[2] == pytest.approx(min(pairs.values()))

    def test_scores_that_are_all_alike_do_not_count(self) -> None:
        rising = np.arange(6.0)
        found = agreement(np.array([np.ones(6), rising, rising**3]))
        assert found is not None
        assert found[1] == (1, 2)
        assert (found[0], found[2]) == pytest.approx((1.0, 1.0))
        assert agreement(np.array([np.ones(6), np.full(6, math.nan), rising])) is None

    def test_the_texts_with_the_lowest_come_first(self) -> None:
        _, scores = random_evaluation(("normxlogit", "alti", "random"), examples=40)
        methods = ["normxlogit", "alti"]
        by_row: dict[int, dict[str, Data]] = {}
        for record in scores.to_pylist():
            by_row.setdefault(record["row"], {})[record["method"]] = record
        expected = {
            row: spearman(*([-99.0, *own[name]["scores"][1:]] for name in methods))
            for row, own in by_row.items()
            if len(own["alti"]["units"]) >= 5
        }
        found = disputed(scores, methods, 7)
        assert len(expected) < 40
        assert [one.row for one in found] == sorted(expected, key=lambda row: expected[row])[:7]
        for one in found:
            record = by_row[one.row]["alti"]
            assert one.agreement == one.lowest == pytest.approx(expected[one.row])
            assert one.units == record["units"]
            assert one.texts == (record["text"],)
            np.testing.assert_array_equal(one.scores["alti"], record["scores"])


def test_differences_are_of_examples_that_both_have() -> None:
    _, scores = random_evaluation(("normxlogit", "random"), examples=30)
    records = [
        record
        for record in scores.to_pylist()
        if not (record["method"] == "random" and record["row"] in (3, 17))
    ]
    means: dict[str, list[float]] = {"normxlogit": [], "random": []}
    for name, own in means.items():
        for row in sorted(set(range(30)) - {3, 17}):
            drops = [r["sufficiency"] for r in records if (r["method"], r["row"]) == (name, row)]
            assert len(drops) == (DRAWS if name == "random" else 1)
            own.append(sum(map(sum, drops)) / len(drops) / len(RATIOS))
    gaps = np.array(means["normxlogit"]) - np.array(means["random"])
    found = PairedBootstrap(records_table(records), 0).difference(
        "sufficiency", "normxlogit", "random"
    )
    assert found is not None
    assert found.value == pytest.approx(gaps.mean())
    error = gaps.std(ddof=1) / math.sqrt(28)
    low, high = found.interval
    assert low == pytest.approx(gaps.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(gaps.mean() + 1.96 * error, abs=0.3 * error)
    apart = [r for r in records if (r["method"] == "random") == (r["row"] < 15)]
    assert (
        PairedBootstrap(records_table(apart), 0).difference("sufficiency", "normxlogit", "random")
        is None
    )
