"""Measures of methods, held against their definitions."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr

from normxlogit.errors import InputError
from normxlogit.evaluation.metrics.aopc_bounds import Bounds
from normxlogit.evaluation.metrics.bootstrap import Bootstrap, Estimate
from normxlogit.evaluation.metrics.rank_correlation import tau
from normxlogit.evaluation.perturb.rankings import (
    descending,
    hidden_sets,
    rank_units,
    unit_scores,
)
from normxlogit.evaluation.perturb.word_sets import count_every, draw_sets, every_set
from normxlogit.evaluation.sources.thresholds import choose_threshold

NAN = float("nan")


def test_an_estimate_differs_from_zero_if_its_interval_leaves_it_out() -> None:
    draws = np.arange(1.0, 1001.0)
    estimate = Estimate(500.0, draws)
    low, high = np.percentile(draws, [2.5, 97.5])
    assert estimate.to_dict() == pytest.approx({"value": 500.0, "low": low, "high": high})
    low, high = estimate.interval
    assert estimate.differs_from_zero
    assert Estimate(-500.0, -draws).differs_from_zero
    for shift in (low, high, 500):  # an end at zero does not leave it out
        assert not Estimate(0.0, draws - shift).differs_from_zero
    less = estimate - Estimate(100.0, draws[::-1])
    assert less.value == 400
    assert less.resampled.tolist() == (draws - draws[::-1]).tolist()


def resamples(examples: int, bootstrap: Bootstrap) -> Any:
    """Each resample as the numbers of its examples, the examples as they are first."""
    counts = np.rint(bootstrap._weights * examples).astype(int)
    return [np.repeat(np.arange(examples), row) for row in counts]


def all_of(estimate: Estimate) -> Any:
    return np.append(estimate.value, estimate.resampled)


def test_statistics_of_resamples_are_those_of_their_examples() -> None:
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=5), np.round(chance.normal(size=5), 0)
    parts, wholes = np.abs(x), np.array([0.0, 1.0, 0.0, 2.0, 0.0])
    labels = np.array([True, False, False, True, False])
    bootstrap = Bootstrap(5, 0, 200)
    chosen = resamples(5, bootstrap)
    assert len(chosen) == 201
    assert chosen[0].tolist() == [0, 1, 2, 3, 4]
    assert all(len(rows) == 5 for rows in chosen)
    means, ratios, aucs, correlations = (list[Any]() for _ in range(4))
    for rows in chosen:
        means.append(x[rows].mean())
        whole = wholes[rows].sum()
        ratios.append(parts[rows].sum() / whole if whole else 0)
        pairs = [
            1.0 if y[i] > y[j] else 0.5 if y[i] == y[j] else 0.0
            for i, j in itertools.product(rows[labels[rows]], rows[~labels[rows]])
        ]
        aucs.append(np.mean(pairs) if pairs else 0.5)
        each = [
            pearsonr(p[rows], y[rows]).statistic if np.ptp(p[rows]) and np.ptp(y[rows]) else 0.0
            for p in (x, 1e6 + x**2)
        ]
        correlations.append(np.mean(each))
    np.testing.assert_allclose(all_of(bootstrap.mean(x)), means, atol=1e-12)
    np.testing.assert_allclose(all_of(bootstrap.ratio(parts, wholes)), ratios, atol=1e-12)
    np.testing.assert_allclose(all_of(bootstrap.auc(y, labels)), aucs, atol=1e-12)
    estimate = bootstrap.correlation(np.stack([x, 1e6 + x**2]), y)
    np.testing.assert_allclose(all_of(estimate), correlations, atol=1e-6)
    assert 0 in ratios
    assert 0.5 in aucs


def test_rank_correlation() -> None:
    lost = np.array([3.0, 2.0, 1.0])
    assert tau(np.array([9.0, 5.0, 0.0]), lost) == 1
    assert tau(np.array([0.0, 5.0, 9.0]), lost) == -1
    assert tau(np.array([9.0, 5.0, NAN]), lost) == 1
    assert tau(np.array([NAN, 5.0, 9.0]), lost) == -1
    assert tau(np.array([NAN, NAN, NAN]), lost) == tau(np.ones(3), lost) == 0
    assert tau(np.array([2.0, 1.0]), lost[:2]) == 1
    for others in (np.ones(3), lost[:1], lost[:0]):
        assert np.isnan(tau(np.arange(len(others), dtype=np.float64), others))


def test_a_threshold_is_the_best_of_all() -> None:
    chance = np.random.default_rng(0)
    for _ in range(60):
        scores = [np.round(chance.normal(size=n), 1) for n in chance.integers(1, 5, 3)]
        gold = [set(np.flatnonzero(chance.random(len(row)) < 0.4).tolist()) for row in scores]
        right = [n in of for row, of in zip(scores, gold, strict=True) for n in range(len(row))]
        values = np.concatenate(scores)
        if not any(right):
            with pytest.raises(InputError, match="no question has a gold source"):
                choose_threshold(scores, gold)
            continue
        threshold = choose_threshold(scores, gold)
        f1 = {}
        for value in sorted(set(values), reverse=True):
            hits = sum(r for r, v in zip(right, values, strict=True) if v >= value)
            f1[value] = 2 * hits / ((values >= value).sum() + sum(right))
        best = max(f1, key=lambda value: (f1[value], value))
        below = [value for value in f1 if value < best]
        assert threshold.value == pytest.approx((best + max(below, default=best)) / 2)
        cited = values >= best
        hits = sum(r for r, is_cited in zip(right, cited, strict=True) if is_cited)
        assert threshold.precision == pytest.approx(hits / cited.sum())
        assert threshold.recall == pytest.approx(hits / sum(right))


def test_sets_of_words() -> None:
    for words in (1, 2, 3, 5):
        sets = every_set(words)
        assert len(sets) == count_every(words) == len({tuple(row) for row in sets.tolist()})
        assert not any(row.all() or not row.any() for row in sets)
    sizes = np.array([0, 1, 2, 2, 4])
    drawn = draw_sets(sizes, 4, np.random.default_rng(0))
    assert drawn.sum(1).tolist() == sizes.tolist()
    many = draw_sets(np.full(6000, 2), 4, np.random.default_rng(0))
    _, counts = np.unique(many, axis=0, return_counts=True)
    assert len(counts) == 6
    assert (abs(counts - 1000) < 150).all()


def test_units_by_importance() -> None:
    scores = np.array([1.0, 2.0, NAN, -5.0, 7.0, NAN], np.float32)
    units = np.array([1, -1, 1, 0, 1, 2])
    by_unit = unit_scores(scores, units, 4)
    np.testing.assert_array_equal(by_unit, [-5, 8, NAN, NAN])
    np.testing.assert_array_equal(unit_scores(scores, units, 4, "max"), [-5, 7, NAN, NAN])
    assert rank_units(np.array([1.0, NAN, 3.0, 1.0])).tolist() == [2, 0, 3, 1]
    order = np.array([2, 0, 1])
    assert descending(order).tolist() == [2, 1, 3]
    assert rank_units(descending(order)).tolist() == order.tolist()
    assert hidden_sets(order, [0, 1, 3]).tolist() == [
        [False] * 3,
        [False, False, True],
        [True] * 3,
    ]


def test_a_share_of_what_any_order_takes_away() -> None:
    bounds = Bounds(3.0, 1.0)
    for aopc, share in ((1.0, 0), (2.5, 0.75), (3.0, 1), (9.0, 1), (-1.0, 0)):
        assert bounds.normalised(aopc) == share
    assert np.isnan(Bounds(1.0, 1.0).normalised(1.0))
    assert Bounds(1e-11, 0.0).normalised(1e-11) == 1
