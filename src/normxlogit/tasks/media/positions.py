"""Where in its input each position of a model's hidden states lies.

Nothing here depends on an architecture. One forward pass shows which convolutions and poolings
made smaller maps of larger ones; their kernels, strides and paddings say where on the input a cell
of the smallest map lies. That the positions are these cells, in their order, is then tried out:
parts of the input are changed, and the vectors that change most must be those of the cells there.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.capture import capture
from normxlogit.model.clone import Anatomy, ModelClone

MOST_PREFIXES = 16
"""So many positions before those of the patches are believed to be tokens such as CLS."""

_DRAWS = 4

Size = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """Cells of one length that lie side by side along a line.

    Attributes:
        count: how many they are.
        first: the centre of the first.
        step: from one centre to the next.
    """

    count: int
    first: float = 0.5
    step: float = 1.0

    def reduced(self, count: int, kernel: int, stride: int, padding: int) -> "Axis":
        """The cells that a convolution or pooling makes of these."""
        offset = (kernel - 1) / 2 - padding
        return Axis(count, self.first + offset * self.step, self.step * stride)

    def along(self, line: "Axis") -> "Axis":
        """These cells, which lie along the cells of a line, along what that line lies on."""
        first = line.first + (self.first - 0.5) * line.step
        return Axis(self.count, first, self.step * line.step)

    def edge(self, number: int) -> float:
        """Where a cell begins, and the one before it ends."""
        return self.first + (number - 0.5) * self.step


@dataclass(frozen=True)
class Places:
    """Where positions lie.

    Attributes:
        prefix: how many positions lie nowhere, before the others (CLS, registers).
        axes: of the others, row by row: down and across.
        dims: the dimensions of the input that the axes go along.
    """

    prefix: int
    axes: tuple[Axis, ...]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class _Reduction:
    """A call that made a map of one size from a map of another."""

    taken: Size
    given: Size
    kernel: Size
    stride: Size
    padding: Size

    def of(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        how = zip(self.given, self.kernel, self.stride, self.padding, strict=True)
        return tuple(axis.reduced(*h) for axis, h in zip(axes, how, strict=True))


class _Reductions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what reductions this thread computes; not in inference mode, which hides them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[_Reduction] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        read = _READ.get(func.overloadpacket.__name__)
        if read is not None and args[0].dim() in (3, 4):
            taken = tuple(args[0].shape[2:])
            output = given[0] if isinstance(given, tuple) else given
            how = read(len(taken), *args[1:])
            if how is not None:
                self.found.add(_Reduction(taken, tuple(output.shape[2:]), *how))
        return given


_How = tuple[Size, Size, Size] | None


def _convolution(
    rank: int, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any
) -> _How:
    if rest[0]:
        return None  # transposed
    spread = _sized(dilation, rank)
    kernel = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], spread, strict=True))
    return kernel, _sized(stride, rank), _sized(padding, rank)


def _pooling(rank: int, kernel: Any, stride: Any = (), padding: Any = 0, *_: Any) -> _How:
    return _sized(kernel, rank), _sized(stride or kernel, rank), _sized(padding, rank)


def _padding(rank: int, pad: Sequence[int], *_: Any) -> _How:
    if len(pad) > 2 * rank:
        return None
    before = [*reversed(pad[::2])]
    return (1,) * rank, (1,) * rank, (*[0] * (rank - len(before)), *before)


_READ: dict[str, Callable[..., _How]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pooling,
    "avg_pool2d": _pooling,
    "constant_pad_nd": _padding,
}


def _sized(value: Any, rank: int) -> Size:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * rank if len(values) == 1 else values)


def find_places(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    name: str,
    orders: Sequence[tuple[int, ...]],
    shape: Size,
) -> Places:
    """Where on `inputs[name]` the positions of x^L lie.

    Runs the model some times on the inputs, parts of which it changes.

    Args:
        model: it is not changed.
        inputs: what its forward takes, one row.
        name: which of them.
        orders: which of its dimensions the positions may go along, and in which order.
        shape: of x^L, [1, positions, hidden] or [1, hidden, height, width].

    Raises:
        UnsupportedHeadError: it cannot be told.
    """
    values = inputs[name]
    with torch.inference_mode(False), torch.no_grad():
        reductions = _Reductions()
        clone = ModelClone(Anatomy.of(model)).root
        with reductions:
            clone(**inputs, return_dict=True)
        candidates: list[Places] = []
        for dims in orders:
            size = tuple(values.shape[dim] for dim in dims)
            reached = set(_reached(tuple(map(Axis, size)), reductions.found))
            candidates += [Places(p, a, dims) for p, a in _fitting(reached, shape)]
        if len(shape) == 4:
            if len(candidates) == 1:
                return candidates[0]
        elif candidates:
            probe = _Probe(model, inputs, name, shape[1])
            for places in sorted(candidates, key=lambda places: places.prefix):
                if probe.confirms(places):
                    return places
    raise UnsupportedHeadError(
        f"where the positions that the head of {type(model).__name__} reads lie in its input "
        "could not be told: its layers do not show it, or what they show did not stand a trial."
    )


def _reached(
    axes: tuple[Axis, ...], reductions: set[_Reduction], before: frozenset[Size] = frozenset()
) -> Iterator[tuple[Axis, ...]]:
    """The maps that reductions make of a map, one after the other, with where their cells lie."""
    yield axes
    size = tuple(axis.count for axis in axes)
    for reduction in reductions:
        if reduction.taken == size and reduction.given not in before | {size}:
            yield from _reached(reduction.of(axes), reductions, before | {size})


def _fitting(reached: set[tuple[Axis, ...]], shape: Size) -> Iterator[tuple[int, tuple[Axis, ...]]]:
    """Those maps that the positions may be the cells of, with the number of positions before."""
    for axes in reached:
        size = tuple(axis.count for axis in axes)
        if len(shape) == 4:
            if size == shape[2:]:
                yield 0, axes
            continue
        count = math.prod(size)
        if 0 <= shape[1] - count <= (MOST_PREFIXES if len(size) > 1 else 0) and count > 1:
            yield shape[1] - count, axes
        merged = math.isqrt(max(1, count // shape[1]))
        if merged > 1 and count == shape[1] * merged**2 and not any(n % merged for n in size):
            # Neighbours that a plain function joined, as pyramids of patches do.
            yield 0, tuple(axis.reduced(axis.count // merged, merged, merged, 0) for axis in axes)


class _Seen(BaseException):
    """Ends a forward pass that has computed what it was run for."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class _Probe:
    """Changes parts of an input to see which positions change most."""

    def __init__(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], name: str, positions: int
    ) -> None:
        self._model, self._inputs, self._name = model, inputs, name
        self._positions = positions
        self._noise = torch.Generator().manual_seed(0)
        self._sees_zero = True
        self._own = self._states(inputs[name])

    def confirms(self, places: Places) -> bool:
        """Whether the positions that change most are those that lie where the input changed."""
        counts = [axis.count for axis in places.axes]
        corners = product(*({0, count - 1} for count in counts))
        for cell in (*corners, tuple(count // 3 for count in counts)):
            number = 0
            for i, count in zip(cell, counts, strict=True):
                number = number * count + i
            # Where cells overlap one draw of noise may move a neighbour more; several do not.
            changes = [
                (self._states(self._changed(places, cell)) - self._own).square().sum(-1)
                for _ in range(_DRAWS if self._sees_zero else 1)
            ]
            found = int(torch.stack(changes).sum(0).argmax())
            if abs(found - places.prefix - number) > (len(counts) == 1):
                return False
        return True

    def _changed(self, places: Places, cell: tuple[int, ...]) -> Tensor:
        values: Tensor = self._inputs[self._name].clone()
        part = [slice(None)] * values.dim()
        for dim, axis, i in zip(places.dims, places.axes, cell, strict=True):
            last = values.shape[dim] - 1
            start = min(last, max(0, round(axis.edge(i))))
            part[dim] = slice(start, max(start + 1, round(axis.edge(i + 1))))
        region = values[tuple(part)]
        size = 2 * float(values.float().std()) or 1.0
        noise = torch.randn(region.shape, generator=self._noise) * size
        values[tuple(part)] = region + noise.to(values)
        return values

    def _states(self, values: Tensor) -> Tensor:
        """x^0 of every position, [positions, hidden]; x^L where x^0 has other positions."""
        inputs = {**self._inputs, self._name: values}
        anatomy = Anatomy.of(self._model)
        clone = ModelClone(anatomy)

        def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
            hidden = next((v for v in tensors if v.is_floating_point()), None)
            if hidden is not None and hidden.dim() == 3 and hidden.shape[1] == self._positions:
                raise _Seen(hidden[0].float())

        for blocks in anatomy.stacks:
            for block in list(blocks.children())[:1]:
                clone.of[block].register_forward_pre_hook(keep, with_kwargs=True)
        if self._sees_zero:
            try:
                clone.root(**inputs, return_dict=True)
            except _Seen as seen:
                return seen.states
        self._sees_zero = False
        return capture(self._model, inputs).states.tokens[0].float()


def stretched(axis: Axis, positions: int, length: int) -> Axis:
    """The same cells in another number, along an input of another length.

    Raises:
        UnsupportedHeadError: so many do not fit there.
    """
    made = replace(axis, count=positions)
    if not length - 3 * axis.step <= made.edge(positions) <= length + 3 * axis.step:
        raise UnsupportedHeadError(
            f"{positions} positions do not fit an input of length {length} as they were seen to "
            f"lie, {axis.step:g} apart."
        )
    return made
