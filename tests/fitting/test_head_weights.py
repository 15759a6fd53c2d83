"""Weights of heads: ridge regression by its own algebra."""

import numpy as np
import pytest

from normxlogit.fitting.head_weights import effects, fit_heads


def test_effects_are_lost_shares_of_probability() -> None:
    probabilities = np.array([[0.5, 0.1], [0.5, 0.5], [0.2, 0.4]])  # with and without a source
    with_all, without = np.log(probabilities).T
    assert effects(with_all - without) == pytest.approx([0.8, 0, 0])


def test_weights_solve_the_augmented_least_squares() -> None:
    """Ridge is least squares with a row of sqrt(penalty) more for each weight, and 0 beside it."""
    random = np.random.default_rng(0)
    sizes = random.integers(3, 8, 40)
    features = [random.random((size, 6)) for size in sizes]
    targets = [
        np.clip(x @ [1, 0, 0, 0.5, 0, 0] + random.normal(0, 0.1, len(x)), 0, 1) for x in features
    ]
    fitted = fit_heads(features, targets)
    x, y = np.concatenate(features), np.concatenate(targets)
    penalty = fitted.penalty * np.mean(np.square(x).sum(0))
    rows = np.concatenate([x, np.sqrt(penalty) * np.eye(6)])
    expected = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(6)]), rcond=None)[0]
    assert fitted.weights == pytest.approx(expected, rel=1e-8)


def test_the_penalty_is_chosen_on_questions_left_out() -> None:
    """One head tells the source and 47 are noise: as many as rows, so they would fit exactly."""
    random = np.random.default_rng(1)
    features, targets = [], []
    for _ in range(15):
        target = np.zeros(4)
        target[random.integers(4)] = 1
        noise = random.normal(0, 1, (4, 47))
        features.append(np.concatenate([target[:, None] + random.normal(0, 0.3, (4, 1)), noise], 1))
        targets.append(target)
    fitted = fit_heads(features, targets)
    best = max(fitted.agreement.values())
    assert fitted.agreement[fitted.penalty] == best > fitted.agreement[min(fitted.agreement)]
