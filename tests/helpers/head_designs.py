"""Heads as people write them, as functions of final states, at outputs of any scale."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from tests.helpers.zoo import tiny_model

Design = Callable[[Tensor, Tensor], Tensor]
"""Takes states [rows, sequence, hidden] and weights [outputs, hidden]; returns [rows, outputs]."""


def _masked_by_the_mean(h: Tensor, w: Tensor) -> Tensor:
    """The label that the mean is for is ruled out."""
    chosen = (h.mean(1) @ w.mT).argmax(-1, keepdim=True)
    return (h[:, 0] @ w.mT).scatter_add(-1, chosen, torch.full_like(chosen, -9, dtype=h.dtype))


def _norm_of_first(h: Tensor, w: Tensor) -> Tensor:
    return torch.nn.functional.normalize(h[:, 0].float(), dim=-1).to(h.dtype) @ w.mT


def _weighted(h: Tensor, w: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1.5, h.shape[1]).to(h.dtype)
    return (h * weights[:, None]).mean(1) @ w.mT


def _attended(h: Tensor, w: Tensor) -> Tensor:
    weights = (h @ w[0]).softmax(1)
    return (h * weights[..., None]).sum(1) @ w.mT


LEGITIMATE: dict[str, Design] = {
    "first": lambda h, w: h[:, 0] @ w.mT,
    "last": lambda h, w: h[:, -1] @ w.mT,
    "third": lambda h, w: h[:, min(2, h.shape[1] - 1)] @ w.mT,
    "tanh of first": lambda h, w: h[:, 0].tanh() @ w.mT,
    "normalised first": _norm_of_first,
    "mean": lambda h, w: h.mean(1) @ w.mT,
    "tanh of mean": lambda h, w: h.mean(1).tanh() @ w.mT,
    "largest": lambda h, w: h.amax(1) @ w.mT,
}
"""Functions of one token's state, or the same for one repeated token whatever the order."""

MIXED: dict[str, Design] = {
    "first + mean": lambda h, w: (h[:, 0] + h.mean(1)) @ w.mT,
    "first + a tenth of mean": lambda h, w: (h[:, 0] + 0.1 * h.mean(1)) @ w.mT,
    "first + a fiftieth of mean": lambda h, w: (h[:, 0] + 0.02 * h.mean(1)) @ w.mT,
    "first + last": lambda h, w: (h[:, 0] + h[:, -1]) @ w.mT,
    "first + relu of mean": lambda h, w: h[:, 0] @ w.mT + (h.mean(1) @ w.mT - 1.5).relu(),
    "first + relu of negated mean": lambda h, w: h[:, 0] @ w.mT + (-h.mean(1) @ w.mT - 1.5).relu(),
    "first, kept within the mean": lambda h, w: (h[:, 0] @ w.mT).minimum(4 + h.mean(1) @ w.mT),
    "sign of mean": lambda h, w: (h[:, 0] @ w.mT) * h.mean(1)[:, :1].sign(),
    "masked by the mean": _masked_by_the_mean,
    "weighted by position": _weighted,
    "attended": _attended,
    "first, times a number of last": lambda h, w: (h[:, 0] @ w.mT) * (1 + 0.1 * h[:, -1, :1]),
}
"""Functions of several tokens' states, some of them only for certain texts."""

Scale = Callable[[Tensor], Tensor]

SCALES: dict[str, Scale] = {
    "plain": lambda x: x,
    "a value far from zero": lambda x: x + torch.tensor([1990.0, 0, 0]).to(x.dtype),
    "a masked label": lambda x: x + torch.tensor([0, 0, -1e4]).to(x.dtype),
    "one in thousands": lambda x: x * torch.tensor([1, 1, 4e3]).to(x.dtype),
    "probabilities": lambda x: (3 * x).softmax(-1),
}
"""What may stand between a head and its outputs [rows, 3]."""


def headed(design: Design, scale: Scale, seed: int, dtype: torch.dtype) -> Any:
    """A random BERT with a head of this design, which `head` puts on other states."""
    model: Any = tiny_model("bert", seed=seed, num_labels=3)
    weights = torch.randn(
        3, model.config.hidden_size, generator=torch.Generator().manual_seed(seed)
    )

    class Headed(type(model)):  # type: ignore[misc]
        def head(self, states: Tensor) -> Tensor:
            weights = self.classifier.weight
            return scale(design(states, weights))

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states = self.bert(input_ids, attention_mask).last_hidden_state
            return SequenceClassifierOutput(logits=self.head(states))

    model.__class__ = Headed
    model.classifier.weight.data = weights
    return model.to(dtype)
