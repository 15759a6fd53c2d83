"""Estimates with bootstrap intervals, over resamples of examples that all methods share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A statistic of some examples and of resamples of them.

    Two estimates by the same `Bootstrap` are paired: their difference is taken in each resample.

    Attributes:
        value: the statistic of the examples as they are.
        resampled: the statistic of each resample, float64 [resamples].
    """

    value: float
    resampled: Floats

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% percentile interval (Efron & Tibshirani 1993, ch. 13)."""
        low, high = np.quantile(self.resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    @property
    def differs_from_zero(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.interval
        return low > 0 or high < 0

    def to_dict(self) -> dict[str, float]:
        """The value and the ends of its interval, "low" and "high"."""
        low, high = self.interval
        return {"value": self.value, "low": low, "high": high}

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value - other.value, self.resampled - other.resampled)


class Bootstrap:
    """Resamples of examples, drawn once."""

    def __init__(self, examples: int, seed: int, resamples: int = RESAMPLES) -> None:
        """Draw `resamples` times as many examples as there are, with replacement."""
        generator = np.random.default_rng(seed)
        # How often each example is drawn is all that a mean needs, so a resample is a row of
        # weights, and all resamples of a statistic are one product. Row 0 is the examples as they
        # are: [1 + resamples, examples].
        drawn = generator.multinomial(examples, np.full(examples, 1 / examples), resamples)
        self._weights: Floats = np.concatenate([np.ones((1, examples)), drawn]) / examples

    def mean(self, values: Floats) -> Estimate:
        """Estimate the mean of values, [examples]."""
        return _estimate(self._weights @ values)

    def ratio(self, parts: Floats, wholes: Floats) -> Estimate:
        """Estimate a sum over another, both of [examples]; 0 where the second is 0."""
        part, whole = self._weights @ parts, self._weights @ wholes
        return _estimate(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))

    def auc(self, scores: Floats, is_positive: NDArray[np.bool_]) -> Estimate:
        """Estimate how often a positive example has a higher score than a negative one.

        Ties count half. Where a resample drew examples of one kind only it is 0.5.

        Args:
            scores: [examples].
            is_positive: [examples].
        """
        positive, negative = (self._weights[:, chosen] for chosen in (is_positive, ~is_positive))
        above = np.sign(scores[is_positive][:, None] - scores[~is_positive]) / 2 + 0.5
        wins = ((positive @ above) * negative).sum(1)
        pairs = positive.sum(1) * negative.sum(1)
        return _estimate(np.divide(wins, pairs, out=np.full_like(wins, 0.5), where=pairs > 0))

    def correlation(self, predictions: Floats, labels: Floats) -> Estimate:
        """Estimate the mean over rows of Pearson's correlation; 0 where one side is constant.

        Args:
            predictions: [rows, examples].
            labels: [examples].
        """
        weights = self._weights
        correlations = np.stack([_correlation(row, labels, weights) for row in predictions])
        return _estimate(correlations.mean(0))  # [rows, 1 + resamples] -> [1 + resamples]


def _estimate(statistics: Floats) -> Estimate:
    """Split off the statistic of the examples as they are, which comes first."""
    return Estimate(float(statistics[0]), statistics[1:])


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of weighted examples, [resamples]."""
    # E[xy] - E[x] E[y] cancels badly where means are large beside the spread. Centring on the
    # means of all examples first leaves only the small means of resamples to cancel.
    x, y = x - x.mean(), y - y.mean()
    mean_x, mean_y = weights @ x, weights @ y  # [resamples]
    covariance = weights @ (x * y) - mean_x * mean_y
    # Rounding may put a variance just below zero, where a resample drew a single example only.
    spread = np.sqrt((weights @ x**2 - mean_x**2).clip(0) * (weights @ y**2 - mean_y**2).clip(0))
    is_defined = spread > 1e-12
    return np.where(is_defined, covariance / np.where(is_defined, spread, 1), 0.0)
