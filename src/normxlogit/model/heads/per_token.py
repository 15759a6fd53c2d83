"""Heads that give an output for every token: tags, or the start and end of an answer."""

import torch
from torch import Tensor

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.heads.interventions import AMPLIFIED, Intervention
from normxlogit.model.heads.replay import WAY_OUT, Replay
from normxlogit.model.heads.spread import Spread, checked


class TokenHead:
    """A head that gives an output for every token: tags, or the start and end of an answer.

    Attributes:
        logits: HoT(x_i^L), [rows, sequence, outputs].
    """

    def __init__(self, captured: Capture, mask: Tensor) -> None:
        """Replay the head on each token alone, which must give the model's own output for it.

        So it must with other tokens in their places, and others beside them.

        Raises:
            UnsupportedHeadError: it does not.
        """
        self._replay = Replay(captured)
        hidden, outputs = captured.states.tokens, captured.logits
        self.logits = self.on_tokens(hidden)
        if outputs.shape != self.logits.shape:
            raise UnsupportedHeadError(
                f"{self._replay.name} gives outputs of shape {list(outputs.shape)} for final "
                f"hidden states of {list(hidden.shape)}. {WAY_OUT}"
            )
        moved = Intervention.of(hidden, mask)

        def check(spread: Spread) -> None:
            self._replay.check(spread.excess(self.logits, outputs)[mask])
            changed = self._replay.whole(moved.states, towers=AMPLIFIED)
            self._replay.check(spread.excess(changed, self.logits.roll(1, 1))[moved.kept])

        rows = torch.arange(len(mask), device=mask.device)
        first = hidden[rows, mask.int().argmax(1)]
        checked(
            check,
            self._replay.spread(self.logits, mask),
            lambda: self._replay.alone(first.roll(1, -1), rows),
        )

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        return self._replay.on_tokens(hidden)
