"""The projection to values in a block that computes its attention by itself, found by probing.

Names of modules prove nothing. Attention's output is linear in the values, and in nothing else that
mixes tokens: queries and keys go through the softmax, and feed-forward layers mix none.
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
    """Return the one module with a weight matrix that is shown to give a block's values.

    None if there is none, or several; of nested modules that all do, the outermost.

    Each module is run with four copies of the row: its output x; noise n in its place; x + n; and x
    with zeroes for the first half of the tokens. It gives the values if everything that the block's
    modules read of it is linear, f(x) + f(n) = f(x + n), up to an input in which the second half of
    the tokens has taken something from the first, and if the block's output depends on it. As
    f(0) = 0, nothing is then in attention's output that does not come from a value.

    Raises:
        UnsupportedHeadError: the block cannot be run on copies of its row.
    """
    candidates = [
        module
        for module in call.block.modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor)
        and weight.dim() == 2
        and _gives_values(module, call)
    ]
    # An adapter (LoRA) holds the layer that it adds to, and the outer one, which comes first, gives
    # the whole value. Two side by side may be keys and values of attention without a softmax.
    if candidates and set(candidates) <= set(candidates[0].modules()):
        return candidates[0]
    return None


@contextmanager
def zeroed(projection: nn.Module, tokens: Tensor) -> Iterator[None]:
    """Inside, each copy but the first has zeroes in a projection's output for one token.

    Args:
        projection: from `value_projection`.
        tokens: the token of each of these copies, int64 [copies - 1].
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
    """Hooks that put four versions of a module's output in a block, and see what becomes of them.

    Attributes:
        calls: how often the module was called.
        linear: whether everything that other modules read of it is linear in it.
        mixed: whether an input was seen in which some tokens hold something from others.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.reset()

    def reset(self) -> None:
        """Return to the state before the first call."""
        self.calls, self.linear, self.mixed = 0, True, False

    def put(self, _module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        """Replace the module's output by x, noise, their sum, and x for half of the tokens."""
        self.calls += 1
        if not isinstance(output, Tensor) or output.shape[:-1] != (4, self._length):
            self.linear = False
            return None
        x = output[0]  # [tokens, width]; the four copies are equal up to here
        # As large as x, for `agree` would miss what is small beside the other.
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        noise = noise * x.abs().mean()
        second_half = x.clone()
        second_half[: self._length // 2] = 0
        return torch.stack([x, noise, x + noise, second_half])

    def read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compare the four versions in the input of another module."""
        argument = first_tensor((*args, *kwargs.values()))
        # Nothing has to be linear after attention, and norms and feed-forward layers are not.
        if not self.calls or not self.linear or self.mixed:
            return
        if argument is None or len(argument) != 4:
            return
        of_x, of_noise, of_sum, of_second_half = argument
        # An input that does not depend on the probed output, such as that of queries.
        if agree(of_noise, of_x):
            return
        self.linear = agree(of_x + of_noise, of_sum)
        # Zeroes in the first half reach the second half only by mixing.
        if argument.shape[:-1] == (4, self._length):
            later = slice(self._length // 2, None)
            self.mixed = self.linear and not agree(of_second_half[later], of_x[later])


def _gives_values(module: nn.Module, call: BlockCall) -> bool:
    probe = _Probe(call.output.shape[1])
    of_x, of_noise, *_ = call.on_copies(4, partial(_probed, call.block, module, probe))
    return probe.calls == 1 and probe.mixed and not agree(of_noise, of_x)


@contextmanager
def _probed(block: nn.Module, module: nn.Module, probe: _Probe) -> Iterator[None]:
    # `on_copies` may run the block a second time, after a run that failed halfway.
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
