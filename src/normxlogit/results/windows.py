"""The scores of the windows of a text, and how they become those of the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from normxlogit.errors import ModelError
from normxlogit.results.base import LARGEST_TOTAL, Floats
from normxlogit.text.encoded import Encoded


@dataclass(frozen=True)
class WindowScores:
    """The scores of one window of a text, or of one row that is no text.

    Attributes:
        scores: float32 [targets, layers, tokens].
        values: what the readout gave, like `scores`; None if the method does not read the head.
        norms: ||x_i^0||_2, float32 [tokens]; None where not defined.
        base: what the scores add up from, a number for each target; None if they are not additive.
        notes: what the method reports about its scores, by name, a number for each target.
    """

    scores: Floats
    values: Floats | None
    norms: Floats | None
    base: Sequence[float] | None
    notes: Mapping[str, Sequence[float]]


def text_fields(text: Encoded) -> dict[str, Any]:
    """The attributes of an `Attribution` that are those of its text, by name."""
    return {
        "texts": text.texts,
        "tokens": text.tokens,
        "special": text.special,
        "offsets": text.offsets,
        "segments": text.segments,
        "word_numbers": text.words,
        "messages": text.messages,
    }


def joined(text: Encoded, windows: Sequence[WindowScores]) -> WindowScores:
    """The windows of a text as one: the mean where they overlap, and the largest of each note.

    A text's prediction is the mean of those of its windows. So additive scores are summed over the
    windows and divided by how many there are, and add up to that mean.
    """
    if len(windows) == 1:
        return windows[0]
    bases = [window.base for window in windows if window.base is not None]

    def mean(parts: Sequence[Floats | None], *, is_additive: bool = False) -> Floats | None:
        arrays = [part for part in parts if part is not None]
        if len(arrays) < len(parts):
            return None
        total = np.zeros((*arrays[0].shape[:-1], len(text)), np.float32)
        count = np.zeros(len(text), np.float32)
        for window, values in zip(text.windows, arrays, strict=True):
            total[..., window.positions] += values
            count[window.positions] += 1
        return (total / (len(windows) if is_additive else count)).astype(np.float32)

    scores = mean([window.scores for window in windows], is_additive=bool(bases))
    assert scores is not None
    return WindowScores(
        scores=scores,
        values=mean([window.values for window in windows]),
        norms=mean([window.norms for window in windows]),
        base=np.mean(bases, 0).tolist() if bases else None,
        notes={
            name: [max(values) for values in zip(*(w.notes[name] for w in windows), strict=True)]
            for name in windows[0].notes
        },
    )


def check_total(scores: Floats, method: str) -> None:
    """Raise `ModelError` for scores by a method so large that sums over them overflow."""
    total = np.nansum(np.abs(scores), dtype=np.float64)
    if total > LARGEST_TOTAL:
        raise ModelError(
            f"the sizes of the scores by {method} sum up to {total:g}, over "
            f"{LARGEST_TOTAL:g}, near which float32 overflows. Load the model in float32, or use "
            "another readout or method."
        )
