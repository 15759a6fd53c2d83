"""Where a block that computes its attention by itself projects its tokens to values.

Nothing is told by a name. Of all that a block computes, attention's output is linear in the values
alone: queries and keys go through the softmax, what feed-forward layers compute mixes no tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from normxlogit.methods.context_mixing.block_copies import BlockCall
from normxlogit.model.numerics import agree, first_tensor


def value_projection(call: BlockCall) -> nn.Module | None:
    """The one module with a matrix of its own that was shown to give a block's values, if there is
    one; of modules inside each other that all were, the outermost.

    Each is run with four copies of the row: x, what it gives; noise n in its place; x + n; and x
    without the first half of the tokens. It gives the values if all that the block's modules read
    of it is linear, f(x) + f(n) = f(x + n), up to an input in which the second half of the tokens
    has taken something of the first, and if the block's output depends on it. As f(0) = 0, there is
    then nothing in attention's output that is not a value's.

    Raises:
        UnsupportedHeadError: the block cannot be run on copies of its row.
    """
    found = [
        module
        for module in call.block.modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor)
        and weight.dim() == 2
        and _gives_values(module, call)
    ]
    return found[0] if found and set(found) <= set(found[0].modules()) else None


@contextmanager
def zeroed(projection: nn.Module, tokens: Tensor) -> Iterator[None]:
    """Inside, each copy but the first has zeroes for what a projection gives for one token.

    Args:
        projection: from `value_projection`.
        tokens: which token, int64 [copies - 1].
    """

    def zero(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[torch.arange(1, len(output)), tokens.to(output.device)] = 0
        return output

    handle = projection.register_forward_hook(zero)
    try:
        yield
    finally:
        handle.remove()


class _Probe:
    """What becomes of four versions of what a module gives.

    Attributes:
        calls: how often the module was called.
        linear: whether what other modules read of it is linear in it.
        mixed: whether one was seen to read of some tokens what comes from others.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.reset()

    def reset(self) -> None:
        """As before the first call."""
        self.calls, self.linear, self.mixed = 0, True, False

    def put(self, _module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        """What the module gives, noise, their sum, and the former for half of the tokens."""
        self.calls += 1
        if not isinstance(output, Tensor) or output.shape[:-1] != (4, self._length):
            self.linear = False
            return None
        one = output[0]
        noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        noise = noise * one.abs().mean()
        half = one.clone()
        half[: self._length // 2] = 0
        return torch.stack([one, noise, one + noise, half])

    def read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See what a module is called with."""
        given = first_tensor((*args, *kwargs.values()))
        if not self.calls or not self.linear or self.mixed or given is None or len(given) != 4:
            return
        one, noise, both, half = given
        if agree(noise, one):
            return
        later = slice(self._length // 2, None)
        self.linear = agree(one + noise, both)
        if given.shape[:-1] == (4, self._length):
            self.mixed = self.linear and not agree(half[later], one[later])


def _gives_values(module: nn.Module, call: BlockCall) -> bool:
    probe = _Probe(call.output.shape[1])
    one, noise, *_ = call.on_copies(4, partial(_probed, call.block, module, probe))
    return probe.calls == 1 and probe.mixed and not agree(noise, one)


@contextmanager
def _probed(block: nn.Module, module: nn.Module, probe: _Probe) -> Iterator[None]:
    probe.reset()
    handles = [module.register_forward_hook(probe.put)] + [
        leaf.register_forward_pre_hook(probe.read, with_kwargs=True)
        for leaf in block.modules()
        if not leaf._modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
