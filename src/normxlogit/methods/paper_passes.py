"""The passes that the notebook of the NormXLogit paper makes, to compare with its figures."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.capture import logits_of
from normxlogit.model.reruns import Reruns, differentiable


class NotebookReruns(Reruns):
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
            outputs = self._ask(input_ids=self.ids.clone(), output_hidden_states=True)
        states = outputs.get("hidden_states")
        if not states or states[0].shape[1] != self.ids.shape[1]:
            raise UnsupportedHeadError(
                f"compat='paper' needs an embedding of each of {self.ids.shape[1]} tokens as the "
                f"first of the hidden states, and {type(self._model).__name__} gives none."
            )
        first: Tensor = states[0]
        return first

    def values_of_embeddings(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """What is explained, of rows with other outputs of the embedding layer; see `Reruns`."""
        mask = self.mask[rows].long()
        logits = logits_of(self._ask(inputs_embeds=embeddings, attention_mask=mask), None)
        assert logits is not None
        return self.objective(logits, rows)

    def check(self, found: Tensor, rows: Tensor) -> None:
        """Nothing: it is known to be otherwise than what the model says."""

    def _values_and_leaves(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaf = self.embeddings[rows].requires_grad_()
        return self.values_of_embeddings(leaf, rows), [leaf]

    def _ask(self, **inputs: object) -> Any:
        try:
            return self._shadow.root(**inputs, return_dict=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"compat='paper' gives {type(self._model).__name__} the output of its embedding "
                f"layer as inputs_embeds, and this fails: {type(error).__name__}: {error}."
            ) from error
