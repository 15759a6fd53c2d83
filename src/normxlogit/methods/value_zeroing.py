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
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.masking_utils import eager_mask

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.evidence import Evidence
from normxlogit.methods import register
from normxlogit.methods.attention import FAMILY, Maps, read_maps
from normxlogit.numerics import agree
from normxlogit.passes import AT_ONCE
from normxlogit.shadow import Shadow
from normxlogit.watch import first_tensor

WAY_OUT = "method='normxlogit' needs no such pass."


@register(
    "value_zeroing",
    family=FAMILY,
    cost="2 forwards, 1 a token",
    serves="texts, transformers' attention functions",
    source="Mohebbi et al. 2023",
    has_layers=True,
)
def value_zeroing(evidence: Evidence, rollout: bool = True) -> Tensor:
    """C_l[r, i], or (C_l ... C_1)[r, i] rolled out, for the read position r.

    Mohebbi et al. 2023, Quantifying Context Mixing in Transformers (EACL).

    C_l[i, j] is the cosine distance of token i's output of block l to what it is when token j's
    value vector is zero in all heads, rows normalised to sum to one. Up to, or of, the last layer
    unless another is asked for. Cost: a further forward pass, and of every block one for each
    token, many in a batch. Trust it over attention, for it sees all of a block; like it, it tells
    what tokens take from each other and not what for.

    Args:
        evidence: what one forward pass gave.
        rollout: multiply the map of a layer with those of all before it.

    Raises:
        UnsupportedHeadError: values cannot be reached in this model.
    """
    if not isinstance(rollout, bool):
        raise OptionError(f"rollout must be True or False, got {rollout!r}.")
    evidence.unsigned = "larger change without its value"
    return read_maps(evidence, _NAME, partial(_maps, evidence), rolled_out=rollout)


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

    def __call__(
        self, attend: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """What attention gives to the copies, [copies, tokens, heads, width], and its weights."""
        self.calls += 1
        one = partial(_first, copies=len(self.tokens) + 1)
        query, key, value, *others = (_each(one, given) for given in args)
        output, weights = attend(module, query, key, value, *others, **_each(one, kwargs))
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


@dataclass(frozen=True)
class _Call:
    """A call of a block, in a pass over one row."""

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor | None


def _maps(evidence: Evidence, shadow: Shadow, row: int, layers: list[int]) -> tuple[Maps, Tensor]:
    """C of these layers, float32 [tokens, tokens], and where the row's tokens are."""
    blocks = evidence.blocks
    calls: list[_Call] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        calls.append(_Call(block, args, kwargs, first_tensor(output)))

    of_blocks = [] if blocks is None else shadow.of[blocks].children()
    handles = [block.register_forward_hook(note, with_kwargs=True) for block in of_blocks]
    try:
        _, kept = evidence.passes.repeat(shadow, row)
    finally:
        for handle in handles:
            handle.remove()
    name = type(shadow.root).__name__
    if not calls or len(calls) != evidence.depth:
        raise UnsupportedHeadError(
            f"value zeroing runs each layer anew, and of {name} {len(calls)} of {evidence.depth} "
            f"were seen to run. {WAY_OUT}"
        )
    return {
        layer: _map(calls[layer - 1], len(kept), f"layer {layer} of {name}") for layer in layers
    }, kept


def _map(call: _Call, length: int, where: str) -> Tensor:
    """C of a layer, [tokens, tokens]; rows of tokens that no value reaches are zero."""
    if call.output is None or call.output.dim() != 3 or call.output.shape[:2] != (1, length):
        shape = None if call.output is None else list(call.output.shape)
        raise UnsupportedHeadError(
            f"{where} gave {shape}, not [1, {length}, width]: its positions are not one to a "
            f"token. {WAY_OUT}"
        )
    columns, at_once = [], max(1, AT_ONCE // length)
    for start in range(0, length, at_once):
        tokens = torch.arange(start, min(start + at_once, length), device=call.output.device)
        zeroing = _Zeroing(tokens, length)
        try:
            output = _output(call, zeroing)
        except (torch.OutOfMemoryError, UnsupportedHeadError):
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"{where} could not be run on copies of a row: {type(error).__name__}: {error}. "
                f"{WAY_OUT}"
            ) from error
        if zeroing.calls != 1:
            raise UnsupportedHeadError(
                f"{where} called transformers' attention functions {zeroing.calls} times; value "
                f"zeroing needs one call, to reach the values of its tokens. {WAY_OUT}"
            )
        if output.shape[1:] != call.output.shape[1:] or not agree(output[:1], call.output):
            raise UnsupportedHeadError(
                f"{where} gave something else when run again on copies of a row, so what zeroing "
                f"values changes cannot be told. {WAY_OUT}"
            )
        columns.append(_distances(output))
    found = torch.cat(columns).T
    total = found.sum(-1, keepdim=True)
    return found / total.where(total != 0, 1)


def _output(call: _Call, zeroing: _Zeroing) -> Any:
    """The states that a block gives for copies of a row."""
    many = partial(_expanded, copies=len(zeroing.tokens) + 1)
    try:
        with _of_one_at_once(call.block):
            return _run(call, zeroing, many)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # it flattens, or writes to, what stands in memory once for all copies
        return _run(call, zeroing, lambda value: many(value).contiguous())


def _run(call: _Call, zeroing: _Zeroing, many: Callable[[Tensor], Tensor]) -> Any:
    zeroing.calls = 0
    token = _ZEROING.set(zeroing)
    try:
        return first_tensor(call.block(*_each(many, call.args), **_each(many, call.kwargs)))
    finally:
        _ZEROING.reset(token)


def _distances(states: Tensor) -> Tensor:
    """1 - cos of the states of every copy but the first to those of the first, [copies - 1,
    tokens].

    As half the squared distance of unit vectors, for 1 - cos would lose small ones to rounding.
    """
    units = normalize(states.to(torch.promote_types(states.dtype, torch.float32)), dim=-1)
    return (units[1:] - units[0]).square().sum(-1) / 2


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


def _first(value: Tensor, copies: int) -> Tensor:
    """The first copy's part of a tensor."""
    return value if value.dim() < 2 or len(value) != copies else value[:1]


def _each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with every tensor changed in the tuples, lists and dicts of a block's arguments, and
    without caches, in which a token's keys and values would stand twice.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Cache):
        return None
    if type(value) in (tuple, list):
        return type(value)(_each(change, inner) for inner in value)
    if type(value) is dict:
        return {key: _each(change, inner) for key, inner in value.items()}
    return value
