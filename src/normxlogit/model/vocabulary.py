"""A language model's output embeddings, of which only the rows and positions asked for are used.

Logits of [batch, sequence, vocabulary] are what costs most in a small language model with a large
vocabulary, and none of them is needed but those of the position that is read and the target's.
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
    """The module that makes logits over the vocabulary; None if the model has no such head."""
    try:
        module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    except (AttributeError, NotImplementedError):
        return None
    return module if isinstance(module, nn.Module) else None


_SEPARABLE: WeakSet[nn.Module] = WeakSet()


class Vocabulary:
    """The output embeddings of a clone.

    Attributes:
        sliceable: whether single rows can be taken of it: a plain linear map whose weights are
            here, not wrapped by an adapter, quantised or offloaded.
        size: how many rows it has; 0 if it is not sliceable.
        called: whether the module was called inside the last `reading` or `only`.
    """

    def __init__(self, original: nn.Module, anatomy: Anatomy, clone: ModelClone) -> None:
        self._module = clone.of[original]
        weight = original._parameters.get("weight")
        self.sliceable = (
            type(original) is nn.Linear
            and type(weight) is nn.Parameter
            and weight.device.type != "meta"
            and ("forward" not in vars(original) or hasattr(original, "_hf_hook"))
        )
        self.size = len(weight) if self.sliceable and weight is not None else 0
        self._model, self.called = anatomy.modules[0], False
        self._sized: list[tuple[dict[str, Any], str]] = []
        if self.sliceable and weight is not None:
            stores: list[dict[str, Any]] = []
            for module in anatomy.outside_stacks:
                if module is not original:
                    stores += [clone.of[module]._parameters, clone.of[module]._buffers]
            self._sized = [
                (store, name)
                for store in stores
                for name, value in store.items()
                if value is not None and value.numel() == value.shape[-1:].numel() == len(weight)
            ]

    @classmethod
    def of(cls, model: PreTrainedModel, anatomy: Anatomy, clone: ModelClone) -> "Vocabulary | None":
        """Those of a model's clone; None if the model has none."""
        original = output_embeddings(model)
        return None if original is None else cls(original, anatomy, clone)

    @property
    def is_separable(self) -> bool:
        """Whether it is known that what the model makes of a row's output does not depend on the
        other rows: a matter of its code, and so found out once for each model.
        """
        return self._model in _SEPARABLE

    def found_separable(self) -> None:
        """Remember that it is so."""
        _SEPARABLE.add(self._model)

    @contextmanager
    def reading(self, positions: Tensor) -> Iterator[None]:
        """Inside, logits are of these positions only, int64 [batch, positions]."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        whole = self._module.forward

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            if hidden.dim() == 3 and len(hidden) == len(positions):
                self.called = True
                hidden = hidden[rows.to(hidden.device), positions.to(hidden.device)]
            return whole(hidden, *args, **kwargs)

        with self._forward(forward):
            yield

    @contextmanager
    def only(self, ids: Tensor) -> Iterator[None]:
        """Inside, the vocabulary consists of these tokens, int64 [tokens]."""
        weight, bias = (self._module._parameters.get(name) for name in ("weight", "bias"))
        assert weight is not None
        rows = weight[ids.to(weight.device)]
        offsets = None if bias is None else bias[ids.to(bias.device)]

        def forward(hidden: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            self.called = True
            return linear(hidden.to(rows.device), rows, offsets)

        kept = [(store, name, store[name]) for store, name in self._sized]
        try:
            for store, name, value in kept:
                part = value[..., ids.to(value.device)]
                store[name] = nn.Parameter(part, False) if isinstance(value, nn.Parameter) else part
            with self._forward(forward):
                yield
        finally:
            for store, name, value in kept:
                store[name] = value

    @contextmanager
    def _forward(self, forward: Any) -> Iterator[None]:
        self.called = False
        own = vars(self._module)
        before = own.get("forward")
        own["forward"] = forward
        try:
            yield
        finally:
            if before is None:
                del own["forward"]
            else:
                own["forward"] = before
