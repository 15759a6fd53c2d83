"""What a method returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class MethodScores:
    """Scores, with what has to be known to read them.

    A method whose scores need no such words may return the tensor alone.

    Attributes:
        scores: what broadcasts to [batch, targets, layers, sequence]; values at padding are
            ignored.
        unsigned: for scores that neither support nor oppose the target, what a high score means,
            in a few words.
        notes: what the method reports about its own scores, by name, float32 [batch, targets].
        of_layers: whether the scores are those of the layers asked for; matters for methods that
            are registered with `has_layers`.
    """

    scores: Tensor
    unsigned: str | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    of_layers: bool = True
