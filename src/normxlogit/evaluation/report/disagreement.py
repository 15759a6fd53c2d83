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
"""Of how many words texts are compared at least."""
TEXTS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Disputed:
    """A text with what methods say of its words.

    Attributes:
        row: its row in the source.
        texts: the text, or both of a pair.
        label: what the user says of it, if anything.
        prediction: what the model says.
        confidence: the probability of that, or the value.
        units: its words.
        scores: those of each method, float64 [words], nan for words without one.
        agreement: the mean of the correlations of all pairs of methods.
        farthest: the two methods with the lowest.
        lowest: that.
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
    """The `count` texts with the lowest mean of Spearman's rank correlations, the lowest first.

    The mean is over all pairs of methods whose scores of the text's words are not all alike; words
    without a score (nan) count as those of the lowest. Only texts of `LEAST` words or more that
    every method has scored count.

    Args:
        scores: the rows of scores.parquet.
        methods: the names of those to compare; the first draw of each is taken.
        count: how many texts.
    """
    places = _places(scores, methods)
    column = scores["scores"]
    ranked: list[tuple[float, int, tuple[str, str], float]] = []
    for row, own in places.items():
        values = [_floats(column[own[name]]) for name in methods if name in own]
        if len(values) < len(methods) or len({len(one) for one in values}) > 1:
            continue
        if len(values[0]) >= LEAST and (found := agreement(np.array(values))) is not None:
            mean, (one, other), lowest = found
            ranked.append((mean, row, (methods[one], methods[other]), lowest))
    chosen = []
    for mean, row, farthest, lowest in sorted(ranked)[:count]:
        own = places[row]
        (first,) = scores.slice(own[methods[0]], 1).to_pylist()
        texts = (first["text"], first["pair"])
        chosen.append(
            Disputed(
                row=row,
                texts=tuple(text for text in texts if text is not None),
                label=first["label"],
                prediction=first["prediction"],
                confidence=first["confidence"],
                units=first["units"],
                scores={name: _floats(column[own[name]]) for name in methods},
                agreement=mean,
                farthest=farthest,
                lowest=lowest,
            )
        )
    return chosen


def agreement(scores: Floats) -> tuple[float, tuple[int, int], float] | None:
    """How far methods rank a text's words alike.

    Args:
        scores: [methods, words].

    Returns:
        The mean of Spearman's correlations over all pairs of methods, the pair with the lowest and
        that; None if there is no pair whose scores are not all alike.
    """
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
    """Of each row of the source where in the table a method's first draw stands."""
    names, rows = scores["method"].to_pylist(), scores["row"].to_pylist()
    found: defaultdict[int, dict[str, int]] = defaultdict(dict)
    wanted = set(methods)
    for place, draw in enumerate(scores["draw"].to_pylist()):
        if draw == 0 and names[place] in wanted:
            found[rows[place]][names[place]] = place
    return found


def _floats(scores: "pa.ListScalar") -> Floats:
    values: Floats = scores.values.to_numpy(zero_copy_only=False).astype(np.float64)
    return values
