"""A language model's output embeddings, reduced to the rows and positions that are needed.

Logits [batch, sequence, vocabulary] cost most in a small language model with a large vocabulary,
and only two parts of them are needed: those of the position that is read, and those of the target.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from normxlogit.model.clone import Anatomy, ModelClone


def output_embeddings(model: PreTrainedModel) -> nn.Module | None:
    """Return the module that makes logits over the vocabulary; None if the model has none."""
    try:
        module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    except (AttributeError, NotImplementedError):
        return None
    return module if isinstance(module, nn.Module) else None


_SEPARABLE: WeakSet[nn.Module] = WeakSet()
"""Models whose logits of some tokens are known not to depend on those of others."""


class Vocabulary:
    """The output embeddings of a clone.

    Attributes:
        sliceable: whether single rows can be taken: it is a plain linear map with its weights in
            memory, not wrapped by an adapter, quantized or offloaded.
        size: the number of rows; 0 if it is not sliceable.
        called: whether the module was called inside the last `reading` or `only`. A model that
            multiplies by its weight without calling it is not affected by these.
    """

    def __init__(self, original: nn.Module, anatomy: Anatomy, clone: ModelClone) -> None:
        self._module = clone.of[original]
        weight = original._parameters.get("weight")
        # Exact types: a subclass or a replaced forward may compute anything. Accelerate's hooks
        # replace it too, but only move tensors.
        self.sliceable = (
            type(original) is nn.Linear
            and type(weight) is nn.Parameter
            and weight.device.type != "meta"
            and ("forward" not in vars(original) or hasattr(original, "_hf_hook"))
        )
        self.size = len(weight) if self.sliceable and weight is not None else 0
        self._model, self.called = anatomy.modules[0], False
        # Other parameters and buffers of the head with a number per token (BERT's decoder bias,
        # final_logits_bias, a mask of tokens) are added to logits, so they must be sliced as well.
        # Those inside the blocks only happen to be as long.
        self._per_token: list[tuple[dict[str, Any], str]] = []
        if self.sliceable and weight is not None:
            stores: list[dict[str, Any]] = []
            for module in anatomy.outside_stacks:
                if module is not original:
                    stores += [clone.of[module]._parameters, clone.of[module]._buffers]
            self._per_token = [
                (store, name)
                for store in stores
                for name, value in store.items()
                if value is not None and value.numel() == value.shape[-1:].numel() == len(weight)
            ]

    @classmethod
    def of(cls, model: PreTrainedModel, anatomy: Anatomy, clone: ModelClone) -> "Vocabulary | None":
        """Return the output embeddings of a model's clone; None if the model has none."""
        original = output_embeddings(model)
        return None if original is None else cls(original, anatomy, clone)

    @property
    def is_separable(self) -> bool:
        """Whether logits of some tokens are known not to depend on those of others.

        A log-softmax over them would. It is a matter of the model's code, not of its input, and
        so tested once for each model.
        """
        return self._model in _SEPARABLE

    def found_separable(self) -> None:
        """Remember that the logits are separable."""
        _SEPARABLE.add(self._model)

    @contextmanager
    def reading(self, positions: Tensor) -> Iterator[None]:
        """Restrict the logits to these positions, int64 [batch, positions], inside the context."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]  # [batch, 1]
        whole = self._module.forward

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            # [batch, sequence, hidden] -> [batch, positions, hidden]; anything else is no batch of
            # sequences, and `called` stays False.
            if hidden.dim() == 3 and len(hidden) == len(positions):
                self.called = True
                hidden = hidden[rows.to(hidden.device), positions.to(hidden.device)]
            return whole(hidden, *args, **kwargs)

        with self._forward(forward):
            yield

    @contextmanager
    def only(self, ids: Tensor) -> Iterator[None]:
        """Restrict the vocabulary to these tokens, int64 [tokens], inside the context.

        A method that needs the target's logit of every token then multiplies by one row, not by
        the whole vocabulary: [sequence, hidden] x [hidden, 1], not x [hidden, 50,000].
        """
        weight, bias = (self._module._parameters.get(name) for name in ("weight", "bias"))
        assert weight is not None
        rows = weight[ids.to(weight.device)]  # [tokens, hidden]
        offsets = None if bias is None else bias[ids.to(bias.device)]

        def forward(hidden: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            self.called = True
            return linear(hidden.to(rows.device), rows, offsets)

        originals = [(store, name, store[name]) for store, name in self._per_token]
        try:
            for store, name, value in originals:
                part = value[..., ids.to(value.device)]
                store[name] = nn.Parameter(part, False) if isinstance(value, nn.Parameter) else part
            with self._forward(forward):
                yield
        finally:
            for store, name, value in originals:
                store[name] = value

    @contextmanager
    def _forward(self, forward: Any) -> Iterator[None]:
        self.called = False
        # On the instance, where it hides the class's method; accelerate may have one there already.
        attributes = vars(self._module)
        before = attributes.get("forward")
        attributes["forward"] = forward
        try:
            yield
        finally:
            if before is None:
                del attributes["forward"]
            else:
                attributes["forward"] = before
