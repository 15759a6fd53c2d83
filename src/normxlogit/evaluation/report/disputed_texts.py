"""The texts on which methods agree least about which words matter."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

if TYPE_CHECKING:
    import pyarrow as pa

LEAST = 5
"""Texts of fewer words are left out."""
TEXTS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Disputed:
    """A text on which methods disagree.

    Attributes:
        row: its row in the source.
        texts: the text, or both texts of a pair.
        label: the user's label, if it has one.
        prediction: the model's prediction.
        confidence: its probability, or the value.
        units: the words of the text.
        scores: the scores of each method, float64 [words], nan for words without one.
        agreement: the mean correlation over all pairs of methods.
        farthest: the pair with the lowest correlation.
        lowest: that correlation.
    """

    row: int
    texts: tuple[str, ...]
    label: str | None
    prediction: str
    confidence: float
    units: list[str]
    scores: dict[str, Floats]
    agreement: float
    farthest: tuple[str, str]
    lowest: float


def disputed(scores: "pa.Table", methods: Sequence[str], count: int = TEXTS) -> list[Disputed]:
    """Find the `count` texts with the lowest mean rank correlation, lowest first.

    The mean is of Spearman's correlations over all pairs of methods whose scores vary within the
    text; words without a score (nan) rank lowest. Texts of fewer than `LEAST` words, or not scored
    by every method, are left out.

    Args:
        scores: the rows of scores.parquet.
        methods: the names of the methods to compare, each by its first draw.
        count: the number of texts.
    """
    places_by_row = _places(scores, methods)
    column = scores["scores"]
    ranked: list[tuple[float, int, tuple[str, str], float]] = []
    for row, places in places_by_row.items():
        values = [_floats(column[places[name]]) for name in methods if name in places]
        if len(values) < len(methods) or len(set(map(len, values))) > 1:
            continue
        if len(values[0]) >= LEAST and (correlations := agreement(np.array(values))) is not None:
            mean, (first, second), lowest = correlations
            ranked.append((mean, row, (methods[first], methods[second]), lowest))
    chosen = []
    for mean, row, farthest, lowest in sorted(ranked)[:count]:
        places = places_by_row[row]
        (record,) = scores.slice(places[methods[0]], 1).to_pylist()
        texts = (record["text"], record["pair"])
        chosen.append(
            Disputed(
                row=row,
                texts=tuple(text for text in texts if text is not None),
                label=record["label"],
                prediction=record["prediction"],
                confidence=record["confidence"],
                units=record["units"],
                scores={name: _floats(column[places[name]]) for name in methods},
                agreement=mean,
                farthest=farthest,
                lowest=lowest,
            )
        )
    return chosen


def agreement(scores: Floats) -> tuple[float, tuple[int, int], float] | None:
    """Measure how similarly methods rank a text's words.

    Args:
        scores: [methods, words].

    Returns:
        The mean of Spearman's correlations over all pairs of methods, the pair with the lowest, and
        the lowest; None if fewer than two methods have scores that vary.
    """
    # Spearman's correlation is Pearson's of the ranks. [methods, words]
    ranks = np.array([rankdata(np.where(np.isnan(row), -np.inf, row)) for row in scores])
    varied = [int(n) for n in np.flatnonzero(np.ptp(ranks, axis=1) > 0)]
    if len(varied) < 2:
        return None
    correlations = np.corrcoef(ranks[varied])
    pairs = {
        (varied[i], varied[j]): float(correlations[i, j])
        for i, j in itertools.combinations(range(len(varied)), 2)
    }
    lowest = min(pairs, key=lambda pair: pairs[pair])
    return float(np.mean(list(pairs.values()))), lowest, pairs[lowest]


def _places(scores: "pa.Table", methods: Sequence[str]) -> dict[int, dict[str, int]]:
    """By row of the source and method, the place of the first draw in the table."""
    names, rows = scores["method"].to_pylist(), scores["row"].to_pylist()
    places: defaultdict[int, dict[str, int]] = defaultdict(dict)
    wanted = set(methods)
    for place, draw in enumerate(scores["draw"].to_pylist()):
        if draw == 0 and names[place] in wanted:
            places[rows[place]][names[place]] = place
    return places


def _floats(scores: "pa.ListScalar") -> Floats:
    values: Floats = scores.values.to_numpy(zero_copy_only=False).astype(np.float64)
    return values
