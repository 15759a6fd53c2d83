"""What a forward pass keeps of its layers: read off each layer when it is made, so that a layer
need not live until the end of the pass.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Reading = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""What is kept of a layer: takes its output, [rows, sequence, hidden] of any width, and which
positions hold tokens, bool [rows, sequence]; returns tensors whose first dimension is the rows."""


def whole(states: Tensor, _mask: Tensor) -> tuple[Tensor, ...]:
    """Keep a layer as it is."""
    return (states,)


@dataclass(frozen=True)
class Readings:
    """The layers that are read, and how.

    Attributes:
        of_layers: by number; 0 is the first block's input, 1 the first block's output.
        mask: which positions hold tokens, bool [rows, sequence]; None if the inputs are no tokens.
    """

    of_layers: Mapping[int, Reading] = field(default_factory=dict)
    mask: Tensor | None = None

    def early(self, number: int, states: Tensor) -> tuple[Tensor, ...] | None:
        """Read a layer's output as a block gave it, rows or time first.

        None if its shape does not tell which of them is: then `late` has to read it.
        """
        if self.mask is None or states.dim() != 3:
            return None
        rows, sequence = self.mask.shape
        if rows == sequence > 1 or states.shape[:2] not in ((rows, sequence), (sequence, rows)):
            return None
        return self.late(number, states, time_first=states.shape[0] != rows)

    def late(self, number: int, states: Tensor, *, time_first: bool) -> tuple[Tensor, ...] | None:
        """Read a layer's output whose layout is known; None if it does not stand one to a token."""
        states = states.transpose(0, 1) if time_first else states
        mask = self.mask
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        if states.shape[:2] != mask.shape:
            return None
        return self.of_layers[number](states, mask.to(states.device))


def tokens_of(inputs: Mapping[str, Any], prefix: str = "") -> tuple[Tensor, Tensor] | None:
    """The ids of tokens and which of them are no padding, both int64 [rows, sequence], by the
    inputs of a model; None if there are no ids. In multiple choice every choice is a row.
    """
    ids, mask = inputs.get(f"{prefix}input_ids"), inputs.get(f"{prefix}attention_mask")
    if not isinstance(ids, Tensor):
        return None
    ids = ids.flatten(0, -2)
    return ids, torch.ones_like(ids) if mask is None else mask.flatten(0, -2)
