"""The passes that the notebook of the NormXLogit paper makes, to compare with its figures."""

from functools import cached_property

import torch
from torch import Tensor

from .capture import logits_of
from .errors import InputError, UnsupportedHeadError
from .passes import Passes, differentiable


class TwiceEmbedded(Passes):
    """The embedding layer's output, made without token types, is given to the model as
    `inputs_embeds`, which embeds it once more. It is not what the model says of the text.
    """

    @cached_property
    def embeddings(self) -> Tensor:
        """The embedding layer's output, [rows, sequence, width].

        Raises:
            InputError: rows are padded, which a model cannot tell from `inputs_embeds`.
            UnsupportedHeadError: the model cannot be asked in this way.
        """
        if not self.mask.all():
            raise InputError("compat='paper' takes rows without padding, so of one length.")
        with differentiable(False):
            return self._ask(input_ids=self.ids.clone(), output_hidden_states=True)[1]

    def values_of_embeddings(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """What is explained, of rows with other outputs of the embedding layer; see `Passes`."""
        mask = self.mask[rows].long()
        logits, _ = self._ask(
            inputs_embeds=embeddings, attention_mask=mask, output_hidden_states=True
        )
        return self.objective(logits, rows)

    def check(self, found: Tensor, rows: Tensor) -> None:
        """Nothing: it is known to be otherwise than what the model says."""

    def _noted(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaf = self.embeddings[rows].requires_grad_()
        return self.values_of_embeddings(leaf, rows), [leaf]

    def _ask(self, **inputs: object) -> tuple[Tensor, Tensor]:
        """The model's output, and the first of its hidden states."""
        try:
            outputs = self._shadow.root(**inputs, return_dict=True)
            logits, states = logits_of(outputs, None), outputs.hidden_states[0]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"compat='paper' gives {type(self._model).__name__} the output of its embedding "
                f"layer as inputs_embeds, and this fails: {type(error).__name__}: {error}."
            ) from error
        if logits is None or states.shape[1] != self.ids.shape[1]:
            raise UnsupportedHeadError(
                f"compat='paper' needs an embedding of each of {self.ids.shape[1]} tokens, and "
                f"{type(self._model).__name__} has hidden states of {list(states.shape)}."
            )
        return logits, states
