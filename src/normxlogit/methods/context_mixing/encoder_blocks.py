"""Blocks of the BERT family, decomposed into maps that are linear in each token's contribution.

A block adds the output of attention to each token's state x_i, and normalises; then it adds the
output of a feed-forward layer, and normalises. `Block` holds the parts of one block, with its input
and attention for one row. Rows of maps are receiving tokens i, columns contributing tokens j.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from normxlogit.data.option_checks import flag
from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.attention import Maps, read_maps
from normxlogit.methods.context_mixing.steps import Activation, Linear, Norm, PartError, Step
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.numerics import agree, first_tensor

INSTEAD_OF_DECOMPOSITION = "method='normxlogit' takes no blocks apart."

_CHUNK_NUMBERS = 1 << 22
"""How many numbers a chunk of vectors may hold: 16 MiB in float32."""

Call = tuple[nn.Module, Tensor]
"""A module and the first tensor of its arguments."""


@dataclass(frozen=True)
class Intermediates:
    """A block's intermediate results for states x; [tokens, hidden] but for `up`.

    Attributes:
        first: x plus the output of attention.
        middle: `first`, normalised.
        up: the input of the activation, [tokens, intermediate].
        second: `middle` plus the output of the feed-forward layer.
        out: `second`, normalised.
    """

    first: Tensor
    middle: Tensor
    up: Tensor
    second: Tensor
    out: Tensor


@dataclass(frozen=True)
class Block:
    """A block with its input and attention for one row, in float32, or float64 for float64 models.

    Attributes:
        value, projection: W_v and W_o of the attention.
        first_norm, second_norm: the norms after the attention and the feed-forward layer.
        up, activation, down: the feed-forward layer.
        attention: the weights A, [heads, tokens, tokens].
        states: its input x, [tokens, hidden].
    """

    value: Linear
    projection: Linear
    first_norm: Norm
    up: Linear
    activation: Activation
    down: Linear
    second_norm: Norm
    attention: Tensor
    states: Tensor

    @property
    def feed_forward(self) -> tuple[Linear, Activation, Linear]:
        """The steps from `Intermediates.middle` to the output that is added to it."""
        return self.up, self.activation, self.down

    @cached_property
    def computed(self) -> Intermediates:
        """The intermediate results for the block's own input."""
        return self.compute(self.states)

    def compute(self, x: Tensor) -> Intermediates:
        """Run the block on states [tokens, hidden], with the attention weights kept as they are."""
        values = self._by_head(self.value(x))  # [tokens, heads, width]
        attended = torch.einsum("hij,jhe->ihe", self.attention, values).flatten(1)
        first = self.projection(attended) + x
        middle = self.first_norm(first)
        up = self.up(middle)
        second = self.down(self.activation(up)) + middle
        return Intermediates(first, middle, up, second, self.second_norm(second))

    @property
    def weights(self) -> Tensor:
        """The weight of each of `contributions` for each receiver, [heads + 1, tokens, tokens]."""
        # The residual connection is one more head, in which each token attends to itself alone.
        residual = torch.eye(len(self.states)).to(self.attention)
        return torch.cat([self.attention, residual[None]])

    @property
    def contributions(self) -> Tensor:
        """Each token's contribution through each head of `weights`, [tokens, heads + 1, hidden].

        These are W_o^h v_j^h, and x_j for the residual connection. Weighted, summed over tokens and
        heads, and with the bias of W_o added, they make `Intermediates.first`.
        """
        values = self._by_head(self.value(self.states))  # [tokens, heads, width]
        projected = torch.einsum("jhe,dhe->jhd", values, self._by_head(self.projection.weight))
        return torch.cat([projected, self.states[:, None]], 1)

    def propagate(self, vectors: Tensor, receivers: Tensor) -> Tensor:
        """Return sum_j (sum_h A^h_ij W_o^h W_v^h) d_j + d_i for vectors d that states consist of.

        Args:
            vectors: d, [tokens, sources, hidden].
            receivers: the tokens i, int64 [receivers].

        Returns:
            [receivers, sources, hidden], without the biases of W_v and W_o.
        """
        # [tokens, sources, heads, width]. Mixed, and only then projected, heads together: projected
        # one by one, as in `contributions`, they would be heads times as many numbers.
        values = self._by_head(functional.linear(vectors, self.value.weight))
        mixed = torch.einsum("hij,jkhe->ikhe", self.attention[:, receivers], values).flatten(2)
        return functional.linear(mixed, self.projection.weight) + vectors[receivers]

    @property
    def bias(self) -> Tensor | None:
        """W_o b_v + b_o: what attention adds to every token, whatever the others are."""
        # Each row of A sums to one, so b_v comes through attention whole.
        values = self.value.bias
        projected = None if values is None else self.projection.weight @ values
        if projected is None or self.projection.bias is None:
            return self.projection.bias if projected is None else projected
        return projected + self.projection.bias

    def _by_head(self, values: Tensor) -> Tensor:
        """[..., heads * width] -> [..., heads, width]."""
        return values.reshape(*values.shape[:-1], len(self.attention), -1)


def chunks(count: int, numbers: int, device: torch.device) -> Iterator[Tensor]:
    """Split the indices of `count` items of `numbers` numbers each into chunks, int64 [chunk]."""
    indices = torch.arange(count, device=device)
    return iter(torch.split(indices, max(1, _CHUNK_NUMBERS // numbers)))


_PARTS: Mapping[str, str] = {
    "value": "attention.self.value",
    "projection": "attention.output.dense",
    "first_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "activation": "intermediate.intermediate_act_fn",
    "down": "output.dense",
    "second_norm": "output.LayerNorm",
}
"""Where a block of the BERT family holds the parts of a `Block`."""


@dataclass
class _BlockCall:
    """A call of a block, as hooks recorded it."""

    block: nn.Module
    states: Tensor | None
    output: Tensor | None = None
    attention: Tensor | None = None


def run_blocks(
    context: MethodContext, clone: ModelClone, row: int
) -> tuple[list[Block], list[Call], Tensor]:
    """Run a clone on one row, and decompose its blocks.

    Args:
        context: the forward pass and what to explain of it.
        clone: a clone from its reruns, with eager attention.
        row: which row.

    Returns:
        The blocks in their order; the calls of modules without children after the last block; and
        the positions of the row's tokens, int64 [tokens].

    Raises:
        UnsupportedHeadError: the blocks are of another kind, or compute something else.
    """
    name, blocks = type(clone.root).__name__, context.blocks
    twins = [] if blocks is None else list(clone.of[blocks].children())
    block_calls: list[_BlockCall] = []
    head_calls: list[Call] = []

    def enter(block: nn.Module, args: Any, kwargs: Any) -> None:
        block_calls.append(_BlockCall(block, first_tensor((*args, *kwargs.values()))))

    def leave(_block: nn.Module, _args: Any, output: Any) -> None:
        block_calls[-1].output = first_tensor(output)
        # Calls so far are the embedding layer's, or lie between blocks; the head comes last.
        head_calls.clear()

    def attend(_module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], Tensor):
            block_calls[-1].attention = output[1]

    def call(module: nn.Module, args: Any, kwargs: Any) -> None:
        if (argument := first_tensor((*args, *kwargs.values()))) is not None:
            head_calls.append((module, argument))

    with ExitStack() as hooks:
        for block in twins:
            attention = _submodule(block, "attention.self")
            if attention is None:
                raise _unlike_bert(
                    name, f"one of its {type(block).__name__}s has no attention.self"
                )
            hooks.callback(attention.register_forward_hook(attend).remove)
            hooks.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(block.register_forward_hook(leave).remove)
        for module in Anatomy.of(clone.root).outside_stacks:
            if not module._modules:
                hooks.callback(module.register_forward_pre_hook(call, with_kwargs=True).remove)
        _, tokens = context.reruns.run_clone(clone, row, output_attentions=True)
    if not block_calls or len(block_calls) != context.depth:
        raise _unlike_bert(name, f"{len(block_calls)} of its {context.depth} layers were called")
    decomposed = [
        _decompose(block_call, len(tokens), f"layer {number} of {name}")
        for number, block_call in enumerate(block_calls, 1)
    ]
    for number, (before, after) in enumerate(pairwise(block_calls), 1):
        assert before.output is not None
        assert after.states is not None
        if not torch.equal(before.output.to(after.states.device), after.states):
            raise _unlike_bert(
                name, f"something happens between its layers {number} and {number + 1}"
            )
    return decomposed, head_calls, tokens


def read_block_maps(
    context: MethodContext, map_block: Callable[[Block], Tensor], rollout: bool
) -> Tensor:
    """Read what each token contributes to the read positions from a map of each block.

    Args:
        context: the forward pass and what to explain of it.
        map_block: returns a block's map, [tokens, tokens].
        rollout: multiply a layer's map with those of all layers before it.

    Returns:
        float32 [batch, targets or 1, layers, sequence].

    Raises:
        OptionError: `rollout` is neither True nor False.
        UnsupportedHeadError: as `run_blocks`; or the product of maps overflows.
    """
    rollout = flag("rollout", rollout)

    def layer_maps(clone: ModelClone, row: int, layers: list[int]) -> tuple[Maps, Tensor]:
        blocks, _, tokens = run_blocks(context, clone, row)
        return {layer: map_block(blocks[layer - 1]) for layer in layers}, tokens

    scores = read_maps(context, "eager", layer_maps, rolled_out=rollout)
    if not scores.isfinite().all():
        raise UnsupportedHeadError(
            "the maps of these layers, or their product, hold numbers that are not finite. Choose "
            "a lower layer with layer=..., or set rollout=False."
        )
    return scores


def _decompose(call: _BlockCall, length: int, where: str) -> Block:
    """Return the block of a call, after a check that its parts give the call's output."""
    states, output, attention = call.states, call.output, call.attention
    if states is None or output is None or states.shape[:2] != (1, length) or states.dim() != 3:
        raise _unlike_bert(where, f"its states are not one for each of {length} tokens")
    if attention is None or attention.dim() != 4 or attention.shape[-2:] != (length, length):
        shape = None if attention is None else list(attention.shape)
        raise _unlike_bert(where, f"its attention gave {shape}, not [1, heads, {length}, {length}]")
    dtype = torch.float64 if states.dtype == torch.float64 else torch.float32
    makers: dict[str, Callable[[Any, torch.dtype], Step]]
    makers = {"first_norm": Norm.of, "second_norm": Norm.of, "activation": Activation.of}
    parts: dict[str, Any] = {}
    for part, path in _PARTS.items():
        if (module := _submodule(call.block, path)) is None:
            raise _unlike_bert(where, f"it has no {path}")
        try:
            parts[part] = makers.get(part, Linear.of)(module, dtype)
        except PartError as error:
            raise _unlike_bert(where, f"its {path} is {error}") from None
    block = Block(**parts, attention=attention[0].to(dtype), states=states[0].to(dtype))
    # Names prove nothing: other models call parts by these names and wire them differently (norms
    # first, scaled residuals, relative positions in the values). The output shows how they work.
    try:
        rebuilt = block.computed.out
    except RuntimeError as error:
        raise _unlike_bert(where, f"its parts do not fit together ({error})") from None
    if rebuilt.shape != output.shape[1:] or not agree(rebuilt[None].to(output.dtype), output):
        raise _unlike_bert(where, "put together again, its parts do not give its output")
    return block


def _submodule(block: nn.Module, path: str) -> Any:
    """Return the attribute at a dotted path; None if there is none."""
    try:
        return attrgetter(path)(block)
    except AttributeError:
        return None


def _unlike_bert(where: str, what: str) -> UnsupportedHeadError:
    return UnsupportedHeadError(
        "this method takes apart blocks of the BERT family, which consist of "
        f"{', '.join(_PARTS.values())}, with a residual connection and a LayerNorm after each "
        f"half; {where} does not: {what}. {INSTEAD_OF_DECOMPOSITION}"
    )
