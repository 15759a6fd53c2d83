"""Where a model looks up its tokens' word embeddings, and how to take their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.clone import Anatomy
from normxlogit.model.numerics import first_tensor, norms_of


@dataclass(frozen=True)
class LookedUp:
    """A call of the word embeddings: the module, and the ids it took, [batch, sequence]."""

    module: nn.Module
    ids: Tensor

    def norms(self) -> Tensor:
        """||word embedding||_2 in float32, [batch, sequence]."""
        return norms_of(first_tensor(self.module(self.ids)))


def word_embeddings(model: PreTrainedModel, anatomy: Anatomy) -> list[nn.Module]:
    """Find the modules outside the stacks whose weights are the word embeddings.

    There may be several, as encoder and decoder may share the weights. Offloaded weights are no
    longer one tensor: then modules of the same measures count.
    """
    try:
        words = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return []
    table = words._parameters.get("weight") if isinstance(words, nn.Module) else None
    if table is None:
        return []
    names = ("num_embeddings", "embedding_dim", "padding_idx")

    def embeds(module: nn.Module) -> bool:
        weight = module._parameters.get("weight")
        if weight is None or not table.is_meta:
            return weight is table
        return isinstance(module, nn.Embedding) and all(
            getattr(module, name) == getattr(words, name, None) for name in names
        )

    return [module for module in anatomy.outside_stacks if embeds(module)]


class EmbeddingHook:
    """A hook that notes the word embeddings of a sequence, or replaces them.

    Attributes:
        leaves: the embeddings noted, for each part of the sequence [rows, tokens, width]; leaves
            of autograd's graph where gradients are on.
    """

    def __init__(self, ids: Tensor, parts: Sequence[slice], replacement: Tensor | None) -> None:
        """Prepare to see one forward pass.

        Args:
            ids: the tokens, int64 [rows, sequence].
            parts: which positions are an encoder's, and which its decoder's.
            replacement: embeddings to use instead, [rows, sequence, width].
        """
        self.leaves: list[Tensor] = []
        self._ids, self._parts, self._replacement = ids, parts, replacement
        self._calls = 0
        self._is_understood = True

    def check(self, name: str) -> None:
        """Raise `UnsupportedHeadError` unless all tokens were looked up, and nothing else."""
        if not self._is_understood or self._calls < len(self._parts):
            raise UnsupportedHeadError(
                f"{name} does not look up the word embeddings of its tokens one by one, so there "
                "is nothing to take gradients at. method='occlusion' needs none."
            )

    def __call__(self, _module: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor | None:
        """Handle a call of the word embeddings.

        An encoder looks up its part of the sequence, then its decoder the other part; or a decoder
        looks up the encoder's part again, shifted one to the right.
        """
        looked_up = next(iter((*args, *kwargs.values())), None)
        if isinstance(looked_up, Tensor) and looked_up.is_floating_point():
            return None  # output embeddings that are tied to those of words
        number = min(self._calls, len(self._parts) - 1)
        self._calls += 1
        ids = self._ids[:, self._parts[number]]
        length = ids.shape[1]
        if isinstance(looked_up, Tensor) and looked_up.dim() == 2:
            if torch.equal(looked_up[:, :length], ids):
                # Models may pad the sequence to a multiple of a block; the rest stays as it is.
                leaf = self._leaf(number, output[:, :length])
                return torch.cat([leaf, output[:, length:]], 1)
            if torch.equal(looked_up.mT, ids):  # [sequence, rows]
                return self._leaf(number, output.transpose(0, 1)).transpose(0, 1)
            if self._calls > 1 and torch.equal(looked_up[:, 1:], ids[:, :-1]):
                return torch.cat([output[:, :1], self._leaf(number, None)[:, :-1]], 1)
        self._is_understood = False
        return None

    def _leaf(self, number: int, output: Tensor | None) -> Tensor:
        if self._replacement is not None:
            return self._replacement[:, self._parts[number]]
        if number == len(self.leaves) and output is not None:
            leaf = output.detach().clone()
            self.leaves.append(leaf.requires_grad_(torch.is_grad_enabled()))
        return self.leaves[number]
