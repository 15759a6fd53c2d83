"""Value zeroing: what the other tokens' states in a layer lose without a token's value vector."""

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

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.attention import FAMILY, Maps, read_maps
from normxlogit.methods.context_mixing.block_copies import WAY_OUT, BlockCall, each
from normxlogit.methods.context_mixing.value_projection import value_projection, zeroed
from normxlogit.methods.registry import register
from normxlogit.methods.scores import MethodScores
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import agree, first_tensor
from normxlogit.model.reruns import AT_ONCE


@register(
    "value_zeroing",
    family=FAMILY,
    cost="2 forwards, 1 a token",
    serves="texts, blocks whose values can be reached",
    source="Mohebbi et al. 2023",
    reads="states",
    has_layers=True,
)
def value_zeroing(context: MethodContext, rollout: bool = True) -> MethodScores:
    """C_l[r, i], or (C_l ... C_1)[r, i] rolled out, for the read position r.

    Mohebbi et al. 2023, Quantifying Context Mixing in Transformers (EACL).

    C_l[i, j] is the cosine distance of token i's output of block l to what it is when token j's
    value vector is zero in all heads, rows normalised to sum to one. Up to, or of, the last layer
    unless another is asked for. Values are reached where a block calls transformers' attention
    functions, or else in the one projection in which its attention is linear. Cost: a further
    forward pass, and of every block one for each token, many in a batch; where the projection is to
    be found, four more for each of the block's matrices. Trust it over attention, for it sees all
    of a block; like it, it tells what tokens take from each other and not what for.

    Args:
        context: what one forward pass gave.
        rollout: multiply the map of a layer with those of all before it.

    Raises:
        UnsupportedHeadError: values cannot be reached in this model.
    """
    if not isinstance(rollout, bool):
        raise OptionError(f"rollout must be True or False, got {rollout!r}.")
    scores = read_maps(context, _NAME, partial(_maps, context), rolled_out=rollout)
    return MethodScores(scores, unsigned="larger change without its value")


@dataclass
class _Zeroing:
    """Attention while a block runs on copies of a row, all but the first without a token's value.

    All copies come to attention alike, so it is computed once. Of what it gives, weights times
    values, each copy then loses what its token contributes.

    Attributes:
        tokens: the token that each copy but the first goes without, int64 [copies - 1].
        length: how many tokens the row has.
        calls: how often attention was called.
    """

    tokens: Tensor
    length: int
    calls: int = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, attention functions are called like this."""
        self.calls = 0
        token = _ZEROING.set(self)
        try:
            yield
        finally:
            _ZEROING.reset(token)

    def __call__(
        self, attend: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """What attention gives to the copies, [copies, tokens, heads, width], and its weights."""
        self.calls += 1
        one = partial(_first, copies=len(self.tokens) + 1)
        query, key, value, *others = (each(one, given) for given in args)
        output, weights = attend(module, query, key, value, *others, **each(one, kwargs))
        values = self._of_heads(value, weights)
        if values is None or not _is_product(output, weights, values):
            raise UnsupportedHeadError(
                f"the attention of {type(module).__name__} is not the product of weights over the "
                f"{self.length} tokens and their values, so what zeroing one of these changes is "
                f"not known. {WAY_OUT}"
            )
        tokens = self.tokens.to(output.device)
        wide = torch.promote_types(output.dtype, torch.float32)
        paid = weights[0, :, :, tokens].permute(2, 1, 0)[..., None].to(wide)
        lost = paid * values[0, :, tokens].transpose(0, 1)[:, None].to(wide)
        return torch.cat([output, (output - lost).to(output.dtype)]), weights

    def _of_heads(self, value: Tensor, weights: Any) -> Tensor | None:
        """The values that every head has, [1, heads, tokens, width], which several may share."""
        if not isinstance(weights, Tensor) or weights.dim() != 4 or value.dim() != 4:
            return None
        heads, shared = weights.shape[1], value.shape[1]
        square = (1, heads, self.length, self.length)
        if weights.shape != square or value.shape[2] != self.length or heads % shared:
            return None
        return value.repeat_interleave(heads // shared, 1)


def _is_product(output: Tensor, weights: Tensor, values: Tensor) -> bool:
    product = (weights @ values).transpose(1, 2)
    return output.shape == product.shape and agree(product.to(output.dtype), output)


_ZEROING: ContextVar[_Zeroing | None] = ContextVar("_ZEROING", default=None)


def _attend(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """A model's own eager attention, which heeds all that it is given, without some values."""
    forward = inspect.unwrap(type(module).forward)
    eager: Callable[..., Any] | None = forward.__globals__.get("eager_attention_forward")
    if eager is None:
        raise UnsupportedHeadError(
            f"{type(module).__name__} has no eager attention to zero values in. {WAY_OUT}"
        )
    zeroing = _ZEROING.get()
    found: tuple[Tensor, Tensor | None] = (
        eager(module, *args, **kwargs)
        if zeroing is None
        else zeroing(eager, module, *args, **kwargs)
    )
    return found


_NAME = "normxlogit_value_zeroing"
AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


def _maps(
    context: MethodContext, clone: ModelClone, row: int, layers: list[int]
) -> tuple[Maps, Tensor]:
    """C of these layers, float32 [tokens, tokens], and where the row's tokens are."""
    blocks, name = context.blocks, type(clone.root).__name__
    calls: list[BlockCall] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        where = f"layer {len(calls) + 1} of {name}"
        calls.append(BlockCall(block, args, kwargs, first_tensor(output), where))

    def note_next(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if calls and calls[-1].then is None:
            calls[-1].then = first_tensor((*args, *kwargs.values()))

    of_blocks = [] if blocks is None else clone.of[blocks].children()
    handles = [block.register_forward_hook(note, with_kwargs=True) for block in of_blocks] + [
        module.register_forward_pre_hook(note_next, with_kwargs=True)
        for module in clone.of.values()
    ]
    try:
        _, kept = context.reruns.run_clone(clone, row)
    finally:
        for handle in handles:
            handle.remove()
    if not calls or len(calls) != context.depth:
        raise UnsupportedHeadError(
            f"value zeroing runs each layer anew, and of {name} {len(calls)} of {context.depth} "
            f"were seen to run. {WAY_OUT}"
        )
    return {layer: _map(calls[layer - 1], len(kept)) for layer in layers}, kept


def _map(call: BlockCall, length: int) -> Tensor:
    """C of a layer, [tokens, tokens]; rows of tokens that no value reaches are zero."""
    if call.output is None or call.output.dim() != 3 or call.output.shape[:2] != (1, length):
        shape = None if call.output is None else list(call.output.shape)
        raise UnsupportedHeadError(
            f"{call.where} gave {shape}, not [1, {length}, width]: its positions are not one to a "
            f"token. {WAY_OUT}"
        )
    every = torch.split(torch.arange(length), max(1, AT_ONCE // length))
    columns: list[Tensor] = []
    projection: nn.Module | None = None
    for tokens in every:
        if projection is None:
            zeroing = _Zeroing(tokens, length)
            output = call.on_copies(len(tokens) + 1, zeroing.inside)
            if zeroing.calls != 1 and length == 1:  # all comes from it, whatever its value is
                return torch.ones(1, 1)
            if zeroing.calls != 1:
                projection = _projection(call, zeroing.calls)
        if projection is not None:
            output = call.on_copies(len(tokens) + 1, partial(zeroed, projection, tokens))
        columns.append(_distances(output))
    found = torch.cat(columns).T
    total = found.sum(-1, keepdim=True)
    return found / total.where(total != 0, 1)


def _projection(call: BlockCall, attention_calls: int) -> nn.Module:
    """The projection to values of a block that does not call transformers' attention once."""
    if not _is_read(call.output, call.then):
        raise UnsupportedHeadError(
            f"{call.where} called transformers' attention functions {attention_calls} times, and "
            "what it gives is not what is read next, so it may be a part of a layer; value zeroing "
            f"compares the states that whole layers give. {WAY_OUT}"
        )
    found = value_projection(call)
    if found is None:
        raise UnsupportedHeadError(
            f"{call.where} called transformers' attention functions {attention_calls} times, and "
            "has not one projection in which the output of its attention is linear; value zeroing "
            f"needs one call, or one such projection, to reach the values of its tokens. {WAY_OUT}"
        )
    return found


def _is_read(states: Tensor, then: Tensor | None) -> bool:
    """Whether something is called with these states, or with one token's."""
    if then is None or then.shape[-1] != states.shape[-1]:
        return False
    if then.shape == states.shape:
        return agree(then, states)
    return any(then.numel() == one.numel() and agree(then.flatten(), one) for one in states[0])


def _distances(states: Tensor) -> Tensor:
    """1 - cos of the states of every copy but the first to those of the first, [copies - 1,
    tokens].

    As half the squared distance of unit vectors, for 1 - cos would lose small ones to rounding.
    """
    units = normalize(states.to(torch.promote_types(states.dtype, torch.float32)), dim=-1)
    return (units[1:] - units[0]).square().sum(-1) / 2


def _first(value: Tensor, copies: int) -> Tensor:
    """The first copy's part of a tensor."""
    return value if value.dim() < 2 or len(value) != copies else value[:1]
