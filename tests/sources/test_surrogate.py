"""The sparse surrogate, on games whose answer is known."""

import numpy as np
import pytest

from normxlogit.sources.surrogate import draw_kept, fit_surrogate

pytest.importorskip("sklearn")


def test_the_weights_of_a_linear_game_but_for_the_penalty() -> None:
    """Lasso on standardised columns that do not correlate shrinks each weight by alpha."""
    weights = np.array([[2.0, 0.0, -1.0], [0.0, 0.5, 0.0]])
    kept = np.array([[(n >> part) & 1 for part in range(3)] for n in range(8)], bool)
    odds = kept @ weights.T - 1
    logprobs = -np.log1p(np.exp(-odds))  # log of the logistic of the log-odds
    fitted = fit_surrogate(kept, logprobs.astype(np.float32), [1, 3])
    shrunk = np.sign(weights) * np.maximum(np.abs(weights) - [[0.01 / 0.5], [0.03 / 0.5]], 0)
    assert fitted == pytest.approx(shrunk, abs=1e-3)


def test_a_part_that_is_always_there_has_no_weight() -> None:
    kept = np.array([[True, True], [True, False], [True, True], [True, False]])
    fitted = fit_surrogate(kept, np.array([[-1], [-3], [-1], [-3]], np.float32), [1])
    assert fitted[0, 0] == 0
    assert fitted[0, 1] > 1


def test_certain_answers_stay_finite() -> None:
    fitted = fit_surrogate(draw_kept(8, 3, 0), np.zeros((8, 1), np.float32), [1])
    assert (fitted == 0).all()


def test_half_of_the_parts_are_kept() -> None:
    kept = draw_kept(400, 10, 3)
    assert (kept == draw_kept(400, 10, 3)).all()
    assert kept.mean() == pytest.approx(0.5, abs=0.03)
