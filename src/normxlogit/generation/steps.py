"""The steps of generating: what each forward pass gave, and where sequences end."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)


@dataclass(frozen=True)
class Step:
    """One forward pass while generating, as far as it is kept.

    The first step has the positions of the prompt, and one row per prompt in `ids`, `hidden` and
    `norms`; the others have one position, and one row per sequence or beam.

    Attributes:
        ids: the tokens that the model was fed, [rows, positions].
        hidden: final states of the new positions, [rows, positions, hidden].
        norms: ||x^0|| of these in float32, [rows, positions].
        total: log-sum-exp of the logits at the last position in float32, [rows].
        best: the largest of these logits, [rows].
        best_id: the token with that logit, [rows].
    """

    ids: Tensor
    hidden: Tensor
    norms: Tensor
    total: Tensor
    best: Tensor
    best_id: Tensor


class SequenceEnds(StoppingCriteriaList):
    """Stops as the other criteria do, and keeps the length at which each row was done.

    `generate` returns rows padded to one length, and a pad token may also be a generated one.
    """

    lengths: Tensor | None = None

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Return whether each row is done."""
        done: Tensor = super().__call__(input_ids, scores, **kwargs)
        length = torch.full_like(done, input_ids.shape[1], dtype=torch.long)
        if self.lengths is None or len(self.lengths) != len(done):
            self.lengths, self._done = length, done
        else:
            self.lengths = torch.where(self._done, self.lengths, length)
            self._done = self._done | done
        return done

    def is_cut(self, ids: Tensor) -> bool:
        """Return whether a limit of tokens ended a sequence, not its end or a text to stop at.

        Args:
            ids: prompt and new tokens without the padding that follows, [sequence].
        """

        def stops(*kinds: type[StoppingCriteria]) -> bool:
            criteria = [criterion for criterion in self if isinstance(criterion, kinds)]
            return any(bool(criterion(ids[None], None).all()) for criterion in criteria)

        return stops(MaxLengthCriteria) and not stops(EosTokenCriteria, StopStringCriteria)
