"""The number that is explained, as a function of the model's output."""

from dataclasses import dataclass

import torch
from torch import Tensor

from normxlogit.model.readouts import Outputs


@dataclass(frozen=True)
class Objective:
    """The number that is explained: a readout of the model's own output.

    Attributes:
        readout: takes outputs and targets.
        ids: the targets, int64 [rows, targets]; -1 where a row has fewer.
        foils: outputs whose readout is subtracted, int64 [rows, 1]; or None.
        positions: where the targets are read, int64 [rows, targets], if the head gives outputs for
            every token.
        span: the start and the end of the answer that is read, int64 [rows, 2].
    """

    readout: Outputs
    ids: Tensor
    foils: Tensor | None = None
    positions: Tensor | None = None
    span: Tensor | None = None

    def __call__(self, logits: Tensor, rows: Tensor, *, gathered: bool = False) -> Tensor:
        """Compute the numbers from the model's output on variants of rows.

        Args:
            logits: [variants, outputs] or [variants, sequence, outputs].
            rows: the row that each is a variant of, int64 [variants].
            gathered: whether `logits` are those at `positions` already.

        Returns:
            float32 [variants, targets].
        """
        ids = self.ids[rows]
        outputs = logits.float()
        each = torch.arange(len(rows), device=rows.device)[:, None]
        if self.span is not None:
            start, end = (outputs[each[:, 0], self.span[rows, i], i] for i in (0, 1))
            outputs = torch.stack([start, end, start + end], -1)
        elif self.positions is not None and not gathered:
            outputs = outputs[each, self.positions[rows].clamp_min(0)]
        if outputs.dim() == 2:
            outputs = outputs[:, None]
        outputs = outputs.expand(-1, ids.shape[1], -1)  # [variants, targets, outputs]
        values = self.readout(outputs, ids[..., None])[..., 0]
        if self.foils is not None:
            foils = self.foils[rows].expand_as(ids)
            values = values - self.readout(outputs, foils[..., None])[..., 0]
        return values
