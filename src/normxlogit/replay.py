"""The head on top of every token: HoT(x_i), by the model's own forward on one token at a time.

The shadow's trunk is made to answer at once with given hidden states, and the model's own forward
runs on: whatever stands on the trunk, pooler, dropout, classifier, is what the model does, with no
code for an architecture. Given each token as a sequence of length one, it returns the head's output
on it (Abbasi et al., NormXLogit, EMNLP 2025).
"""

from typing import Any

import torch
from torch import Tensor

from .capture import Capture
from .errors import InputError, UnsupportedHeadError
from .numerics import gap, tolerance


class Head:
    """The head of a captured model, to be put on other hidden states.

    Attributes:
        logits: HoT(x_i^L), [batch, sequence, classes].
        read_position: the position of x^L that the head reads, [batch]; -1 where it reads several.
    """

    def __init__(self, captured: Capture, mask: Tensor) -> None:
        """Replay the head on x^L and check it.

        Args:
            captured: a forward pass.
            mask: which positions hold tokens, bool [batch, sequence].

        Raises:
            InputError: the head reads a position that is padding.
            UnsupportedHeadError: the replayed head does not give the model's own output.
        """
        self._captured = captured
        self._name = type(captured.shadow.root).__name__
        self.logits = self.on_tokens(captured.hidden)
        self.read_position = self._find_read_position(mask)

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [batch, sequence, hidden] -> [batch, sequence, classes]."""
        batch, sequence, size = hidden.shape
        inputs = self._one_token_inputs(batch * sequence)
        logits = self._run(hidden.reshape(batch * sequence, 1, size), inputs, position=0)
        if logits.shape != (batch * sequence, self._captured.logits.shape[-1]):
            raise UnsupportedHeadError(
                f"the head of {self._name} gave {list(logits.shape)} for {batch * sequence} "
                "tokens, not one output a token. A perturbation method is the way to explain it."
            )
        return logits.reshape(batch, sequence, -1)

    def _run(self, hidden: Tensor, inputs: dict[str, Any], position: int | None = None) -> Tensor:
        """The model's own forward with `hidden` for the trunk's final hidden states."""
        captured = self._captured
        try:
            output = type(captured.trunk_output)(
                last_hidden_state=hidden,
                **{key: d(hidden, position=position) for key, d in captured.derived.items()},
            )
            captured.trunk.__dict__.update(
                forward=lambda *_args, **_kwargs: output, _forward_hooks={}, _forward_pre_hooks={}
            )
            logits = captured.shadow.root(**inputs, return_dict=True).logits
            if not isinstance(logits, Tensor):
                raise TypeError(f"it returned logits of type {type(logits).__name__}")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"the head of {self._name} could not be run on its final hidden states alone "
                f"({type(error).__name__}: {error}). It reads something besides them; "
                "a perturbation method is the way to explain it."
            ) from error
        finally:
            captured.trunk.__dict__.pop("forward", None)
        return logits

    def _one_token_inputs(self, rows: int) -> dict[str, Any]:
        """Rows of one token. Heads look at their shape, for eos (BART) and for padding (Llama)."""
        config = self._captured.shadow.root.config.get_text_config()
        eos = getattr(config, "eos_token_id", None)
        eos = eos[0] if isinstance(eos, list) else eos
        device = self._captured.hidden.device
        return {
            "input_ids": torch.full((rows, 1), eos or 0, device=device),
            "attention_mask": torch.ones((rows, 1), dtype=torch.long, device=device),
        }

    def _find_read_position(self, mask: Tensor) -> Tensor:
        """Where HoT(x_i^L) is the model's own output, whatever stands at the other positions.

        A head that has no such position must pool: give the same whatever the order of the tokens,
        and on one repeated token what it gives on that token alone. Then HoT is defined as well.
        """
        own, hidden = self._captured.logits, self._captured.hidden
        within = tolerance(own.dtype)
        rows = torch.arange(len(own), device=own.device)
        gaps = gap(self.logits, own[:, None])
        alike = gaps <= within
        reads_one = alike.any(1)
        if reads_one.any():
            elsewhere_negated = torch.where(alike[..., None], hidden, -hidden)
            reads_one &= gap(self._run(elsewhere_negated, self._captured.inputs), own) <= within
        if (reads_one & ~(alike & mask).any(1)).any():
            raise InputError(
                f"the head of {self._name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            self._check_whole()
            token = mask.int().argmax(1)
            repeated = self._run(
                hidden[rows, token][:, None].expand_as(hidden), self._captured.inputs
            )
            rotated = self._run(hidden[rows[:, None], _rotated_within(mask)], self._captured.inputs)
            gaps_when = torch.maximum(gap(repeated, self.logits[rows, token]), gap(rotated, own))
            if (difference := gaps_when[~reads_one].max()) > within:
                raise UnsupportedHeadError(
                    f"the head of {self._name} reads several positions, not all alike "
                    f"(relative difference {float(difference):.1e}): its output is not a function "
                    "of one token's final representation. A perturbation method is the way to "
                    "explain it."
                )
        nearest = gaps.masked_fill(~mask, torch.inf).min(dim=1).indices
        return nearest.masked_fill(~reads_one, -1)

    def _check_whole(self) -> None:
        """On x^L as it is, the head must give the model's own output."""
        whole = self._run(self._captured.hidden, self._captured.inputs)
        own = self._captured.logits
        difference = gap(whole.flatten(), own.flatten()) if whole.shape == own.shape else torch.inf
        if difference > tolerance(own.dtype):
            raise UnsupportedHeadError(
                f"the head of {self._name}, replayed on the final hidden states, does not give the "
                f"model's own output (relative difference {float(difference):.1e}): it reads "
                "something besides them. A perturbation method is the way to explain it."
            )


def _rotated_within(mask: Tensor) -> Tensor:
    """Positions [batch, sequence] that move each token of a row to the next's place."""
    order = torch.arange(mask.shape[1], device=mask.device).repeat(len(mask), 1)
    for row, kept in zip(order, mask, strict=True):
        row[kept] = row[kept].roll(1)
    return order
