"""Where in its input each position of a model's hidden states lies.

Nothing here depends on an architecture. One forward pass shows which convolutions and poolings
reduced maps to smaller maps; their kernels, strides and paddings say where on the input each cell
of the smallest map lies. Whether the positions are these cells, in this order, is then tested:
parts of the input are changed, and the hidden states that change most must be those of the cells
there.
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
from normxlogit.model.inference import without_autocast
from normxlogit.model.outputs import run_model

MOST_PREFIXES = 16
"""At most this many positions before the patches are taken for tokens such as CLS."""

_DRAWS = 4
"""How many draws of noise change a part of the input."""

Size = tuple[int, ...]


@dataclass(frozen=True)
class GridAxis:
    """Cells of equal length side by side along a line.

    Attributes:
        count: the number of cells.
        first: the centre of the first.
        step: the distance from one centre to the next.
    """

    count: int
    first: float = 0.5
    step: float = 1.0

    def reduced(self, count: int, kernel: int, stride: int, padding: int) -> "GridAxis":
        """Return the `count` cells that a convolution or pooling makes of these."""
        # Output 0 covers inputs -padding to kernel - 1 - padding; its centre is halfway.
        offset = (kernel - 1) / 2 - padding
        return GridAxis(count, self.first + offset * self.step, self.step * stride)

    def mapped_through(self, outer: "GridAxis") -> "GridAxis":
        """Return these cells, measured in cells of `outer`, in the units of `outer`.

        Patches on the model's pixels, mapped through these pixels on an image, are patches on the
        image.
        """
        first = outer.first + (self.first - 0.5) * outer.step
        return GridAxis(self.count, first, self.step * outer.step)

    def edge(self, number: int) -> float:
        """Return where a cell begins, and the one before it ends."""
        return self.first + (number - 0.5) * self.step


@dataclass(frozen=True)
class PatchLayout:
    """Where positions lie.

    Attributes:
        prefix: how many positions before the others lie nowhere (CLS, registers).
        axes: the grid of the others, row by row: down and across.
        dims: the dimensions of the input that the axes go along.
    """

    prefix: int
    axes: tuple[GridAxis, ...]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class _Reduction:
    """A call that made a map of one size from a map of another."""

    input_size: Size
    output_size: Size
    kernel: Size
    stride: Size
    padding: Size

    def apply(self, axes: tuple[GridAxis, ...]) -> tuple[GridAxis, ...]:
        geometry = zip(self.output_size, self.kernel, self.stride, self.padding, strict=True)
        return tuple(axis.reduced(*g) for axis, g in zip(axes, geometry, strict=True))


class _Reductions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the reductions that this thread computes.

    A dispatch mode and not hooks on modules, because models also call `torch.nn.functional`. It
    sees the basic operators only outside of inference mode: in it, every composite one (conv1d,
    conv2d, pad, ...) arrives by its own name.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[_Reduction] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        read_geometry = _GEOMETRY.get(func.overloadpacket.__name__)
        # [batch, channels, length] or [batch, channels, height, width]
        if read_geometry is not None and args[0].dim() in (3, 4):
            input_size = tuple(args[0].shape[2:])
            output = outputs[0] if isinstance(outputs, tuple) else outputs
            geometry = read_geometry(len(input_size), *args[1:])
            if geometry is not None:
                self.seen.add(_Reduction(input_size, tuple(output.shape[2:]), *geometry))
        return outputs


_Geometry = tuple[Size, Size, Size] | None
"""Kernel, stride and padding of a reduction; None for calls that are none."""


def _convolution(
    rank: int, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any
) -> _Geometry:
    if rest[0]:
        return None  # transposed
    dilations = _per_dim(dilation, rank)
    kernel = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True))
    return kernel, _per_dim(stride, rank), _per_dim(padding, rank)


def _pooling(rank: int, kernel: Any, stride: Any = (), padding: Any = 0, *_: Any) -> _Geometry:
    return _per_dim(kernel, rank), _per_dim(stride or kernel, rank), _per_dim(padding, rank)


def _padding(rank: int, pad: Sequence[int], *_: Any) -> _Geometry:
    if len(pad) > 2 * rank:
        return None
    # `pad` is (before, after) from the last dimension on. Padding only shifts the cells: it is a
    # convolution of kernel 1.
    before = [*reversed(pad[::2])]
    return (1,) * rank, (1,) * rank, (*[0] * (rank - len(before)), *before)


_GEOMETRY: dict[str, Callable[..., _Geometry]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pooling,
    "avg_pool2d": _pooling,
    "constant_pad_nd": _padding,
}


def _per_dim(value: Any, rank: int) -> Size:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * rank if len(values) == 1 else values)


def find_patch_layout(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    name: str,
    orders: Sequence[tuple[int, ...]],
    shape: Size,
) -> PatchLayout:
    """Find where on `inputs[name]` the positions of x^L lie.

    Runs the model several times, on inputs parts of which are changed.

    Args:
        model: it is not changed.
        inputs: what its forward takes, one row.
        name: which of the inputs.
        orders: which of its dimensions the positions may go along, and in which order.
        shape: of x^L, [1, positions, hidden] or [1, hidden, height, width].

    Raises:
        UnsupportedHeadError: it could not be determined.
    """
    values = inputs[name]
    with without_autocast(), torch.inference_mode(False), torch.no_grad():
        reductions = _Reductions()
        clone = ModelClone(Anatomy.of(model)).root
        with reductions:
            run_model(clone, inputs)
        # There may be several: maps of more than one layer, read in more than one order, can have
        # as many cells as x^L has positions, counting merged cells and prefixes.
        candidates: list[PatchLayout] = []
        for dims in orders:
            size = tuple(values.shape[dim] for dim in dims)
            maps = set(_maps(tuple(map(GridAxis, size)), reductions.seen))
            candidates += [PatchLayout(p, axes, dims) for p, axes in _fitting(maps, shape)]
        if len(shape) == 4:
            # x^L is a map itself, so its order is plain; only its place may be ambiguous.
            if len(candidates) == 1:
                return candidates[0]
        elif candidates:
            probe = _Probe(model, inputs, name, shape[1])
            for layout in sorted(candidates, key=lambda layout: layout.prefix):
                if probe.confirms(layout):
                    return layout
    raise UnsupportedHeadError(
        f"where the positions that the head of {type(model).__name__} reads lie in its input could "
        "not be determined: its layers do not show it, or what they show did not stand a test."
    )


def _maps(
    axes: tuple[GridAxis, ...], reductions: set[_Reduction], before: frozenset[Size] = frozenset()
) -> Iterator[tuple[GridAxis, ...]]:
    """Yield a map and all that chains of reductions make of it, with where their cells lie.

    Calls are chained by the sizes of their maps alone, as which tensor went where is not recorded.
    No size comes twice in a chain, so convolutions that keep the size do not chain for ever.
    """
    yield axes
    size = tuple(axis.count for axis in axes)
    for reduction in reductions:
        if reduction.input_size == size and reduction.output_size not in before | {size}:
            yield from _maps(reduction.apply(axes), reductions, before | {size})


def _fitting(
    maps: set[tuple[GridAxis, ...]], shape: Size
) -> Iterator[tuple[int, tuple[GridAxis, ...]]]:
    """Yield the maps whose cells x^L's positions may be, and how many positions come before."""
    for axes in maps:
        size = tuple(axis.count for axis in axes)
        if len(shape) == 4:
            if size == shape[2:]:
                yield 0, axes
            continue
        count = math.prod(size)
        # Along one dimension there is no telling a prefix from a step more or less.
        if 0 <= shape[1] - count <= (MOST_PREFIXES if len(size) > 1 else 0) and count > 1:
            yield shape[1] - count, axes
        merged = math.isqrt(max(1, count // shape[1]))
        if merged > 1 and count == shape[1] * merged**2 and not any(n % merged for n in size):
            # Pyramids (Swin) merge neighbouring patches by slicing, which is no reduction to see.
            yield 0, tuple(axis.reduced(axis.count // merged, merged, merged, 0) for axis in axes)


class _FirstStates(BaseException):
    """Carries x^0 out of a forward pass, and so ends it: the blocks need not run."""

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
        self._reads_first = True
        self._unchanged = self._states(inputs[name])

    def confirms(self, layout: PatchLayout) -> bool:
        """Return whether the positions that change most are those where the input changed.

        Tested at the corners, which tell a transposed or shifted grid from the right one, and at a
        cell inside, for models that treat edges in a way of their own.
        """
        counts = [axis.count for axis in layout.axes]
        corners = product(*({0, count - 1} for count in counts))
        for cell in (*corners, tuple(count // 3 for count in counts)):
            expected = layout.prefix + _row_major(cell, counts)
            # Where cells overlap one draw of noise may move a neighbour more; several do not.
            changes = [
                # [positions, hidden] -> [positions]
                (self._states(self._changed(layout, cell)) - self._unchanged).square().sum(-1)
                for _ in range(_DRAWS if self._reads_first else 1)
            ]
            position = int(torch.stack(changes).sum(0).argmax())
            # Steps of audio overlap by most of their length, so a neighbour will do.
            if abs(position - expected) > (len(counts) == 1):
                return False
        return True

    def _changed(self, layout: PatchLayout, cell: tuple[int, ...]) -> Tensor:
        """Return the input with noise of twice its own spread on a cell."""
        values: Tensor = self._inputs[self._name].clone()
        part = [slice(None)] * values.dim()
        for dim, axis, i in zip(layout.dims, layout.axes, cell, strict=True):
            last = values.shape[dim] - 1
            start = min(last, max(0, round(axis.edge(i))))
            part[dim] = slice(start, max(start + 1, round(axis.edge(i + 1))))
        region = values[tuple(part)]
        size = 2 * float(values.float().std()) or 1.0
        noise = torch.randn(region.shape, generator=self._noise) * size
        values[tuple(part)] = region + noise.to(values)
        return values

    def _states(self, values: Tensor) -> Tensor:
        """Return x^0 of every position, [positions, hidden]; x^L where x^0 has other positions.

        Before the blocks no position has seen another, so x^0 tells most sharply where the input
        changed.
        """
        inputs = {**self._inputs, self._name: values}
        anatomy = Anatomy.of(self._model)
        clone = ModelClone(anatomy)

        def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
            hidden = next((v for v in tensors if v.is_floating_point()), None)
            if hidden is not None and hidden.dim() == 3 and hidden.shape[1] == self._positions:
                raise _FirstStates(hidden[0].float())

        for blocks in anatomy.stacks:
            for block in list(blocks.children())[:1]:
                clone.of[block].register_forward_pre_hook(keep, with_kwargs=True)
        if self._reads_first:
            try:
                run_model(clone.root, inputs)
            except _FirstStates as first:
                return first.states
        # A pyramid's first block has more positions than x^L, so no hook has raised.
        self._reads_first = False
        return capture(self._model, inputs).states.tokens[0].float()


def _row_major(cell: Sequence[int], counts: Sequence[int]) -> int:
    """Return the index of a cell, counted row by row."""
    index = 0
    for i, count in zip(cell, counts, strict=True):
        index = index * count + i
    return index


def extended(axis: GridAxis, positions: int, length: int) -> GridAxis:
    """Return the same cells in another number, along an input of another length.

    Raises:
        UnsupportedHeadError: that many do not fit there.
    """
    cells = replace(axis, count=positions)
    if not length - 3 * axis.step <= cells.edge(positions) <= length + 3 * axis.step:
        raise UnsupportedHeadError(
            f"{positions} positions do not fit an input of length {length} as they were seen to "
            f"lie, {axis.step:g} apart."
        )
    return cells
