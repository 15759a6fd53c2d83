"""The output of a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

UNLIKE = "distance from the texts it was fitted on"
"""The note that says how far a text is from those that a method was fitted on."""


def is_unlike(notes: Mapping[str, Sequence[float]]) -> bool | None:
    """Whether a text is unlike those that its head was fitted on, by the notes of its result; None
    if no head explained it."""
    distances = notes.get(UNLIKE)
    return None if distances is None else max(distances, default=0.0) > 1


@dataclass(frozen=True)
class MethodScores:
    """Scores, with what a reader has to know about them.

    A method whose scores are signed and need no notes may return the tensor alone.

    Attributes:
        scores: broadcast to [batch, targets, layers, sequence]; values at padding are ignored.
        unsigned: for scores that neither support nor oppose the target, what a high score means,
            in a few words.
        base: what the scores add up from, float32 [batch, targets]: with those of all tokens it
            sums up to the readout of the model's own output. None if scores are not additive.
        notes: figures about the scores, such as an error, by name, float32 [batch, targets].
        of_layers: whether the scores are those of the layers asked for; matters for methods that
            are registered with `has_layers`.
    """

    scores: "Tensor"
    unsigned: str | None = None
    base: "Tensor | None" = None
    notes: "Mapping[str, Tensor]" = field(default_factory=dict)
    of_layers: bool = True
