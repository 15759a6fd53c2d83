"""Which of a block's projections gives its values: found by what it does, whatever its name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu, silu

from normxlogit.methods.context_mixing.block_copies import BlockCall
from normxlogit.methods.context_mixing.value_projection import value_projection

WIDTH, HEADS, TOKENS = 12, 4, 5


class Block(nn.Module):
    """Attention whose four heads share a key and a value, and a gated feed-forward layer.

    The names mislead: `value` makes the keys and `key` the values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH // HEADS)
        self.key = nn.Linear(WIDTH, WIDTH // HEADS)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.gate, self.up = nn.Linear(WIDTH, 20), nn.Linear(WIDTH, 20)
        self.down = nn.Linear(20, WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        read = self.norm(states)
        states = states + self.out(self.mixed(self.query(read), self.value(read), self.key(read)))
        read = self.norm(states)
        output: Tensor = states + self.down(silu(self.gate(read)) * self.up(read))
        return output

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query = query.view(*query.shape[:2], HEADS, -1).transpose(1, 2)
        weights = (3 * query @ key[:, None].mT).softmax(-1)
        return (weights @ value[:, None]).transpose(1, 2).flatten(2)


class CutValues(Block):
    """Its values are not linear in what `key` gives."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return super().mixed(query, key, relu(value))


class UnitValues(Block):
    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return super().mixed(query, key, normalize(value, dim=-1))


class KeysOfValues(Block):
    """What `key` gives are its values and, times what `value` gives, its keys."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return super().mixed(query, key * value, value)


class MoreThanValues(Block):
    """Something is in attention's output that is not in what `key` gives."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return super().mixed(query, key, value + 0.1)


class TwoValues(Block):
    """A head has the values that `value` gives, the others those that `key` gives."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mine = super().mixed(query, key, key)[..., : WIDTH // HEADS]
        return torch.cat([mine, super().mixed(query, key, value)[..., WIDTH // HEADS :]], -1)


class NoSoftmax(Block):
    """Linear attention, whose output is as linear in its keys as in its values."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query = query.view(*query.shape[:2], HEADS, -1).transpose(1, 2)
        return (query @ key[:, None].mT @ value[:, None]).transpose(1, 2).flatten(2)


class NoMixing(Block):
    """Every token's query and key weigh its own value alone."""

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return query.sigmoid() * (key.sigmoid() * value).repeat(1, 1, HEADS)


class Twice(Block):
    """`key` is called twice."""

    def forward(self, states: Tensor) -> Tensor:
        self.key(states)
        return super().forward(states)


class Unused(Block):
    """What comes of the values is not in the block's output."""

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor = super().forward(states) * 0 + self.norm(states)
        return output


class Adapted(nn.Linear):
    """A projection with one inside, and more to it."""

    def __init__(self, more: float) -> None:
        super().__init__(WIDTH, WIDTH // HEADS)
        self.inner = nn.Linear(WIDTH, WIDTH // HEADS)
        self.more = more

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor = self.inner(states) + self.more * super().forward(states)
        return output


def called(block: nn.Module, tokens: int = TOKENS, dtype: torch.dtype = torch.float32) -> BlockCall:
    torch.manual_seed(3)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    block.to(dtype).requires_grad_(False)
    states = torch.randn(1, tokens, WIDTH, dtype=dtype)
    return BlockCall(block, (states,), {}, block(states), "the block")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tokens", [2, HEADS, TOKENS, 300])
def test_it_is_found_whatever_its_name(tokens: int, dtype: torch.dtype) -> None:
    block = Block()
    assert value_projection(called(block, tokens, dtype)) is block.key


@pytest.mark.parametrize("more", [0.0, 1.0])
def test_an_adapter_is_found_as_a_whole(more: float) -> None:
    block: Any = Block()
    block.key = Adapted(more)
    assert value_projection(called(block)) is block.key


@pytest.mark.parametrize(
    "kind",
    [
        CutValues,
        UnitValues,
        KeysOfValues,
        MoreThanValues,
        TwoValues,
        NoSoftmax,
        NoMixing,
        Twice,
        Unused,
    ],
)
def test_what_is_not_the_values_is_not_taken_for_them(kind: type[Block]) -> None:
    assert value_projection(called(kind())) is None


def test_nothing_is_left_on_the_block() -> None:
    block = Block()
    value_projection(called(block))
    for module in block.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)
