"""What a head says of every token, found by force and without any replay.

Head replay runs the head alone, on a stubbed trunk. The oracle does the opposite: the whole model
runs, once per token, and the trunk's final states are overwritten in place, in the very storage
that the head goes on to read. It is slow, it needs no knowledge of the head, and it shares nothing
with the package but transformers' own names for the trunk and the hidden states.

x^L   the output of `model.base_model`, which is the trunk of every sequence classifier
x^0   `hidden_states[0]`, the decoder's for an encoder-decoder
HoT   for token i: the model's logits with x_i^L at every position that the head reads. That is one
      position for most heads ([CLS], the last token, ...) and the unpadded ones for mean pooling.
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
Hook = Callable[[nn.Module, Any, Any], None]


class OracleUnavailableError(Exception):
    """No storage was found through which the final states reach the head: nothing is known."""


class NotPerTokenError(Exception):
    """The model has no logit or no norm per token, so that an explanation must be refused."""


@dataclass(frozen=True)
class OracleResult:
    """What `logits_by_overwriting` found.

    logits             [batch, sequence, classes], HoT(x_i^L)
    reads              [batch, sequence] bool, the positions that the head reads
    prediction_logits  [batch, classes], the model's own
    site               name of the module whose output was overwritten
    """

    logits: Tensor
    reads: Tensor
    prediction_logits: Tensor
    site: str

    @property
    def read_position(self) -> Tensor:
        """The one position that the head reads, int64 [batch], -1 where it reads several."""
        return self.reads.int().argmax(-1).masked_fill(self.reads.sum(-1) > 1, -1)


@dataclass(frozen=True)
class _Site:
    """Where the final states are made: one tensor in the output of one call of a module.

    strides  the final states' own, as the module may return them transposed (XLNet)
    """

    module: nn.Module
    call: int
    tensor: int
    strides: tuple[int, ...]


def scored_positions(inputs: Inputs) -> Tensor:
    """Bool [batch, sequence]: the positions that hold a token and no padding.

    So too for encoder-decoders, whose decoder reads the input shifted right by one: a row of n
    tokens has the n positions that it would have alone.
    """
    mask = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"]).bool() if mask is None else mask.bool()


@torch.no_grad()
def norms(model: PreTrainedModel, inputs: Inputs) -> Tensor:
    """||x_i^0||_2 as [batch, sequence].

    Raises NotPerTokenError where x^0 has not one position per token, or where changing one token
    changes every position of it (Perceiver's latents). MobileBERT's sees a token's neighbours, so
    that sequences need four tokens or more.
    """
    before = _embedded(model, inputs)
    after = _embedded(model, _with_another_token(inputs))
    tokens = inputs["input_ids"].shape
    if before.shape[:2] != tokens:
        raise NotPerTokenError(f"x^0 has shape {list(before.shape)} for {list(tokens)} tokens")
    changed = (before != after).any(-1)[0]
    if changed.all() or not changed.any():
        raise NotPerTokenError(
            f"changing one token changes {int(changed.sum())} of {len(changed)} positions of x^0"
        )
    found: Tensor = before.norm(dim=-1)
    return found


def _embedded(model: PreTrainedModel, inputs: Inputs) -> Tensor:
    output = model(**inputs, output_hidden_states=True, return_dict=True)
    states = output.get("decoder_hidden_states") or output.hidden_states
    # Reformer pads its input on the right and cuts only the last state back to length.
    embedded: Tensor = states[0][:, : inputs["input_ids"].shape[1]]
    return embedded


def _with_another_token(inputs: Inputs) -> Inputs:
    """The inputs with the next id for the token in the middle of row 0."""
    positions = scored_positions(inputs)[0].nonzero().flatten()
    ids = inputs["input_ids"].clone()
    ids[0, positions[len(positions) // 2]] += 1
    return {**inputs, "input_ids": ids}


@torch.no_grad()
def logits_by_overwriting(model: PreTrainedModel, inputs: Inputs) -> OracleResult:
    """HoT(x_i^L) for every token, padding included, by overwriting x^L and running the model.

    Takes two forward passes per position. Raises NotPerTokenError where there is not one final
    state per token, where the head reads none of them, or where it reads something else besides,
    and OracleUnavailableError where nothing that a module returned can be overwritten to effect.
    """
    states, prediction_logits, sites = _final_states(model, inputs)
    tokens = inputs["input_ids"].shape
    if states.shape[:2] != tokens:
        raise NotPerTokenError(
            f"final states have shape {list(states.shape)} for {list(tokens)} tokens"
        )
    site = _working_site(model, inputs, states, prediction_logits, sites)

    noise = _noise_like(states)
    reads = torch.zeros(tokens, dtype=torch.bool)
    for position in range(tokens[1]):
        moved = states.clone()
        moved[:, position] += noise[:, position]
        logits, _ = _run_overwritten(model, inputs, site, moved)
        reads[:, position] = ~_close(logits, prediction_logits).all(-1)
    if not reads.any(-1).all():
        raise NotPerTokenError("the head reads no position of the final states")
    other_tokens = _with_another_token(inputs)
    logits, _ = _run_overwritten(model, other_tokens, site, states)
    if not _close(logits, prediction_logits).all():
        raise NotPerTokenError("the head reads more than the final states")

    per_token = [
        _run_overwritten(
            model, inputs, site, torch.where(reads[..., None], states[:, i : i + 1], states)
        )[0]
        for i in range(tokens[1])
    ]
    names = {module: name for name, module in model.named_modules()}
    return OracleResult(torch.stack(per_token, 1), reads, prediction_logits, names[site.module])


def expected_attribution(
    model: PreTrainedModel,
    inputs: Inputs,
    target: int | Tensor | None = None,
    found: OracleResult | None = None,
) -> Tensor:
    """||x_i^0||_2 * HoT(x_i^L)[target] as [batch, sequence], nan at padding.

    `target` is a class, a class per row [batch], or None for the predicted one. `found` saves time
    where `logits_by_overwriting` has been called already. Raises as it and `norms` do.
    """
    found = found or logits_by_overwriting(model, inputs)
    if target is None:
        target = found.prediction_logits.argmax(-1)
    rows = torch.arange(len(found.logits))
    scores: Tensor = norms(model, inputs) * found.logits[rows, :, target]
    return scores.masked_fill(~scored_positions(inputs), torch.nan)


def _final_states(model: PreTrainedModel, inputs: Inputs) -> tuple[Tensor, Tensor, list[_Site]]:
    """x^L, the model's logits, and where x^L was made: the calls that returned its storage."""
    calls: Counter[nn.Module] = Counter()
    # All tensors are kept alive, so that no address is used twice.
    returned: list[tuple[nn.Module, int, int, Tensor]] = []
    trunk: list[tuple[Tensor, Tensor]] = []

    def record(module: nn.Module, _args: Any, output: Any) -> None:
        calls[module] += 1
        returned.extend(
            (module, calls[module], index, tensor) for index, tensor in enumerate(_tensors(output))
        )

    def record_trunk(_module: nn.Module, _args: Any, output: Any) -> None:
        trunk.append((_last_state(output), _last_state(output).clone()))

    with _hooked(model.modules(), record), _hooked([model.base_model], record_trunk):
        logits = model(**inputs).logits
    made, states = trunk[-1]
    sites = [
        _Site(module, call, index, made.stride())
        for module, call, index, tensor in returned
        if tensor.data_ptr() == made.data_ptr() and tensor.numel() == made.numel()
    ]
    return states, logits, sites


def _working_site(
    model: PreTrainedModel,
    inputs: Inputs,
    states: Tensor,
    prediction_logits: Tensor,
    sites: list[_Site],
) -> _Site:
    """The first site where writing x^L itself changes nothing and writing noise reaches the head.

    The first, because a pooler inside the trunk reads the storage before the trunk returns it.
    """
    noise = _noise_like(states)
    for site in sites:
        same, _ = _run_overwritten(model, inputs, site, states)
        _, arrived = _run_overwritten(model, inputs, site, noise)
        if _close(same, prediction_logits).all() and torch.equal(arrived, noise):
            return site
    raise OracleUnavailableError(
        f"none of the {len(sites)} module outputs that share the final states' storage "
        "can be overwritten"
    )


def _run_overwritten(
    model: PreTrainedModel, inputs: Inputs, site: _Site, states: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits, and x^L as the trunk returned it, of a pass with `states` written at `site`."""
    call = 0
    trunk: list[Tensor] = []

    def overwrite(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal call
        call += 1
        if call == site.call:
            tensor = list(_tensors(output))[site.tensor]
            tensor.as_strided(states.shape, site.strides).copy_(states)

    def record_trunk(_module: nn.Module, _args: Any, output: Any) -> None:
        trunk.append(_last_state(output).clone())

    with _hooked([site.module], overwrite), _hooked([model.base_model], record_trunk):
        logits = model(**inputs).logits
    return logits, trunk[-1]


def _last_state(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output.last_hidden_state
    return state


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
def _hooked(modules: Iterable[nn.Module], hook: Hook) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _noise_like(states: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(states.shape, generator=generator) * states.std()


def _close(logits: Tensor, reference: Tensor) -> Tensor:
    return (logits - reference).abs() <= 1e-6 * reference.abs().max()
