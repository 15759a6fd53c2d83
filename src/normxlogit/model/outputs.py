"""What a model's forward returns, whatever it wraps its logits in."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class PassCounter:
    """Counts what a model runs inside of `counting`.

    Attributes:
        on_pass: is told how many passes were made, after each batch.
        forward: how many forward passes there were; each row of a batch is one.
        backward: the same of backward passes.
        tokens: how many tokens the forward passes read, padding included.
    """

    on_pass: Callable[[int], None] = lambda _count: None
    forward: int = 0
    backward: int = 0
    tokens: int = 0

    @property
    def passes(self) -> int:
        """The passes, of which a backward one counts as two."""
        return self.forward + 2 * self.backward

    def note(self, inputs: Mapping[str, Any], outputs: ModelOutput) -> None:
        """Count a forward pass, and the backward passes that are to come through its logits."""
        ids = next((value for value in inputs.values() if isinstance(value, Tensor)), None)
        rows, tokens = (1, 0) if ids is None else (len(ids), ids.numel())
        self.forward, self.tokens = self.forward + rows, self.tokens + tokens
        logits = outputs.get("logits")
        if isinstance(logits, Tensor) and logits.requires_grad:

            def count(_gradient: Tensor) -> None:
                self.backward += rows

            logits.register_hook(count)  # type: ignore[no-untyped-call]
        self.on_pass(rows)


_COUNTER: ContextVar[PassCounter | None] = ContextVar("_COUNTER", default=None)


@contextmanager
def counting(counter: PassCounter | None) -> Iterator[None]:
    """Count the passes that go through `run_model` in this thread; with None, count none."""
    token = _COUNTER.set(counter)
    try:
        yield
    finally:
        _COUNTER.reset(token)


def run_model(model: Any, inputs: Mapping[str, Any], **flags: Any) -> ModelOutput:
    """Run a model, and name what it returns.

    transformers' models return a `ModelOutput`. Others may return a dict, a tuple whose first
    tensor is the logits, or these alone.

    Args:
        model: a model, or a clone of it.
        inputs: the arguments of its forward.
        **flags: further arguments.
    """
    parameters = parameters_of(type(model).forward)
    if "return_dict" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        flags["return_dict"] = True
    outputs = _as_output(model(**inputs, **flags))
    if (counter := _COUNTER.get()) is not None:
        counter.note(inputs, outputs)
    return outputs


def _as_output(outputs: Any) -> ModelOutput:
    """Name what a model returned."""
    if isinstance(outputs, ModelOutput):
        return outputs
    if isinstance(outputs, Mapping):
        return _named(**outputs)
    values = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    # A loss, which has no dimensions, may come before the logits; never without labels.
    logits = [value for value in values if isinstance(value, Tensor)]
    return _named(logits=logits[0]) if logits else _named()


def named_states(outputs: Any) -> ModelOutput | None:
    """What a sub-model returned, if there is a `last_hidden_state`; of a tuple its first tensor."""
    if isinstance(outputs, ModelOutput):
        return outputs if outputs.get("last_hidden_state") is not None else None
    states = outputs[0] if isinstance(outputs, tuple) and outputs else None
    if not isinstance(states, Tensor) or states.dim() != 3 or not states.is_floating_point():
        return None
    fields = {f"field {n}": value for n, value in enumerate(outputs[1:], 1)}
    return _named(last_hidden_state=states, **fields)


def maker_of(states: ModelOutput) -> Callable[..., Any]:
    """What makes fields into what the sub-model returned; see `named_states`."""
    if type(states) is not ModelOutput:
        return type(states)
    names = tuple(states)
    return lambda **fields: tuple(fields.get(name) for name in names)


def _named(**fields: Any) -> ModelOutput:
    return ModelOutput(**fields)  # type: ignore[no-untyped-call]


@cache
def parameters_of(forward: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a forward, by name."""
    return inspect.signature(forward).parameters


def logits_of(outputs: ModelOutput, choices: int | None) -> Tensor | None:
    """The model's own output, [rows, outputs] or [rows, sequence, outputs].

    A question answering head has three outputs: start, end, and the span, which is their sum. In
    multiple choice every choice is a row with one output. A regression may give [rows].
    """
    start, end = outputs.get("start_logits"), outputs.get("end_logits")
    if start is not None and end is not None:
        return torch.stack([start, end, start + end], -1)
    logits = outputs.get("logits")
    if not isinstance(logits, Tensor):
        return None
    if choices is not None:
        return logits.reshape(-1, 1)
    return logits.reshape(-1, 1) if logits.dim() < 2 else logits


class OnlyLast(tuple[Tensor | None, ...]):
    """States of all layers, of which only those of the last are known.

    What a trunk returns as `hidden_states` while a head is replayed. Reading another layer is an
    error that names it.
    """

    def __new__(cls, name: str, count: int, last: Tensor | None) -> "OnlyLast":
        """Make `count` states; `last` is None if the last are not x^L either."""
        states = super().__new__(cls, (*(None,) * (count - 1), last))
        states._name = name
        return states

    _name: str

    def __getitem__(self, index: Any) -> Any:
        states = super().__getitem__(index)
        if states is None or (isinstance(states, tuple) and None in states):
            raise LayerError(self._name, index)
        return states

    def __iter__(self) -> Iterator[Any]:
        raise LayerError(self._name, slice(None))


class LayerError(Exception):
    """A head reads another layer than the last."""

    def __init__(self, name: str, index: int | slice) -> None:
        if isinstance(index, slice):
            bounds = (index.start, index.stop)
            shown = ":".join("" if bound is None else str(bound) for bound in bounds)
        else:
            shown = str(index)
        super().__init__(f"{name}[{shown}]")
