"""Figures with bootstrap intervals, over resamples of examples that all methods share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure over some examples, and over resamples of them.

    Two estimates by the same `Bootstrap` are paired: their difference is that of each resample.

    Attributes:
        value: over the examples as they are.
        resampled: over each resample, float64 [resamples].
    """

    value: float
    resampled: Floats

    @property
    def interval(self) -> tuple[float, float]:
        """What 95 % of the resamples are in, by percentiles (Efron & Tibshirani 1993, ch. 13)."""
        low, high = np.quantile(self.resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    @property
    def differs_from_zero(self) -> bool:
        """Whether zero is outside of the interval."""
        low, high = self.interval
        return low > 0 or high < 0

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value - other.value, self.resampled - other.resampled)


class Bootstrap:
    """Resamples of examples, drawn once."""

    def __init__(self, examples: int, seed: int, resamples: int = RESAMPLES) -> None:
        """Draw as many examples as there are, with replacement, so many times."""
        generator = np.random.default_rng(seed)
        drawn = generator.multinomial(examples, np.full(examples, 1 / examples), resamples)
        self._weights: Floats = np.concatenate([np.ones((1, examples)), drawn]) / examples

    def mean(self, values: Floats) -> Estimate:
        """The mean of values, [examples]."""
        return _estimate(self._weights @ values)

    def correlation(self, found: Floats, given: Floats) -> Estimate:
        """The mean over rows of Pearson's correlation with what is given; 0 where one is constant.

        Args:
            found: [rows, examples].
            given: [examples].
        """
        weights = self._weights
        of_rows = np.stack([_correlation(row, given, weights) for row in found])
        return _estimate(of_rows.mean(0))


def _estimate(figures: Floats) -> Estimate:
    """Of the examples as they are, which come first, and of the resamples."""
    return Estimate(float(figures[0]), figures[1:])


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of weighted examples, [resamples]."""
    x, y = x - x.mean(), y - y.mean()
    mean_x, mean_y = weights @ x, weights @ y
    covariance = weights @ (x * y) - mean_x * mean_y
    spread = np.sqrt((weights @ x**2 - mean_x**2).clip(0) * (weights @ y**2 - mean_y**2).clip(0))
    is_defined = spread > 1e-12
    return np.where(is_defined, covariance / np.where(is_defined, spread, 1), 0.0)
