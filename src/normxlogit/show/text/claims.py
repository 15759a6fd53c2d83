"""How much may be said of scores: what their zero, their sign and their size mean."""

from enum import Enum

import numpy as np

from normxlogit.results.base import Floats, Result
from normxlogit.results.ranking import strongest_first


class Claim(Enum):
    """What the scores of a method and readout support."""

    CAUSE = "zero means that a word does not matter, and a sign tells for from against"
    ORDER = "the higher the score, the more a word supports the target; zero says nothing"
    BELOW = "the same, and no score is above zero"
    NEAREST = "the higher the score, the closer a word by itself comes to the prediction"
    FARTHEST = "the lower the score, the closer a word by itself comes to the prediction"
    SIZE = "the higher the score, the more a word counts, for or against"


_RANKED = (Claim.BELOW, Claim.NEAREST, Claim.FARTHEST)
"""What has an order, and no sizes."""


def claim_of(result: Result) -> Claim:
    """Return what the scores of a result support."""
    provenance = result.provenance
    if provenance.unsigned is not None:
        return Claim.SIZE
    if result.base is not None:
        return Claim.CAUSE
    if provenance.readout == "closeness":
        return Claim.NEAREST
    if provenance.readout == "distance":
        return Claim.FARTHEST
    if provenance.readout == "logprob" and not (provenance.of_output or provenance.contrast):
        return Claim.BELOW
    # Methods that read the model's own output measure how it changes: by nothing, at zero.
    return Claim.CAUSE if provenance.of_output else Claim.ORDER


def has_sides(result: Result) -> bool:
    """Return whether a negative score of the head on one token prefers another label.

    A difference of two outputs does, also where its zero does not mean that a word is without
    effect; a logit alone is moved by any constant.
    """
    provenance = result.provenance
    return provenance.contrast is not None or provenance.readout in ("margin", "centered")


def has_sizes(result: Result) -> bool:
    """Return whether a score's size says how much a word counts, and so its share of all does."""
    return claim_of(result) not in _RANKED


def strengths(scores: Floats, claim: Claim) -> Floats:
    """Return how much each word supports the target, below zero if it opposes it.

    Where zero says nothing, that is how far a word is from the median of all.

    Args:
        scores: of the words, float32 [words].
        claim: what they support.
    """
    if claim in (Claim.CAUSE, Claim.SIZE) or not scores.size:
        return scores
    from_median = scores - np.median(scores)
    return -from_median if claim is Claim.FARTHEST else from_median


def by_strength(scores: Floats, claim: Claim) -> list[int]:
    """Return the numbers of the words, the strongest first.

    By size, but by order where a large one does not mean that a word counts for much.
    """
    if claim not in _RANKED:
        order = strongest_first(scores, "magnitude")
    else:
        order = strongest_first(-scores if claim is Claim.FARTHEST else scores, "score")
    return [int(i) for i in order]


def shares(scores: Floats, claim: Claim) -> Floats | None:
    """Return each score's share of the total of all, signs aside; None if sizes say nothing."""
    if claim in _RANKED:
        return None
    sizes = np.abs(scores)
    return (sizes / (sizes.sum(dtype=np.float64) or 1.0)).astype(np.float32)
