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
        self._check_whole()
        self.logits = self.on_tokens(captured.hidden)
        self.read_position = self._find_read_position(mask)

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [batch, sequence, hidden] -> [batch, sequence, classes]."""
        batch, sequence, size = hidden.shape
        inputs = self._one_token_inputs(batch * sequence)
        logits = self._run(hidden.reshape(batch * sequence, 1, size), inputs, position=0)
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
            logits: Tensor = captured.shadow.root(**inputs, return_dict=True).logits.detach()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"the head of {self._name} could not be run on its final hidden states alone "
                f"({type(error).__name__}: {error}). It reads something besides them; "
                "a perturbation method is the way to explain it."
            ) from error
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

    def _find_read_position(self, mask: Tensor) -> Tensor:
        """Where HoT(x_i^L) is the model's own output.

        A head that has no such position reads several (mean pooling). It must give on a sequence of
        one repeated token what it gives on that token alone; then HoT is defined all the same.
        """
        own, within = self._captured.logits, tolerance(self._captured.logits.dtype)
        gaps = gap(self.logits, own[:, None])
        nearest = gaps.masked_fill(~mask, torch.inf).min(dim=1)
        reads_one = nearest.values <= within
        if ((gaps <= within).any(1) & ~reads_one).any():
            raise InputError(
                f"the head of {self._name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            batch, sequence, size = self._captured.hidden.shape
            rows = torch.arange(batch, device=mask.device)
            token = mask.int().argmax(1)
            repeated = self._captured.hidden[rows, token][:, None].expand(batch, sequence, size)
            found = self._run(repeated, self._captured.inputs)
            difference = gap(found, self.logits[rows, token])[~reads_one].max()
            if difference > within:
                raise UnsupportedHeadError(
                    f"what the head of {self._name} gives on one token differs from what it gives "
                    f"on that token repeated (relative difference {float(difference):.1e}), and no "
                    "single position gives the model's output: its output is not a function of one "
                    "token's final representation. A perturbation method is the way to explain it."
                )
        return nearest.indices.masked_fill(~reads_one, -1)
