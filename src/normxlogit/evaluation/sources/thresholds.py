"""The score from which a source is cited, chosen on questions whose sources are known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what it gives on the questions that it was chosen on.

    Attributes:
        value: a source with this score or a higher one is cited.
        precision: the share of cited sources that are gold.
        recall: the share of gold sources that are cited.
    """

    value: float
    precision: float
    recall: float


def choose_threshold(scores: Sequence[Floats], gold: Sequence[Collection[int]]) -> Threshold:
    """Choose the threshold with the highest F1 of cited sources, over all questions together.

    Questions without a source count too: what is cited for them is wrong. The threshold lies half
    way between two scores, and of equally good ones it is the highest.

    Args:
        scores: for each question those of its sources, [sources].
        gold: the numbers of its sources that are right.

    Raises:
        InputError: no question has a right source.
    """
    values = np.concatenate([np.asarray(row, np.float64) for row in scores])
    right = np.concatenate(
        [np.isin(np.arange(len(row)), list(of)) for row, of in zip(scores, gold, strict=True)]
    )
    if not right.any():
        raise InputError(
            "no question has a gold source, so there is nothing to choose a threshold by. Give "
            "questions of which a document answers some."
        )
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], np.cumsum(right[order])
    cited = np.arange(1, len(values) + 1)
    f1 = 2 * hits / (cited + right.sum())
    # Equal scores are cited together, so only the last of them ends a set of citations.
    f1[:-1][values[:-1] == values[1:]] = -1
    best = int(f1.argmax())
    lower = values[best + 1] if best + 1 < len(values) else values[best]
    return Threshold(
        float((values[best] + lower) / 2),
        float(hits[best] / cited[best]),
        float(hits[best] / right.sum()),
    )
