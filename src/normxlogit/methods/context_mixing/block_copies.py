"""A block run again, on copies of the row that it has read."""

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

WAY_OUT = "method='normxlogit' needs no such pass."


@dataclass
class BlockCall:
    """A call of a block, in a pass over one row.

    Attributes:
        block: a block of a clone.
        args: what it was called with.
        kwargs: the same, by name.
        output: the first tensor that it gave, its states, [1, tokens, width].
        where: which layer of what model it is.
        then: the first tensor that a module was called with after it.
    """

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    where: str
    then: Any = None

    def on_copies(self, copies: int, inside: Callable[[], AbstractContextManager[None]]) -> Tensor:
        """The states that the block gives for copies of its row, [copies, tokens, width].

        Args:
            copies: how many.
            inside: what to run it in, which changes what is computed of all copies but the first.

        Raises:
            UnsupportedHeadError: it cannot be run on copies, or gives something else for the first
                than it gave.
        """
        try:
            found: Tensor = self._on_copies(partial(_expanded, copies=copies), inside)
        except (torch.OutOfMemoryError, UnsupportedHeadError):
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"{self.where} could not be run on copies of a row: {type(error).__name__}: "
                f"{error}. {WAY_OUT}"
            ) from error
        if found.shape[1:] != self.output.shape[1:] or not agree(found[:1], self.output):
            raise UnsupportedHeadError(
                f"{self.where} gave something else when run again on copies of a row, so what "
                f"zeroing values changes cannot be told. {WAY_OUT}"
            )
        return found

    def _on_copies(
        self, many: Callable[[Tensor], Tensor], inside: Callable[[], AbstractContextManager[None]]
    ) -> Any:
        try:
            with _of_one_at_once(self.block), inside():
                return self._run(many)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it flattens, or writes to, what stands in memory once for all copies
            with inside():
                return self._run(lambda value: many(value).contiguous())

    def _run(self, many: Callable[[Tensor], Tensor]) -> Any:
        return first_tensor(self.block(*each(many, self.args), **each(many, self.kwargs)))


@contextmanager
def _of_one_at_once(block: nn.Module) -> Iterator[None]:
    """Inside, what a block computes of copies that are all alike yet, it computes of one."""
    leaves = [module for module in block.modules() if not module._modules]
    before = [(vars(module), vars(module).get("forward")) for module in leaves]
    try:
        for module in leaves:
            vars(module)["forward"] = partial(_of_one, module.forward)
        yield
    finally:
        for own, forward in before:
            if forward is None:
                del own["forward"]
            else:
                own["forward"] = forward


def _of_one(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    first = args[0] if len(args) == 1 and not kwargs else None
    if isinstance(first, Tensor) and first.dim() > 1 and len(first) > 1 and first.stride(0) == 0:
        found = forward(first[:1])
        if isinstance(found, Tensor) and len(found) == 1:
            return found.expand(len(first), *found.shape[1:])
    return forward(*args, **kwargs)


def _expanded(value: Tensor, copies: int) -> Tensor:
    """A tensor of one row for several copies of it."""
    return value if value.dim() < 2 or len(value) != 1 else value.expand(copies, *value.shape[1:])


def each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with every tensor changed in the tuples, lists and dicts of a block's arguments, and
    without caches, in which a token's keys and values would stand twice.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Cache):
        return None
    if type(value) in (tuple, list):
        return type(value)(each(change, inner) for inner in value)
    if type(value) is dict:
        return {key: each(change, inner) for key, inner in value.items()}
    return value
