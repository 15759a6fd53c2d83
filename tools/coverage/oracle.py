"""What a head says of every token, found by force and without any replay.

x^L   what the trunk returned, overwritten in place (`overwriting.py`)
x^0   transformers' own first hidden states (`embedded.py`)
HoT   pooled heads: for token i the model's logits with x_i^L at every position that the head reads.
      That is one position for most heads ([CLS], the last token, ...) and the unpadded ones for
      mean pooling. Heads for every token: the model's own logits at token i, once it is seen that
      they move with x^L when that is moved along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tools.coverage.embedded import (
    PositionsDifferError,
    norms,
    source_norms,
    with_other_content,
)
from tools.coverage.overwriting import (
    FinalStates,
    Inputs,
    NotPerTokenError,
    noise_like,
    same_logits,
)

_NO_CHANGE = 1e-4
"""Relative change of logits that a token causes which a position does not see."""


@dataclass(frozen=True)
class Heads:
    """HoT of every token of a batch, before anything is asked.

    logits         [batch, positions, outputs], or [batch, choices, positions, 1]
    norms          [batch, positions] or [batch, choices, positions]; None where x^0 has others
    tokens         bool like `norms`: the positions that hold a token and no padding
    own            the model's own logits, [batch, outputs] or [batch, positions, outputs]
    reads          pooled heads: bool like `norms`, the positions that the head reads
    sources        how many of the first positions are an encoder's
    causal         language models: whether a token's logits rest on none after it
    """

    logits: Tensor
    norms: Tensor | None
    tokens: Tensor
    own: Tensor
    reads: Tensor | None = None
    sources: int = 0
    causal: bool = False


@dataclass(frozen=True)
class Question:
    """What `attribute` is asked, as its keyword arguments.

    position  the same as a tensor, [batch], or [batch, 2] for a span; None for a pooled head
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    position: Tensor | None = None


@dataclass(frozen=True)
class Answer:
    """What `attribute` should say.

    values         HoT(x_i)[target], [batch, positions]; with all choices [batch, choices, ...]
    norms          ||x_i^0||, like `values`; None where x^0 has other positions
    scored         bool like `values`, all others are nan
    prediction     [batch, outputs]
    logits         [batch, positions, outputs]; None where it is not compared
    read_position  [batch], -1 where several are read; None where it is not compared
    sources        how many of the first positions are an encoder's
    """

    values: Tensor
    norms: Tensor | None
    scored: Tensor
    prediction: Tensor
    logits: Tensor | None
    read_position: Tensor | None
    sources: int = 0


@torch.no_grad()
def pooled(model: PreTrainedModel, inputs: Inputs) -> Heads:
    """HoT of every token for one output a row, by overwriting x^L and running the model.

    Takes two forward passes per position. Raises NotPerTokenError where there is not one final
    state per token, where the head reads none of them, or where it reads something else besides,
    and OracleUnavailableError where nothing that a module returned can be overwritten to effect.
    """
    ids = inputs.get("input_ids")
    choices = ids.shape[1] if ids is not None and ids.dim() == 3 else None
    final = FinalStates(model, inputs, _one_a_row if choices else lambda output: output.logits)
    states, own = final.states, final.logits
    positions = states.shape[:2]
    if ids is not None and positions != ids.flatten(0, -2).shape:
        raise NotPerTokenError(f"final states have shape {list(states.shape)}")

    noise = noise_like(states)
    reads = torch.zeros(positions, dtype=torch.bool)
    for position in range(positions[1]):
        moved = states.clone()
        moved[:, position] += noise[:, position]
        reads[:, position] = ~same_logits(final.logits_with(moved), own).all(-1)
    if not reads.any(-1).all():
        raise NotPerTokenError("the head reads no position of the final states")
    if not same_logits(final.logits_with(states, with_other_content(inputs)), own).all():
        raise NotPerTokenError("the head reads more than the final states")
    per_token = [
        final.logits_with(torch.where(reads[..., None], states[:, i : i + 1], states))
        for i in range(positions[1])
    ]
    heads = Heads(
        torch.stack(per_token, 1),
        _norms(model, inputs, positions),
        _tokens(inputs, positions),
        own,
        reads,
    )
    return heads if choices is None else _by_choice(heads, choices)


@torch.no_grad()
def token_wise(model: PreTrainedModel, inputs: Inputs, read: Callable[[Any], Tensor]) -> Heads:
    """HoT of every token for a head with an output a token: the model's own logits.

    Raises NotPerTokenError where they are not functions of one token's final state, which they are
    if they move along with the final states and with nothing else; and as `pooled` does.
    """
    return _token_wise(model, inputs, FinalStates(model, inputs, read))


@torch.no_grad()
def language_model(model: PreTrainedModel, inputs: Inputs) -> Heads:
    """As `token_wise`; and with the head on the encoder's states too, if there is an encoder."""
    final = FinalStates(model, inputs, lambda output: output.logits)
    heads = _token_wise(model, inputs, final)
    source = final.output.get("encoder_last_hidden_state")
    if source is not None and source.shape[2] == final.states.shape[2]:
        heads = _with_source(model, inputs, final, heads, source)
    return replace(heads, causal=_is_causal(model, inputs))


def _token_wise(model: PreTrainedModel, inputs: Inputs, final: FinalStates) -> Heads:
    states, own = final.states, final.logits
    positions = states.shape[:2]
    if own.shape[:2] != positions:
        raise NotPerTokenError(f"logits of shape {list(own.shape)} for {list(positions)} positions")
    tokens = _tokens(inputs, positions)
    moved = final.logits_with(states.roll(1, dims=1))
    both = tokens & tokens.roll(1, dims=1)
    if not same_logits(moved[both], own.roll(1, dims=1)[both]).all():
        raise NotPerTokenError("a token's logits are not a function of its final state")
    if not same_logits(final.logits_with(states, with_other_content(inputs)), own)[tokens].all():
        raise NotPerTokenError("the head reads more than the final states")
    return Heads(own, _norms(model, inputs, positions), tokens, own)


def _with_source(
    model: PreTrainedModel, inputs: Inputs, final: FinalStates, heads: Heads, source: Tensor
) -> Heads:
    """The head on the encoder's final states too, as many at a time as the decoder has."""
    of_source = source_norms(model, inputs)
    if of_source.shape != source.shape[:2] or heads.norms is None:
        return heads
    width = final.states.shape[1]
    parts = []
    for start in range(0, source.shape[1], width):
        part = source[:, start : start + width]
        states = final.states.clone()
        states[:, : part.shape[1]] = part
        parts.append(final.logits_with(states)[:, : part.shape[1]])
    mask = inputs.get("attention_mask")
    source_tokens = torch.ones_like(of_source).bool() if mask is None else mask.bool()
    return replace(
        heads,
        logits=torch.cat([*parts, heads.logits], 1),
        norms=torch.cat([of_source, heads.norms], 1),
        tokens=torch.cat([source_tokens, heads.tokens], 1),
        sources=source.shape[1],
    )


def _is_causal(model: PreTrainedModel, inputs: Inputs) -> bool:
    """Whether another token changes the logits of later tokens and not those of earlier ones."""
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    ids = inputs.get(name, inputs["input_ids"])
    unpadded = {
        key: torch.ones_like(value) if key.endswith("attention_mask") else value
        for key, value in inputs.items()
    }
    middle = ids.shape[1] // 2
    other = ids.clone()
    other[:, middle] += 1
    before, after = (model(**{**unpadded, name: tokens}).logits for tokens in (ids, other))
    changes = (after - before).abs().amax((0, 2)) / before.abs().max()
    return bool(changes[:middle].max() < _NO_CHANGE < changes[middle + 1 :].max())


def _norms(model: PreTrainedModel, inputs: Inputs, positions: torch.Size) -> Tensor | None:
    try:
        return norms(model, inputs, positions)
    except PositionsDifferError:
        return None


def _tokens(inputs: Inputs, positions: torch.Size) -> Tensor:
    """Bool [rows, positions]: those that hold a token and no padding.

    So too for classifiers whose decoder reads the input shifted right by one: a row of n tokens
    has the n positions that it would have alone.
    """
    name = "decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask"
    mask = inputs.get(name)
    if mask is None:
        return torch.ones(positions, dtype=torch.bool)
    return mask.bool().reshape(positions)


def _one_a_row(output: Any) -> Tensor:
    """Multiple choice: a row of its own for every choice."""
    logits: Tensor = output.logits.reshape(-1, 1)
    return logits


def _by_choice(heads: Heads, choices: int) -> Heads:
    def split(values: Tensor) -> Tensor:
        return values.reshape(-1, choices, *values.shape[1:])

    assert heads.reads is not None
    return Heads(
        split(heads.logits),
        None if heads.norms is None else split(heads.norms),
        split(heads.tokens),
        split(heads.own)[..., 0],
        split(heads.reads),
    )
