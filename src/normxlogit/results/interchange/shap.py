"""Scores as `shap.Explanation`, for the plots of the package shap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.extras import require

if TYPE_CHECKING:
    from shap import Explanation


def shap_explanation(
    values: NDArray[np.float32],
    base_values: Sequence[float] | None,
    pieces: Sequence[str],
    labels: Sequence[str],
) -> "Explanation":
    """Return the scores of one text as shap has them.

    Args:
        values: float32 [targets, tokens].
        base_values: what they add up from, a number for each target; None if they do not add up,
            which becomes nan.
        pieces: the characters of each token.
        labels: the names of the targets.

    Returns:
        An explanation with values [tokens] for one target, else [tokens, targets].

    Raises:
        MissingExtraError: shap is not installed.
    """
    shap = require("shap", "shap", need="a shap.Explanation needs shap")
    base = np.full(len(labels), np.nan) if base_values is None else np.array(base_values)
    explanation: Any = shap.Explanation(
        values=values.T,
        base_values=base,
        data=np.array(pieces, object),
        feature_names=[piece.strip() or piece for piece in pieces],
        output_names=list(labels),
    )
    return explanation[:, 0] if len(labels) == 1 else explanation
