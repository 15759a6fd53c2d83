"""A block run again on copies of the row that it was run on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.numerics import agree, first_tensor

INSTEAD_OF_COPIES = "method='normxlogit' needs no such pass."


@dataclass
class BlockCall:
    """A call of a block, in a pass over one row.

    Attributes:
        block: a block of a clone.
        args: its positional arguments.
        kwargs: its keyword arguments.
        output: its states, the first tensor of its output, [1, tokens, width].
        where: the layer and the model, for errors.
        next_input: the first tensor of the arguments of the next module that was called.
    """

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    where: str
    next_input: Any = None

    def on_copies(self, copies: int, inside: Callable[[], AbstractContextManager[None]]) -> Tensor:
        """Return the block's states for copies of its row, [copies, tokens, width].

        Args:
            copies: how many.
            inside: makes a context to run the block in, which changes the computation for all
                copies but the first.

        Raises:
            UnsupportedHeadError: the block cannot be run on copies, or does not give its own output
                for the first.
        """
        try:
            states: Tensor = self._on_copies(partial(_expand, copies=copies), inside)
        except (torch.OutOfMemoryError, UnsupportedHeadError):
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"{self.where} could not be run on copies of a row: {type(error).__name__}: "
                f"{error}. {INSTEAD_OF_COPIES}"
            ) from error
        # Run outside of its model, a block may lack what that sets elsewhere; the first copy, which
        # nothing is changed of, shows whether it does.
        if states.shape[1:] != self.output.shape[1:] or not agree(states[:1], self.output):
            raise UnsupportedHeadError(
                f"{self.where} gave something else when run again on copies of a row, so what "
                f"zeroing values changes cannot be known. {INSTEAD_OF_COPIES}"
            )
        return states

    def _on_copies(
        self, copy: Callable[[Tensor], Tensor], inside: Callable[[], AbstractContextManager[None]]
    ) -> Any:
        try:
            with _computing_equal_copies_once(self.block), inside():
                return self._run(copy)
        except torch.OutOfMemoryError:
            raise
        # Expanded copies are one piece of memory, which a block cannot flatten or write to.
        except RuntimeError:
            with inside():
                return self._run(lambda value: copy(value).contiguous())

    def _run(self, copy: Callable[[Tensor], Tensor]) -> Any:
        return first_tensor(
            self.block(*map_tensors(copy, self.args), **map_tensors(copy, self.kwargs))
        )


@contextmanager
def _computing_equal_copies_once(block: nn.Module) -> Iterator[None]:
    """Inside, the block's leaf modules compute copies that are still equal only once."""
    # Norms and projections before attention see equal copies, one for each token. Hooks cannot skip
    # a forward, so it is set on the instance, where accelerate's may stand already.
    leaves = [module for module in block.modules() if not module._modules]
    before = [(vars(module), vars(module).get("forward")) for module in leaves]
    try:
        for module in leaves:
            vars(module)["forward"] = partial(_forward_once, module.forward)
        yield
    finally:
        for attributes, forward in before:
            if forward is None:
                del attributes["forward"]
            else:
                attributes["forward"] = forward


def _forward_once(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    first = args[0] if len(args) == 1 and not kwargs else None
    # Stride 0 along the copies: `_expand` made them, and nothing has told them apart since.
    if isinstance(first, Tensor) and first.dim() > 1 and len(first) > 1 and first.stride(0) == 0:
        output = forward(first[:1])
        if isinstance(output, Tensor) and len(output) == 1:
            return output.expand(len(first), *output.shape[1:])
    return forward(*args, **kwargs)


def _expand(value: Tensor, copies: int) -> Tensor:
    """Expand a tensor of one row to copies of it, without copying memory."""
    return value if value.dim() < 2 or len(value) != 1 else value.expand(copies, *value.shape[1:])


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Change every tensor in the tuples, lists and dicts of a block's arguments; drop caches."""
    if isinstance(value, Tensor):
        return change(value)
    # A cache holds the row's keys and values of the first run; the block would append them again.
    if isinstance(value, Cache):
        return None
    if type(value) in (tuple, list):
        return type(value)(map_tensors(change, inner) for inner in value)
    if type(value) is dict:
        return {key: map_tensors(change, inner) for key, inner in value.items()}
    return value
