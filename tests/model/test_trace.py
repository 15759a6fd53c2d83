"""How a tensor was made, by the addresses of calls, and which blocks made it."""

from typing import Any

import torch
from torch import Tensor, nn

from normxlogit.model.trace import (
    POOLINGS,
    Calls,
    ForwardTrace,
    Stack,
    TracedOps,
    _Call,
    transposed,
)
from tests.helpers.zoo import tiny_model

SOURCE = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
LINEAR, MORE, OTHER = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 4)


class Recorded(Calls):
    """Calls that are made here and noted."""

    def make(self, module: nn.Module, given: Tensor) -> Tensor:
        result: Tensor = module(given)
        self.note(module, given, result.data_ptr())
        return result

    def note(self, module: nn.Module, given: Tensor, result: int) -> None:
        address, stride = given.data_ptr(), given.stride()
        self.calls.append(_Call(module, address, given.shape, stride, result))

    def ways(self, value: Tensor, source: Tensor = SOURCE) -> list[TracedOps]:
        return list(self.candidate_ops(value, source))


@torch.no_grad()
def test_modules_are_found_from_the_last_to_the_first() -> None:
    calls = Recorded()
    middle = calls.make(LINEAR, SOURCE)
    calls.make(OTHER, SOURCE)
    value = calls.make(MORE, middle)
    # Memory is used again later, and by a call that began elsewhere.
    calls.note(OTHER, torch.ones(2, 5, 4), value.data_ptr() + 1)
    calls.note(OTHER, torch.ones(2, 5, 4), middle.data_ptr())
    assert calls.ways(value) == [TracedOps((LINEAR, MORE))]
    torch.testing.assert_close(TracedOps((LINEAR, MORE))(SOURCE), value)
    assert calls.ways(SOURCE) == [TracedOps()]
    assert calls.ways(torch.ones(2, 5, 4)) == []
    assert calls.ways(SOURCE[:, :3]) == []  # the same address


@torch.no_grad()
def test_views_of_the_states() -> None:
    convolution = nn.Conv1d(4, 3, 1)
    calls = Recorded()
    assert calls.ways(calls.make(convolution, SOURCE.mT)) == [TracedOps((convolution,), transposed)]
    for position in range(5):
        calls = Recorded()
        value = calls.make(MORE, SOURCE[:, position])
        way = TracedOps((MORE,), position=position)
        assert calls.ways(value) == [way]
        torch.testing.assert_close(way(SOURCE), value)
        torch.testing.assert_close(way(SOURCE, position=1), MORE(SOURCE[:, 1]))


@torch.no_grad()
def test_other_memory_is_no_position() -> None:
    """Such as that of rows before or after, or of two positions of one row."""
    long = torch.randn(4, 5, 4)
    for start, stride, position in (
        (20, 20, 0),
        (36, 20, 4),
        (40, 20, None),
        (16, 20, None),
        (20, 4, None),
    ):
        calls = Recorded()
        value = calls.make(MORE, long.as_strided((2, 4), (stride, 1), start))
        assert calls.ways(value, long[1:3])[0].position == position


@torch.no_grad()
def test_pooled_states_are_tried_by_every_pooling() -> None:
    calls = Recorded()
    pooled = SOURCE.mean(1)
    value = calls.make(LINEAR, pooled)
    of_value = [TracedOps((), pooling) for pooling in POOLINGS]
    of_module = [TracedOps((LINEAR,), pooling) for pooling in POOLINGS]
    assert calls.ways(value) == [*of_value, *of_module]
    assert Recorded().ways(pooled) == of_value
    narrow = calls.make(MORE, pooled)
    assert calls.ways(narrow) == [TracedOps((MORE,), pooling) for pooling in POOLINGS]
    assert calls.ways(torch.ones(2, 3)) == calls.ways(torch.ones(5, 4)) == []
    image = torch.randn(2, 6, 3, 3)
    assert Recorded().ways(image.mean((2, 3)), image) == of_value
    assert Recorded().ways(torch.ones(2, 3), image) == []
    strided = Recorded()
    linear = nn.Linear(3, 2)
    result = strided.make(linear, image[:, 0, :, 0])
    assert strided.ways(result, image) == []
    torch.testing.assert_close(POOLINGS[0](image), image.mean((2, 3)))
    results = [pooling(SOURCE) for pooling in POOLINGS]
    by_hand = [
        SOURCE.mean(1),
        SOURCE[:, 1:].mean(1),
        SOURCE[:, 0],
        SOURCE[:, 4],
        SOURCE[:, :2].mean(1),
    ]
    torch.testing.assert_close(results, by_hand)


def stack(module: nn.Module, began: int, ended: int, *shape: int) -> Stack:
    size = torch.Size(shape or (2, 5, 4))
    return Stack(module, size, torch.ones(size[:-1]), began, ended)


def lists(*sizes: int) -> Any:
    """A module that holds a list of blocks for each size of these, by its number."""
    part = nn.Module()
    for number, size in enumerate(sizes):
        part.add_module(str(number), nn.ModuleList([nn.Linear(size, 1)]))
    return part


def main(part: Any, *stacks: Stack, words: Any = ()) -> Any:
    trace: Any = object.__new__(ForwardTrace)
    trace._stacks = {stack.blocks: stack for stack in stacks}
    trace._embedding = set(words)
    return trace.main_stack(part, SOURCE)


def test_the_blocks_are_inside_the_part_and_of_its_positions() -> None:
    part = lists(3)
    (blocks,) = part.children()
    shape: tuple[int, ...]
    for shape in ((2, 5, 4), (5, 2, 4), (2, 5, 9)):
        fitting = stack(blocks, 1, 1, *shape)
        assert main(part, fitting) is fitting
    for shape in ((2, 6, 4), (3, 5, 4), (10, 4), (2, 5, 4, 1)):
        assert main(part, stack(blocks, 1, 1, *shape)) is None
    assert main(part) is None
    assert main(lists(3), stack(blocks, 1, 1)) is None
    trace: Any = object.__new__(ForwardTrace)
    assert trace.main_stack(part, torch.ones(2, 4, 5, 1)) is None


def test_of_several_lists_the_largest_counts_or_the_first_that_runs_with_it() -> None:
    part = lists(3, 9, 5)
    small, large, middle = part.children()
    before, ran, after = stack(small, 1, 1), stack(large, 2, 2), stack(middle, 3, 3)
    assert main(part, before, ran, after) is ran
    around = stack(small, 1, 9)
    assert main(part, around, ran, after) is around
    second, first = stack(large, 2, 8), stack(middle, 1, 7)
    assert main(part, second, first) is first
    late = stack(middle, 3, 9)
    assert main(part, second, late) is second


def test_of_several_lists_those_beside_the_words_count() -> None:
    part: Any = nn.Module()
    part.text, part.image = tiny_model("bert"), tiny_model("bert", hidden_size=64)
    (of_text,), (of_image,) = (
        [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        for model in (part.text, part.image)
    )
    text, image = stack(of_text, 1, 1), stack(of_image, 2, 2)
    words = [part.text.get_input_embeddings()]
    assert main(part, text, image, words=words) is text
    assert main(part, text, image) is image
    assert main(part, text, image, words=[nn.Embedding(2, 2)]) is image
    outside: Any = nn.Module()
    outside.text, outside.lists = part.text, lists(3, 9)
    small, large = (stack(b, n, n) for n, b in enumerate(outside.lists.children()))
    assert main(outside, small, large, words=words) is large
    assert main(outside, image, large, words=words) is large
