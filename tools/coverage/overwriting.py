"""A model's output with other final hidden states in place of its own, and no replay.

The package runs the head alone, on a stubbed trunk. This does the opposite: the whole model runs,
and the trunk's final states are overwritten in place, in the very storage that the head goes on to
read. It is slow, it needs no knowledge of the head, and it shares nothing with the package but
transformers' own names for the trunk and its output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Inputs = Mapping[str, Tensor]
Read = Callable[[Any], Tensor]
"""Takes the logits from a model's output."""

_Hook = Callable[[nn.Module, Any, Any], None]


class OracleUnavailableError(Exception):
    """No storage was found through which the final states reach the head: nothing is known."""


class NotPerTokenError(Exception):
    """The model has no logit or no norm per token, so that an explanation must be refused."""


@dataclass(frozen=True)
class _Site:
    """Where the final states are made: one tensor in the output of one call of a module.

    shape    the final states' own: [rows, positions, hidden], or [rows, hidden, height, width]
    strides  their strides, as the module may return them transposed (XLNet)
    """

    module: nn.Module
    call: int
    tensor: int
    shape: torch.Size
    strides: tuple[int, ...]


class FinalStates:
    """x^L of one forward pass, and the model's logits with anything else in its place.

    states  [rows, positions, hidden]; of an image's rows and columns one after the other
    logits  the model's own, as `read` takes them from its output
    output  the model's own
    """

    def __init__(self, model: PreTrainedModel, inputs: Inputs, read: Read) -> None:
        """Raises OracleUnavailableError where nothing can be overwritten to effect."""
        self._model, self._inputs, self._read = model, inputs, read
        self.output = model(**inputs)
        self.logits = read(self.output)
        self._trunk = _trunk(model, inputs)
        made, sites = self._watch()
        self.states = _as_positions(made)
        self._site = self._working_site(sites)

    def logits_with(self, states: Tensor, inputs: Inputs | None = None) -> Tensor:
        """The logits of a pass in which `states` are put in place of x^L."""
        return self._run(self._site, states, inputs or self._inputs)[0]

    def _watch(self) -> tuple[Tensor, list[_Site]]:
        """x^L, and where it was made: the calls that returned its storage."""
        calls: Counter[nn.Module] = Counter()
        # All tensors are kept alive, so that no address is used twice.
        returned: list[tuple[nn.Module, int, int, Tensor]] = []
        trunk: list[tuple[Tensor, Tensor]] = []

        def record(module: nn.Module, _args: Any, output: Any) -> None:
            calls[module] += 1
            returned.extend(
                (module, calls[module], index, tensor)
                for index, tensor in enumerate(_tensors(output))
            )

        def record_trunk(_module: nn.Module, _args: Any, output: Any) -> None:
            state = last_state(output)
            if state is not None:
                trunk.append((state, state.clone()))

        with _hooked(self._model.modules(), record), _hooked([self._trunk], record_trunk):
            self._model(**self._inputs)
        made, states = trunk[-1]
        sites = [
            _Site(module, call, index, made.shape, made.stride())
            for module, call, index, tensor in returned
            if tensor.data_ptr() == made.data_ptr() and tensor.numel() == made.numel()
        ]
        return states, sites

    def _working_site(self, sites: list[_Site]) -> _Site:
        """The first site where writing x^L itself changes nothing and noise reaches the head.

        The first, because a pooler inside the trunk reads the storage before the trunk returns it.
        """
        noise = noise_like(self.states)
        for site in sites:
            same, _ = self._run(site, self.states, self._inputs)
            _, arrived = self._run(site, noise, self._inputs)
            if same_logits(same, self.logits).all() and torch.equal(arrived, noise):
                return site
        raise OracleUnavailableError(
            f"none of the {len(sites)} module outputs that share the final states' storage "
            "can be overwritten"
        )

    def _run(self, site: _Site, states: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The logits, and x^L as the trunk returned it, of a pass with `states` at `site`."""
        call = 0
        trunk: list[Tensor] = []

        def overwrite(_module: nn.Module, _args: Any, output: Any) -> None:
            nonlocal call
            call += 1
            if call == site.call:
                tensor = list(_tensors(output))[site.tensor]
                place = tensor.as_strided(site.shape, site.strides)
                place.copy_(_from_positions(states, site.shape))

        def record_trunk(_module: nn.Module, _args: Any, output: Any) -> None:
            state = last_state(output)
            if state is not None:
                trunk.append(_as_positions(state).clone())

        with _hooked([site.module], overwrite), _hooked([self._trunk], record_trunk):
            logits = self._read(self._model(**inputs))
        return logits, trunk[-1]


def last_state(output: Any) -> Tensor | None:
    """The final hidden states in what a trunk returned; None where there are none."""
    state = getattr(output, "last_hidden_state", None)
    return state if isinstance(state, Tensor) and state.dim() in (3, 4) else None


def noise_like(states: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(states.shape, generator=generator) * states.std()


def same_logits(logits: Tensor, reference: Tensor) -> Tensor:
    """Where two tensors of logits are the same but for rounding, bool like them."""
    return (logits - reference).abs() <= 1e-6 * reference.abs().max()


def _trunk(model: PreTrainedModel, inputs: Inputs) -> nn.Module:
    """The first of `_trunks` that ran and returned final states."""
    ran: set[nn.Module] = set()

    def record(module: nn.Module, _args: Any, output: Any) -> None:
        if last_state(output) is not None:
            ran.add(module)

    candidates = list(_trunks(model))
    with _hooked(candidates, record):
        model(**inputs)
    for candidate in candidates:
        if candidate in ran:
            return candidate
    raise OracleUnavailableError("no part of the model returned final states")


def _trunks(model: PreTrainedModel) -> Iterator[nn.Module]:
    """What may be the trunk: transformers' own `base_model`, and its, and then the last parts.

    The base model is the model itself in models with two stacks (T5, CLIP), and not run in decoders
    that borrow an encoder-decoder's names (BART).
    """
    base: Any = model.base_model
    while base.base_model is not base:
        base = base.base_model
    if base is not model:
        yield base
    for part in reversed(list(base.children())):
        yield part
        if isinstance(part, PreTrainedModel):
            yield from _trunks(part)


def _as_positions(states: Tensor) -> Tensor:
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states


def _from_positions(states: Tensor, shape: torch.Size) -> Tensor:
    return states.transpose(1, 2).reshape(shape) if len(shape) == 4 else states


def _tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor in a module's output, however nested, in a fixed order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)


@contextmanager
def _hooked(modules: Iterable[nn.Module], hook: _Hook) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
