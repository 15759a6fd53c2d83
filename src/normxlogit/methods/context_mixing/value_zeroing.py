"""Value zeroing: how far tokens' states move in a layer when a token's value vector is zero."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from normxlogit.data.option_checks import flag
from normxlogit.errors import UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.attention import Maps, read_maps
from normxlogit.methods.context_mixing.block_copies import (
    INSTEAD_OF_COPIES,
    BlockCall,
    map_tensors,
)
from normxlogit.methods.context_mixing.value_projection import value_projection, zeroed
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import agree, first_tensor
from normxlogit.model.reruns import AT_ONCE


@implement("value_zeroing")
def value_zeroing(context: MethodContext, rollout: bool = True) -> MethodScores:
    """C_l[r, i], or (C_l ... C_1)[r, i] rolled out, for the read position r.

    Mohebbi et al. 2023, Quantifying Context Mixing in Transformers (EACL).

    C_l[i, j] is the cosine distance between token i's output of block l and what that becomes when
    token j's value vector is zero in all heads, rows normalised to sum to one. The last layer l,
    unless another is asked for. Values are reached where a block calls transformers' attention
    functions, or else in the one projection in which its attention is linear. Cost: a further
    forward pass, and a pass of every block for each token, many in a batch; where the projection
    has to be found, four more for each of the block's matrices. Trust it over attention, for it
    sees all of a block; like attention, it tells what tokens take from each other, but not what
    for.

    Args:
        context: the forward pass and what to explain of it.
        rollout: multiply a layer's map with those of all layers before it.

    Raises:
        UnsupportedHeadError: values cannot be reached in this model.
    """
    rollout = flag("rollout", rollout)
    scores = read_maps(context, _ATTENTION_NAME, partial(_layer_maps, context), rolled_out=rollout)
    return MethodScores(scores, unsigned="larger change without its value")


@dataclass
class _Zeroing:
    """Attention in a block that runs on copies of a row, all but the first without a token's value.

    Attributes:
        tokens: the token whose value each of these copies lacks, int64 [copies - 1].
        length: how many tokens the row has.
        calls: how often attention was called.
    """

    tokens: Tensor
    length: int
    calls: int = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, transformers' attention functions zero these values."""
        self.calls = 0
        token = _ZEROING.set(self)
        try:
            yield
        finally:
            _ZEROING.reset(token)

    def __call__(
        self, attend: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return attention's output for the copies, [copies, tokens, heads, width], and weights."""
        self.calls += 1
        # The copies are equal up to attention, so one call on the first serves all. Its output is
        # weights times values; without one token's value it lacks weight times value of that token.
        first = partial(_first_copy, copies=len(self.tokens) + 1)
        query, key, value, *others = (map_tensors(first, arg) for arg in args)
        output, weights = attend(module, query, key, value, *others, **map_tensors(first, kwargs))
        values = self._values_of_heads(value, weights)
        if values is None or not _is_product(output, weights, values):
            raise UnsupportedHeadError(
                f"the attention of {type(module).__name__} is not the product of weights over the "
                f"{self.length} tokens and their values, so what zeroing one of these changes is "
                f"not known. {INSTEAD_OF_COPIES}"
            )
        tokens = self.tokens.to(output.device)
        wide = torch.promote_types(output.dtype, torch.float32)
        # [copies - 1, tokens, heads, 1] times [copies - 1, 1, heads, width]
        paid = weights[0, :, :, tokens].permute(2, 1, 0)[..., None].to(wide)
        zeroed_values = values[0, :, tokens].transpose(0, 1)[:, None].to(wide)
        without = (output - paid * zeroed_values).to(output.dtype)
        return torch.cat([output, without]), weights

    def _values_of_heads(self, value: Tensor, weights: Any) -> Tensor | None:
        """Return the values of every head, [1, heads, tokens, width]; None for other attention."""
        if not isinstance(weights, Tensor) or weights.dim() != 4 or value.dim() != 4:
            return None
        heads, value_heads = weights.shape[1], value.shape[1]
        square = (1, heads, self.length, self.length)
        if weights.shape != square or value.shape[2] != self.length or heads % value_heads:
            return None
        # Grouped-query attention: several heads in a row share one value.
        return value.repeat_interleave(heads // value_heads, 1)


def _is_product(output: Tensor, weights: Tensor, values: Tensor) -> bool:
    product = (weights @ values).transpose(1, 2)  # [1, tokens, heads, width]
    if output.shape != product.shape:
        return False
    return agree(product.to(output.dtype).flatten(2), output.flatten(2))


# transformers finds attention functions by name for the whole process; the context, which each
# thread has of its own, tells the function which pass calls it.
_ZEROING: ContextVar[_Zeroing | None] = ContextVar("_ZEROING", default=None)


def _attend(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """Call a model's own eager attention, which heeds all its arguments, with zeroed values."""
    forward = inspect.unwrap(type(module).forward)
    eager: Callable[..., Any] | None = forward.__globals__.get("eager_attention_forward")
    if eager is None:
        raise UnsupportedHeadError(
            f"{type(module).__name__} has no eager attention to zero values in. {INSTEAD_OF_COPIES}"
        )
    zeroing = _ZEROING.get()
    attend = eager if zeroing is None else partial(zeroing, eager)
    attended: tuple[Tensor, Tensor | None] = attend(module, *args, **kwargs)
    return attended


_ATTENTION_NAME = "normxlogit_value_zeroing"
AttentionInterface.register(_ATTENTION_NAME, _attend)
AttentionMaskInterface.register(_ATTENTION_NAME, eager_mask)


def _layer_maps(
    context: MethodContext, clone: ModelClone, row: int, layers: list[int]
) -> tuple[Maps, Tensor]:
    """Return C of these layers, float32 [tokens, tokens], and the positions of the tokens."""
    blocks, name = context.blocks, type(clone.root).__name__
    calls: list[BlockCall] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        where = f"layer {len(calls) + 1} of {name}"
        calls.append(BlockCall(block, args, kwargs, first_tensor(output), where))

    def note_next(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if calls and calls[-1].next_input is None:
            calls[-1].next_input = first_tensor((*args, *kwargs.values()))

    children = [] if blocks is None else clone.of[blocks].children()
    handles = [block.register_forward_hook(note, with_kwargs=True) for block in children] + [
        module.register_forward_pre_hook(note_next, with_kwargs=True)
        for module in clone.of.values()
    ]
    try:
        _, tokens = context.reruns.run_clone(clone, row)
    finally:
        for handle in handles:
            handle.remove()
    if not calls or len(calls) != context.depth:
        raise UnsupportedHeadError(
            f"value zeroing runs each layer again, and {len(calls)} of the {context.depth} layers "
            f"of {name} were called. {INSTEAD_OF_COPIES}"
        )
    return {layer: _layer_map(calls[layer - 1], len(tokens)) for layer in layers}, tokens


def _layer_map(call: BlockCall, length: int) -> Tensor:
    """Return C of a layer, [tokens, tokens]; rows of tokens that no value reaches are zero."""
    if call.output is None or call.output.dim() != 3 or call.output.shape[:2] != (1, length):
        shape = None if call.output is None else list(call.output.shape)
        raise UnsupportedHeadError(
            f"{call.where} gave {shape}, not [1, {length}, width]: its positions are not one per "
            f"token. {INSTEAD_OF_COPIES}"
        )
    batches = torch.split(torch.arange(length), max(1, AT_ONCE // length))
    columns: list[Tensor] = []
    projection: nn.Module | None = None
    for tokens in batches:
        if projection is None:
            zeroing = _Zeroing(tokens, length)
            output = call.on_copies(len(tokens) + 1, zeroing.inside)
            # A single token takes everything from itself, whatever its value is.
            if zeroing.calls != 1 and length == 1:
                return torch.ones(1, 1)
            # No call: the block attends by itself. Several: each has only a part of the values.
            if zeroing.calls != 1:
                projection = _projection(call, zeroing.calls)
        if projection is not None:
            output = call.on_copies(len(tokens) + 1, partial(zeroed, projection, tokens))
        columns.append(_distances(output))
    distances = torch.cat(columns).T  # [token, zeroed token]
    total = distances.sum(-1, keepdim=True)
    return distances / total.where(total != 0, 1)


def _projection(call: BlockCall, attention_calls: int) -> nn.Module:
    """Return the projection to values of a block that does not call attention functions once."""
    # Module lists of some models (XLM) hold halves of layers, whose output is not the layer's.
    if not _is_read(call.output, call.next_input):
        raise UnsupportedHeadError(
            f"{call.where} called transformers' attention functions {attention_calls} times, and "
            "its output is not what is read next, so it may be a part of a layer; value zeroing "
            f"compares the states that whole layers give. {INSTEAD_OF_COPIES}"
        )
    projection = value_projection(call)
    if projection is None:
        raise UnsupportedHeadError(
            f"{call.where} called transformers' attention functions {attention_calls} times, and "
            "has not one projection in which the output of its attention is linear; value zeroing "
            "needs one call, or one such projection, to reach the values of its tokens. "
            f"{INSTEAD_OF_COPIES}"
        )
    return projection


def _is_read(states: Tensor, next_input: Tensor | None) -> bool:
    """Return whether the next module is called with these states, or with those of one token."""
    if next_input is None or next_input.shape[-1] != states.shape[-1]:
        return False
    if next_input.shape == states.shape:
        return agree(next_input, states)
    flat = next_input.flatten()
    return any(flat.numel() == state.numel() and agree(flat, state) for state in states[0])


def _distances(states: Tensor) -> Tensor:
    """Return 1 - cos between the states of the first copy and of every other one.

    [copies, tokens, width] -> [copies - 1, tokens].
    """
    # As half the squared distance of unit vectors: 1 - cos would lose small ones to rounding.
    units = normalize(states.to(torch.promote_types(states.dtype, torch.float32)), dim=-1)
    return (units[1:] - units[0]).square().sum(-1) / 2


def _first_copy(value: Tensor, copies: int) -> Tensor:
    """Return the first copy's part of a tensor."""
    return value if value.dim() < 2 or len(value) != copies else value[:1]
