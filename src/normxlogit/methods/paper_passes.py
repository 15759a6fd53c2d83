"""Reruns as the notebook of the NormXLogit paper makes them, to compare with its figures."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.outputs import logits_of, run_model
from normxlogit.model.reruns import Reruns, differentiable


class NotebookReruns(Reruns):
    """Reruns on texts that are embedded twice, which is not the model's answer to the text.

    The embedding layer's output, computed without token types, becomes the model's `inputs_embeds`,
    to which the embedding layer adds positions and a LayerNorm once more.
    """

    @cached_property
    def embeddings(self) -> Tensor:
        """The embedding layer's output, [rows, sequence, width].

        Raises:
            InputError: rows are padded.
            UnsupportedHeadError: the model does not return it.
        """
        # Some models (RoBERTa) derive positions from padding ids, which `inputs_embeds` lacks.
        if not self.mask.all():
            raise InputError("compat='paper' takes rows without padding, so of one length.")
        with differentiable(False):
            outputs = self._forward(input_ids=self.ids.clone(), output_hidden_states=True)
        states = outputs.get("hidden_states")
        if not states or states[0].shape[1] != self.ids.shape[1]:
            raise UnsupportedHeadError(
                f"compat='paper' needs an embedding of each of {self.ids.shape[1]} tokens as the "
                f"first of the hidden states, and {type(self._model).__name__} gives none."
            )
        first: Tensor = states[0]
        return first

    def values_of_embeddings(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """Return the values to explain for other outputs of the embedding layer; see `Reruns`."""
        mask = self.mask[rows].long()
        logits = logits_of(self._forward(inputs_embeds=embeddings, attention_mask=mask), None)
        assert logits is not None
        return self.objective(logits, rows)

    def check(self, values: Tensor, rows: Tensor) -> None:
        """Accept all values: for texts embedded twice they differ from those of the prediction."""

    def _values_and_leaves(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaf = self.embeddings[rows].requires_grad_()
        return self.values_of_embeddings(leaf, rows), [leaf]

    def _forward(self, **inputs: object) -> Any:
        try:
            return run_model(self._clone.root, inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"compat='paper' gives {type(self._model).__name__} the output of its embedding "
                f"layer as inputs_embeds, and this fails: {type(error).__name__}: {error}."
            ) from error
