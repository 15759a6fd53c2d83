"""Blocks of the BERT family, taken apart into maps that are linear in what each token brings.

A block adds to each token's state x_i what attention makes of all tokens, and normalises; then it
adds what a feed-forward layer makes of the result, and normalises. `Block` holds the parts of one,
and what it computed of one row; rows of maps are the tokens that take, columns those that give.
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

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.attention import Maps, read_maps
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.numerics import agree, first_tensor

FAMILY = "decomposition"
SERVES = "texts, blocks of the BERT family"
WAY_OUT = "method='normxlogit' takes no blocks apart."

_AT_ONCE = 1 << 22
"""How many numbers the vectors that are worked on together may hold."""

Call = tuple[nn.Module, Tensor]
"""A module and the first tensor that it was given."""


class PartError(Exception):
    """A module is not what it would have to be; the message completes "its ... is"."""


@dataclass(frozen=True)
class Linear:
    """x -> W x + b; `weight` is [outputs, inputs], `bias` [outputs]."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype) -> "Linear":
        """What a module holds, in a dtype; `PartError` if it holds no plain weights."""
        if type(module) is not nn.Linear:
            raise PartError(f"a {_name_of(module)}, not torch's Linear (merge adapters first)")
        return cls(*_weights(module, dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return functional.linear(x, self.weight, self.bias)

    def linear(self, vectors: Tensor, _at: Tensor) -> Tensor:
        """Of vectors that sum to x those that sum to the result but for the bias."""
        return functional.linear(vectors, self.weight)


@dataclass(frozen=True)
class Norm:
    """x -> w (x - mean(x)) / sqrt(var(x) + eps) + b, a LayerNorm."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype) -> "Norm":
        """What a module holds, in a dtype; `PartError` if that is not a LayerNorm of vectors."""
        if type(module) is not nn.LayerNorm or len(module.normalized_shape) != 1:
            raise PartError(f"a {_name_of(module)}, not torch's LayerNorm of a vector")
        if not module.elementwise_affine:
            raise PartError("a LayerNorm without weights")
        return cls(*_weights(module, dtype), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> the same."""
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)

    def linear(self, vectors: Tensor, at: Tensor) -> Tensor:
        """Of vectors [..., n, width] that sum to `at`, [..., width], those that sum to the result
        but for the bias: the deviation that all are divided by is that of `at`.
        """
        return self.scaled(vectors) / self.deviation(at)[..., None, None]

    def scaled(self, vectors: Tensor) -> Tensor:
        """w (x - mean(x)) of vectors x, [..., width]."""
        return (vectors - vectors.mean(-1, keepdim=True)) * self.weight

    def deviation(self, x: Tensor) -> Tensor:
        """sqrt(var(x) + eps) of vectors [..., width]."""
        return (x.var(-1, correction=0) + self.eps).sqrt()


@dataclass(frozen=True)
class Activation:
    """x -> f(x), number by number."""

    function: Callable[[Tensor], Tensor]
    bias = None

    def __call__(self, x: Tensor) -> Tensor:
        """[...] -> the same."""
        return self.function(x)

    def linear(self, vectors: Tensor, at: Tensor) -> Tensor:
        """Of vectors [..., n, width] that sum to `at`, [..., width], those that sum to the result:
        each number times f(x) / x, the slope from the origin.
        """
        return vectors * (self.function(at) / (at + 1e-12))[..., None, :]

    def is_pointwise(self, x: Tensor) -> bool:
        """Whether it makes of each number of x, alone, what it makes of it among the others."""
        try:
            alone = self.function(x.reshape(-1, 1)).reshape(x.shape)
            return agree(alone, self.function(x))
        except Exception:
            return False


Step = Linear | Norm | Activation


@dataclass(frozen=True)
class Inside:
    """What a block computes of states x, [tokens, hidden].

    Attributes:
        first: x and what attention adds.
        middle: `first`, normalised.
        up: before the activation, [tokens, intermediate].
        second: `middle` and what the feed-forward layer adds.
        out: `second`, normalised.
    """

    first: Tensor
    middle: Tensor
    up: Tensor
    second: Tensor
    out: Tensor


@dataclass(frozen=True)
class Block:
    """A block, and what it was given; numbers are float32, of float64 models float64.

    Attributes:
        value, mixed: of the attention, W_v and W_o.
        first_norm, second_norm: after the attention and the feed-forward layer.
        up, activation, down: the feed-forward layer.
        attention: what tokens pay to tokens, [heads, tokens, tokens].
        given: the states x, [tokens, hidden].
    """

    value: Linear
    mixed: Linear
    first_norm: Norm
    up: Linear
    activation: Activation
    down: Linear
    second_norm: Norm
    attention: Tensor
    given: Tensor

    @property
    def feed_forward(self) -> tuple[Linear, Activation, Linear]:
        """The steps between `Inside.middle` and what is added to it."""
        return self.up, self.activation, self.down

    @cached_property
    def own(self) -> Inside:
        """What it computed."""
        return self.inside(self.given)

    def inside(self, x: Tensor) -> Inside:
        """What it computes of states x, [tokens, hidden], with the same attention."""
        values = self._by_head(self.value(x))
        attended = torch.einsum("hij,jhe->ihe", self.attention, values).flatten(1)
        first = self.mixed(attended) + x
        middle = self.first_norm(first)
        up = self.up(middle)
        second = self.down(self.activation(up)) + middle
        return Inside(first, middle, up, second, self.second_norm(second))

    @property
    def weights(self) -> Tensor:
        """How much of `brought` tokens take, [heads + 1, tokens, tokens]: the residual connection
        is a further head, by which each token attends to itself.
        """
        return torch.cat([self.attention, torch.eye(len(self.given)).to(self.attention)[None]])

    @property
    def brought(self) -> Tensor:
        """What tokens bring to others by each head of `weights`, [tokens, heads + 1, hidden].

        That is W_o^h v_j^h, and x_j. Weighted and summed over tokens and heads, and with the bias
        of W_o, they make `Inside.first`.
        """
        values = self._by_head(self.value(self.given))
        brought = torch.einsum("jhe,dhe->jhd", values, self._by_head(self.mixed.weight))
        return torch.cat([brought, self.given[:, None]], 1)

    def passed_on(self, vectors: Tensor, receivers: Tensor) -> Tensor:
        """sum_j (sum_h A^h_ij W_o^h W_v^h) d_j + d_i of vectors that the tokens are made of.

        Args:
            vectors: d, [tokens, sources, hidden].
            receivers: the tokens i, int64 [receivers].

        Returns:
            [receivers, sources, hidden]; the biases of W_v and W_o are in none.
        """
        values = self._by_head(functional.linear(vectors, self.value.weight))
        taken = torch.einsum("hij,jkhe->ikhe", self.attention[:, receivers], values).flatten(2)
        return functional.linear(taken, self.mixed.weight) + vectors[receivers]

    @property
    def bias(self) -> Tensor | None:
        """W_o b_v + b_o: what attention adds to every token, whatever the others are."""
        own = None if self.value.bias is None else self.mixed.weight @ self.value.bias
        if own is None or self.mixed.bias is None:
            return self.mixed.bias if own is None else own
        return own + self.mixed.bias

    def _by_head(self, values: Tensor) -> Tensor:
        """[..., heads * width] -> [..., heads, width]."""
        return values.reshape(*values.shape[:-1], len(self.attention), -1)


def some_at_a_time(count: int, numbers: int, device: torch.device) -> Iterator[Tensor]:
    """Which of `count` things, with so many numbers each, are worked on together; int64 [some]."""
    every = torch.arange(count, device=device)
    return iter(torch.split(every, max(1, _AT_ONCE // numbers)))


_PARTS: Mapping[str, str] = {
    "value": "attention.self.value",
    "mixed": "attention.output.dense",
    "first_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "activation": "intermediate.intermediate_act_fn",
    "down": "output.dense",
    "second_norm": "output.LayerNorm",
}
"""Where the parts of a `Block` are found."""


@dataclass
class _Seen:
    """What hooks saw of a block."""

    block: nn.Module
    given: Tensor | None
    output: Tensor | None = None
    attention: Tensor | None = None


def run(
    context: MethodContext, clone: ModelClone, row: int
) -> tuple[list[Block], list[Call], Tensor]:
    """Run a clone on one row, and take its blocks apart.

    Args:
        context: what one forward pass gave.
        clone: of its passes, with eager attention.
        row: which row.

    Returns:
        The blocks in their order; the calls of modules without children that came after them; and
        the positions of the row's tokens, int64 [tokens].

    Raises:
        UnsupportedHeadError: the blocks are others, or do not do what they would.
    """
    name, blocks = type(clone.root).__name__, context.blocks
    twins = [] if blocks is None else list(clone.of[blocks].children())
    seen: list[_Seen] = []
    after: list[Call] = []

    def enter(block: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(_Seen(block, first_tensor((*args, *kwargs.values()))))

    def leave(_block: nn.Module, _args: Any, output: Any) -> None:
        seen[-1].output = first_tensor(output)
        after.clear()

    def attend(_module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], Tensor):
            seen[-1].attention = output[1]

    def call(module: nn.Module, args: Any, kwargs: Any) -> None:
        if (given := first_tensor((*args, *kwargs.values()))) is not None:
            after.append((module, given))

    with ExitStack() as hooks:
        for block in twins:
            attention = _at(block, "attention.self")
            if attention is None:
                raise _unlike(name, f"one of its {type(block).__name__}s has no attention.self")
            hooks.callback(attention.register_forward_hook(attend).remove)
            hooks.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(block.register_forward_hook(leave).remove)
        for module in Anatomy.of(clone.root).outside_stacks:
            if not module._modules:
                hooks.callback(module.register_forward_pre_hook(call, with_kwargs=True).remove)
        _, kept = context.reruns.run_clone(clone, row, output_attentions=True)
    if not seen or len(seen) != context.depth:
        raise _unlike(name, f"of {context.depth} layers {len(seen)} were seen to run")
    found = [
        _taken_apart(one, len(kept), f"layer {number} of {name}")
        for number, one in enumerate(seen, 1)
    ]
    for number, (before, then) in enumerate(pairwise(seen), 1):
        assert before.output is not None
        assert then.given is not None
        if not torch.equal(before.output.to(then.given.device), then.given):
            raise _unlike(name, f"something happens between its layers {number} and {number + 1}")
    return found, after, kept


def read_block_maps(
    context: MethodContext, of_block: Callable[[Block], Tensor], rollout: bool
) -> Tensor:
    """What the positions that are read take from each token, by a map of each block.

    Args:
        context: what one forward pass gave.
        of_block: gives a block's map, [tokens, tokens].
        rollout: multiply the map of a layer with those of all before it.

    Returns:
        float32 [batch, targets or 1, layers, sequence].

    Raises:
        OptionError: `rollout` is neither True nor False.
        UnsupportedHeadError: as `run`; or the product of maps overflows.
    """
    if not isinstance(rollout, bool):
        raise OptionError(f"rollout must be True or False, got {rollout!r}.")

    def maps(clone: ModelClone, row: int, layers: list[int]) -> tuple[Maps, Tensor]:
        blocks, _, kept = run(context, clone, row)
        return {layer: of_block(blocks[layer - 1]) for layer in layers}, kept

    scores = read_maps(context, "eager", maps, rolled_out=rollout)
    if not scores.isfinite().all():
        raise UnsupportedHeadError(
            "the maps of these layers, or their product, hold numbers that are not finite. Leave "
            "layers out with layer=..., or set rollout=False."
        )
    return scores


def _taken_apart(seen: _Seen, length: int, where: str) -> Block:
    """The block, after a check that its parts give what it gave."""
    given, output, attention = seen.given, seen.output, seen.attention
    if given is None or output is None or given.shape[:2] != (1, length) or given.dim() != 3:
        raise _unlike(where, f"its states are not one to each of {length} tokens")
    if attention is None or attention.dim() != 4 or attention.shape[-2:] != (length, length):
        shape = None if attention is None else list(attention.shape)
        raise _unlike(where, f"its attention gave {shape}, not [1, heads, {length}, {length}]")
    dtype = torch.float64 if given.dtype == torch.float64 else torch.float32
    kinds: dict[str, Callable[[Any, torch.dtype], Step]]
    kinds = {"first_norm": Norm.of, "second_norm": Norm.of, "activation": _activation}
    parts: dict[str, Any] = {}
    for part, path in _PARTS.items():
        if (module := _at(seen.block, path)) is None:
            raise _unlike(where, f"it has no {path}")
        try:
            parts[part] = kinds.get(part, Linear.of)(module, dtype)
        except PartError as error:
            raise _unlike(where, f"its {path} is {error}") from None
    block = Block(**parts, attention=attention[0].to(dtype), given=given[0].to(dtype))
    try:
        rebuilt = block.own.out
    except RuntimeError as error:
        raise _unlike(where, f"its parts do not fit together ({error})") from None
    if rebuilt.shape != output.shape[1:] or not agree(rebuilt[None].to(output.dtype), output):
        raise _unlike(where, "put together again, they do not give what it gave")
    return block


def _activation(module: Any, _: torch.dtype) -> Activation:
    if not callable(module):
        raise PartError("no function")
    return Activation(module)


def _weights(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of one of a clone's modules."""
    weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
    for one in (weight, bias):
        if one is not None and (
            type(one) not in (Tensor, nn.Parameter) or not one.is_floating_point() or one.is_meta
        ):
            raise PartError("quantised or offloaded, so its weights are not at hand")
    assert weight is not None
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _name_of(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _at(block: nn.Module, path: str) -> Any:
    """What stands at a path of attributes; None if nothing does."""
    try:
        return attrgetter(path)(block)
    except AttributeError:
        return None


def _unlike(where: str, what: str) -> UnsupportedHeadError:
    return UnsupportedHeadError(
        "this method takes apart blocks of the BERT family, which are made of "
        f"{', '.join(_PARTS.values())}, with a residual connection and a LayerNorm after each "
        f"half; {where} is not made of such: {what}. {WAY_OUT}"
    )
