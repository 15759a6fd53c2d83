"""How the scores of tokens become one score, of a word or a longer part of the text.

A sum grows with the number of tokens, so that of two words the one in more pieces tends to win. The
mean and the largest do not, but do not add up to what the tokens sum to either.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import one_of
from normxlogit.data.plain import Plain
from normxlogit.errors import OptionError
from normxlogit.methods import METHODS

REDUCTIONS = {
    "sum": "the sum over its tokens",
    "mean": "the mean of its tokens",
    "max": "that of its token with the largest magnitude",
}
"""What the score of a part is by each reduction, in words."""


def check_reduction(name: str, reduction: object, method: str, options: Mapping[str, Any]) -> str:
    """Return a reduction of the scores that a method with these options gave.

    Args:
        name: what the user calls the reduction.
        reduction: what the user gave.
        method, options: see `Provenance`. A method that is not registered here is one of tokens.

    Raises:
        OptionError: there is no such reduction, or the method gives tokens no scores of their own.
    """
    reduction = one_of(name, reduction, REDUCTIONS)
    if reduction != "sum" and method in METHODS and METHODS[method].divides(options):
        raise OptionError(
            f"{method} scores whole words or longer parts, and shares each score out among the "
            f"tokens, so {name}={reduction!r} says nothing. Take their sum, or a method that "
            "scores tokens."
        )
    return reduction


def reduce_runs(
    scores: NDArray[Any], starts: NDArray[np.intp], reduction: str = "sum"
) -> NDArray[Any]:
    """Reduce runs of the last axis to a score each, nan left out; nan for runs that are all nan.

    Args:
        scores: floats [..., tokens].
        starts: where the runs begin, ascending, [runs]; each ends where the next begins.
        reduction: one of `REDUCTIONS`. "max" is the score of the largest magnitude with its sign,
            and of two of one magnitude the positive one.

    Returns:
        [..., runs], in the dtype of `scores`.
    """
    scored = ~np.isnan(scores)
    count = np.add.reduceat(scored, starts, axis=-1, dtype=np.intp)
    zero = scores.dtype.type(0)
    if reduction == "max":
        magnitude = np.maximum.reduceat(np.where(scored, np.abs(scores), zero), starts, axis=-1)
        highest = np.maximum.reduceat(np.where(scored, scores, -np.inf), starts, axis=-1)
        reduced = np.where(highest == magnitude, magnitude, -magnitude)
    else:
        reduced = np.add.reduceat(np.where(scored, scores, zero), starts, axis=-1)
        if reduction == "mean":
            reduced = reduced / np.maximum(count, 1)
    return np.where(count > 0, reduced, np.nan).astype(scores.dtype)


def combined(reductions: tuple[str, ...], reduction: str) -> tuple[str, ...]:
    """Add a reduction to those before it; sums of sums are sums, and so it is with the largest."""
    repeats = reduction != "mean" and reductions[-1:] == (reduction,)
    return reductions if repeats else (*reductions, reduction)


def read_reductions(data: Plain, unit: str, base: Any) -> tuple[str, ...]:
    """Read how scores were reduced; results of older versions have no such field and are sums."""
    if "reductions" not in data.value:
        return () if unit == "token" else ("sum",)
    items = data.get("reductions").items()
    reductions = tuple(item.choice(tuple(REDUCTIONS)) for item in items)
    data.get("reductions").require(unit != "token" or not reductions, "empty for tokens")
    data.get("reductions").require(
        base is None or set(reductions) <= {"sum"}, "sums, as there is a base value"
    )
    return reductions
