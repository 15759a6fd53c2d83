"""What hooks on a clone see during one forward pass.

Nothing here depends on an architecture. The trunk is the outermost sub-model that returned a
`last_hidden_state` last; x^0 is the input of the first block of the trunk's main stack. How x^L
came from the last block's output (a final norm), and how further outputs came from x^L (a pooler),
is read off the calls of the modules outside the stacks. Only the activations asked for are kept;
for the others their norms, addresses and counts.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone, blocks_of
from normxlogit.model.numerics import first_tensor, norms_of
from normxlogit.model.outputs import named_states, run_model
from normxlogit.model.readings import Readings
from normxlogit.model.word_embeddings import LookedUp, word_embeddings


@dataclass(frozen=True)
class TracedOps:
    """The modules that made a tensor, one after the other, from a view of the hidden states.

    Attributes:
        modules: in the order of their calls; none means the tensor is the view itself.
        view: makes the first module's input; None means the hidden states as they are.
        position: the position that the first module was given, if it was given one.
    """

    modules: tuple[nn.Module, ...] = ()
    view: Callable[[Tensor], Tensor] | None = None
    position: int | None = None

    def on(self, twins: Mapping[nn.Module, nn.Module]) -> "TracedOps":
        """The same by other copies of the modules."""
        return replace(self, modules=tuple(twins[module] for module in self.modules))

    def __call__(self, hidden: Tensor, *, position: int | None = None) -> Tensor:
        """Recompute the tensor from other hidden states.

        Args:
            hidden: [batch, sequence, hidden].
            position: read this position instead of the recorded one, if one was recorded.
        """
        value = hidden
        if self.position is not None:
            value = hidden[:, self.position if position is None else position]
        elif self.view is not None:
            value = self.view(hidden)
        for module in self.modules:
            value = first_tensor(module(value))
        return value


def transposed(hidden: Tensor) -> Tensor:
    """[batch, sequence, hidden] -> [batch, hidden, sequence]."""
    return hidden.transpose(1, 2)


def mean(hidden: Tensor) -> Tensor:
    """The mean over the positions of [batch, sequence, hidden] or [batch, hidden, ...]."""
    return hidden.mean(1) if hidden.dim() == 3 else hidden.flatten(2).mean(2)


def mean_but_first(hidden: Tensor) -> Tensor:
    """The mean over all positions but the first."""
    return hidden[:, 1:].mean(1)


def first(hidden: Tensor) -> Tensor:
    """The first position."""
    return hidden[:, 0]


def last(hidden: Tensor) -> Tensor:
    """The last position."""
    return hidden[:, -1]


def mean_of_two(hidden: Tensor) -> Tensor:
    """The mean over the first two positions."""
    return hidden[:, :2].mean(1)


POOLINGS = (mean, mean_but_first, first, last, mean_of_two)
"""Poolings that trunks do with plain functions, which hooks on modules cannot see."""


@dataclass
class Stack:
    """What was seen of one list of blocks.

    Attributes:
        blocks: the list.
        shape: the shape of x^0, the first block's input.
        norms: ||x^0||_2 in float32, without the last dimension of `shape`.
        began, ended: when a block was first and last called.
        depth: how many calls of blocks there were.
        trail: the norms of the inputs of the blocks at a quarter, half and three quarters of the
            list, like `norms`, if they were asked for.
        last: the last output of a block, if layers are kept.
        kept: the outputs of the layers asked for; 1 is the first block's, 0 is x^0.
        read: what was read off layers when they were made, and `unread`, those to be read later.
    """

    blocks: nn.Module
    shape: torch.Size
    norms: Tensor
    began: int
    ended: int
    depth: int = 0
    trail: list[Tensor] = field(default_factory=list)
    last: Tensor | None = None
    kept: dict[int, Tensor] = field(default_factory=dict)
    read: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    unread: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Call:
    """A module's call, by the memory addresses of its input and its output.

    Addresses, because keeping the tensors themselves would keep every activation alive.
    """

    module: nn.Module
    address: int
    shape: torch.Size
    stride: tuple[int, ...]
    result: int


@dataclass(frozen=True)
class Calls:
    """The calls of modules outside the stacks, in their order."""

    calls: list[_Call] = field(default_factory=list)

    def candidate_ops(self, value: Tensor, source: Tensor) -> Iterator[TracedOps]:
        """Ways in which modules may have made `value` from `source`, likeliest first.

        Freed addresses get reused and plain functions are invisible to hooks, so callers must
        verify each candidate by running it.
        """
        traced, seen = self._walk_back(value, source)
        # What addresses say is likelier than a pooling, of which there are several to try.
        if traced is not None:
            yield traced
        for modules, taken in seen:
            if _is_pooled(taken, source.shape):
                yield from (TracedOps(modules, pooling) for pooling in POOLINGS)

    def _walk_back(
        self, value: Tensor, source: Tensor
    ) -> tuple[TracedOps | None, list[tuple[tuple[nn.Module, ...], torch.Size]]]:
        """Walk back from `value` to `source`, or as far as addresses lead.

        Returns:
            How the value was made, if the way leads to the source; and the modules that were met,
            one more each time, with the shape that the first of them was given.
        """
        # The last call that wrote to the value's address made it; that call's input is the next
        # value to look for. Only calls before it count, since the same memory may have been written
        # again later.
        address, end, modules = value.data_ptr(), len(self.calls), list[nn.Module]()
        seen = list[tuple[tuple[nn.Module, ...], torch.Size]]()
        if address == source.data_ptr() and value.shape == source.shape:
            return TracedOps(), seen
        taken = value.shape
        while True:
            seen.append((tuple(modules), taken))
            calls = (i for i in reversed(range(end)) if self.calls[i].result == address)
            if (end := next(calls, -1)) < 0:
                return None, seen
            call = self.calls[end]
            modules.insert(0, call.module)
            address, taken = call.address, call.shape
            if address == source.data_ptr() and taken == source.shape:
                return TracedOps(tuple(modules)), seen
            if address == source.data_ptr() and taken == source.mT.shape:
                return TracedOps(tuple(modules), transposed), seen
            # The input may be a view of one position, hidden[:, i]: same memory, so its address and
            # its stride over the batch tell i.
            offset = (address - source.data_ptr()) // source.element_size()
            if (
                source.dim() == 3
                and taken == (source.shape[0], source.shape[2])
                and call.stride[0] == source.stride(0)
                and 0 <= offset < source.stride(0)
            ):
                return TracedOps(tuple(modules), position=offset // source.stride(1)), seen


class ForwardTrace:
    """A clone with hooks on its sub-models, its blocks, and the modules outside the stacks.

    Attributes:
        clone: the copy of the model that runs.
        looked_up: the last use of the word embeddings, the decoder's if there is one.
        readings: the layers to read, and how.
        calls: of modules outside the stacks.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        anatomy: Anatomy,
        layers: Container[int] = (),
        readings: Readings | None = None,
        *,
        trails: bool = False,
    ) -> None:
        """Put hooks on a new clone.

        Args:
            model: it is not changed.
            anatomy: the model's.
            layers: the layers whose outputs to keep, from 1; 0 is x^0.
            readings: the layers to read, and how.
            trails: note the norms of states half way up; see `Stack.trail`.
        """
        self.looked_up: LookedUp | None = None
        self._handles: list[RemovableHandle] = []
        self._layers = layers
        self.readings = readings or Readings()
        self._clock = 0
        self._open: list[int] = []
        self._trunks: list[tuple[nn.Module, ModelOutput]] = []
        self._part: tuple[nn.Module, ModelOutput] | None = None
        self._tupled: tuple[nn.Module, ModelOutput] | None = None
        self._stacks: dict[nn.Module, Stack] = {}
        self.calls = Calls()

        self.clone = ModelClone(anatomy)
        of = self.clone.of
        for module in anatomy.outside_stacks:
            if not isinstance(module, PreTrainedModel):
                self._after(of[module], self._on_call)
                self._after(of[module], self._on_part)
            elif module is not model:
                self._before(of[module], self._on_enter)
                self._after(of[module], self._on_leave)
        for blocks in anatomy.stacks:
            inner = list(blocks_of(blocks))
            some = {len(inner) * n // 4 for n in (1, 2, 3)} if trails else set()
            for number, block in enumerate(inner):
                self._before(of[block], partial(self._on_block_input, of[blocks], number in some))
                if layers or self.readings.of_layers:
                    self._after(of[block], partial(self._on_block_output, of[blocks]))
        self._embedding = {of[module] for module in word_embeddings(model, anatomy)}
        for module in self._embedding:
            self._after(module, self._on_words)

    def run(self, arguments: Mapping[str, Any]) -> ModelOutput:
        """Run the model once, and take the hooks off, so that nothing refers back to the trace."""
        try:
            return run_model(self.clone.root, arguments)
        finally:
            self.release()

    def release(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def trunk(self) -> tuple[nn.Module, ModelOutput]:
        """The module whose output the head reads, and that output."""
        if self._trunks:
            return self._trunks[-1]
        if (part := self._part or self._tupled) is None:
            raise UnsupportedHeadError(
                f"no sub-model of {type(self.clone.root).__name__} returned a last_hidden_state, "
                "so its head cannot be told from its trunk."
            )
        return part

    def towers(self) -> list[tuple[nn.Module, ModelOutput]]:
        """The outermost sub-models that ran before the trunk, and what they returned."""
        return self._trunks[:-1]

    def main_stack(self, part: nn.Module, hidden: Tensor) -> Stack | None:
        """The blocks inside `part` that made `hidden`, [batch, sequence, hidden].

        It is the largest stack whose x^0 has the same positions; if others ran interleaved with it,
        the first of these, as its input is x^0. None if no stack fits.
        """
        if hidden.dim() != 3:
            return None
        batch, sequence, _ = hidden.shape
        inside = set(Anatomy.of(part).stacks)
        fitting = {
            blocks: stack
            for blocks, stack in self._stacks.items()
            if blocks in inside
            and len(stack.shape) == 3
            and stack.shape[:2] in ((batch, sequence), (sequence, batch))
        }
        if not fitting:
            return None
        if len(fitting) > 1:
            # Models of several modalities have a stack for each: only one is with the words.
            inner = self._around_words(part)
            fitting = {b: s for b, s in fitting.items() if b in inner} or fitting
        if len(fitting) == 1:
            return next(iter(fitting.values()))
        # Some models keep their blocks in several lists that run in turn.
        main = fitting[max(fitting, key=_size)]
        interleaved = [
            s for s in fitting.values() if s.began <= main.ended and main.began <= s.ended
        ]
        return min(interleaved, key=lambda stack: stack.began)

    def _around_words(self, part: nn.Module) -> set[nn.Module]:
        """The modules of the innermost sub-model that holds the word embeddings."""
        holders = [
            set(module.modules())
            for module in Anatomy.of(part).modules
            if isinstance(module, PreTrainedModel)
            and not self._embedding.isdisjoint(module.modules())
        ]
        return min(holders, key=len, default=set())

    def _before(self, module: nn.Module, hook: Callable[..., None]) -> None:
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _after(self, module: nn.Module, hook: Callable[..., None]) -> None:
        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def _on_enter(self, _module: nn.Module, _args: Any, _kwargs: Any) -> None:
        self._open.append(len(self._trunks))

    def _on_leave(self, module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        # A sub-model that returns states replaces those that ran inside it: the outermost stays.
        began = self._open.pop()
        states = named_states(output)
        if isinstance(output, ModelOutput) and states is not None:
            self._trunks[began:] = [(module, states)]
        elif states is not None:
            self._tupled = (module, states)

    def _on_part(self, module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        if isinstance(output, ModelOutput) and named_states(output) is not None:
            self._part = (module, output)

    def _on_block_input(
        self, blocks: nn.Module, is_on_trail: bool, _block: nn.Module, args: Any, kwargs: Any
    ) -> None:
        # Called before every block: the first call of a stack gets x^0.
        self._clock += 1
        stack = self._stacks.get(blocks)
        hidden = first_tensor((*args, *kwargs.values())) if stack is None or is_on_trail else None
        if stack is None:
            if hidden is None:
                return
            stack = Stack(blocks, hidden.shape, norms_of(hidden), self._clock, self._clock)
            self._stacks[blocks] = stack
            self._keep(stack, 0, hidden)
        elif hidden is not None:
            stack.trail.append(norms_of(hidden))
        stack.ended = self._clock
        stack.depth += 1

    def _on_block_output(
        self, blocks: nn.Module, _block: nn.Module, _args: Any, _kwargs: Any, output: Any
    ) -> None:
        if (stack := self._stacks.get(blocks)) is None:
            return
        hidden = first_tensor(output)
        if self._layers:
            stack.last = hidden
        if hidden is not None:
            self._keep(stack, stack.depth, hidden)

    def _keep(self, stack: Stack, number: int, hidden: Tensor) -> None:
        if number in self._layers:
            stack.kept[number] = hidden
        if number in self.readings.of_layers:
            read = self.readings.early(number, hidden)
            if read is None:
                stack.unread[number] = hidden
            else:
                stack.read[number] = read

    def _on_call(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not self._open:
            return
        source, result = first_tensor((*args, *kwargs.values())), first_tensor(output)
        if source is not None and result is not None:
            self.calls.calls.append(
                _Call(module, source.data_ptr(), source.shape, source.stride(), result.data_ptr())
            )

    def _on_words(self, module: nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        ids = next(iter((*args, *kwargs.values())), None)
        if isinstance(ids, Tensor) and not ids.is_floating_point():
            self.looked_up = LookedUp(module, ids)


def _is_pooled(shape: torch.Size, source: torch.Size) -> bool:
    """Whether a tensor has one vector for each row of the hidden states."""
    return tuple(shape) == ((source[0], source[2]) if len(source) == 3 else tuple(source[:2]))


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
