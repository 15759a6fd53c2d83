"""Other final states in place of a model's own, to try what its head reads.

What a head reads may depend on the text: a part of it that a ReLU shuts out, or that rounding hides
beside large numbers, takes part in other texts. So states are not merely changed but amplified, and
tokens are put in each other's places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

AMPLIFIED = -8.0
"""What states are multiplied by that a head is not to read. A head that reads a hundredth of them
gives an output that is off by a tenth of its spread."""

WEAKENED = 0.1
"""What states are multiplied by where an output may be saturated, such as a sure probability."""


def amplified(hidden: Tensor, positions: Tensor, factor: float = AMPLIFIED) -> Tensor:
    """Multiply states [rows, sequence, hidden] by a factor at some positions [rows, sequence]."""
    return torch.where(positions[..., None], scaled(hidden, factor), hidden)


def scaled(hidden: Tensor, factor: float | Tensor) -> Tensor:
    """Multiply states; in float16, whose largest numbers they may exceed, up to these."""
    changed = hidden * factor
    if hidden.dtype == torch.float16:
        limit = torch.finfo(torch.float16).max
        changed = changed.clamp(-limit, limit)
    return changed


@dataclass(frozen=True)
class Intervention:
    """Final states in which about half of the positions hold another token, and the rest are noise.

    A head that reads each position alone gives at these positions what it gives on these tokens,
    whatever the rest is.

    Attributes:
        states: every position holds the state of the one before it, amplified unless it is kept,
            [rows, sequence, hidden].
        kept: the positions that hold a token's state as it is, bool [rows, sequence].
    """

    states: Tensor
    kept: Tensor

    @classmethod
    def of(cls, hidden: Tensor, mask: Tensor) -> "Intervention":
        """Change states [rows, sequence, hidden]; `mask` says where tokens are."""
        kept = scattered(hidden.shape[1]).to(mask.device).expand_as(mask)
        moved = hidden.roll(1, 1)
        return cls(amplified(moved, ~kept), kept & mask & mask.roll(1, 1))


def scattered(length: int) -> Tensor:
    """About half of the positions, the first among them, bool [length].

    Always the same, and without a period that a head could share.
    """
    chosen = torch.rand(length, generator=torch.Generator().manual_seed(0)) < 0.5
    chosen[:1], chosen[1:2] = True, False
    return chosen
