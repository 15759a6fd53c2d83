"""Which positions hold tokens, and which of them are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.heads.replay import WAY_OUT
from normxlogit.model.readings import tokens_of

Part = tuple[str, slice]
"""A prefix of `input_ids` and `attention_mask` ("" or "decoder_"), and which positions of the
sequence go by it."""


def read_positions(
    inputs: Mapping[str, Any], position: Tensor | None, is_causal: bool
) -> Tensor | None:
    """The positions that are read, [batch, positions], if they are known before the forward pass.

    Args:
        inputs: the model's inputs.
        position: the positions asked for.
        is_causal: whether the model is read at its last token unless asked otherwise.
    """
    ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    if position is not None:
        if position.dim() not in (1, 2) or position.is_floating_point():
            raise InputError(
                "position must be integers of shape [batch] or [batch, positions]; got "
                f"{position.dtype} of shape {list(position.shape)}."
            )
        low = 0 if position.dim() == 1 else -1  # -1: a row with fewer positions than others
        if ids is not None and (
            len(position) != len(ids) or position.min() < low or position.max() >= ids.shape[-1]
        ):
            raise InputError(
                f"position must be numbers from 0 to {ids.shape[-1] - 1}, one or several for each "
                f"of {len(ids)} rows; got {position.tolist()}."
            )
        place = position.device if ids is None else ids.device
        return (position if position.dim() == 2 else position[:, None]).to(place)
    if not is_causal or ids is None:
        return None
    name = "decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask"
    mask = inputs.get(name)
    if mask is None or mask.shape != ids.shape:
        return torch.full((len(ids), 1), ids.shape[1] - 1, device=ids.device)
    order = torch.arange(ids.shape[1], device=ids.device)
    last: Tensor = (order * (mask != 0)).amax(1, keepdim=True)
    return last


def check_read(read: Tensor, mask: Tensor) -> None:
    """Raise `InputError` if a position that is read, [rows, positions], is padding."""
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    if not (mask[rows, read.clamp_min(0)] | (read < 0)).all():
        raise InputError("position names a token that is padding.")


@dataclass(frozen=True)
class Positions:
    """The positions that a forward pass scored.

    Attributes:
        ids: the token ids, [batch, sequence]; in multiple choice [batch, choices, sequence]; None
            if there are none.
        mask: which positions hold tokens, bool, of the same shape.
        head_mask: the mask of the positions of x^L, which the head reads, bool [rows, sequence].
        sources: how many of the first positions are the source's of an encoder-decoder.
        inputs: the model's inputs, with those that its decoder made itself.
        parts: which of the inputs hold which positions.
    """

    ids: Tensor | None
    mask: Tensor
    head_mask: Tensor
    sources: int
    inputs: dict[str, Any]
    parts: list[Part]


def find_positions(captured: Capture, name: str) -> Positions:
    """Find the positions of x^L, with the source's before them if an encoder-decoder generates.

    Args:
        captured: a forward pass.
        name: the model's class, for messages.
    """
    is_vocabulary = captured.vocabulary is not None
    prefix = "decoder_" if is_vocabulary and captured.reads_decoder else ""
    shape = captured.states.tokens.shape[:2]
    inputs = dict(captured.inputs)
    # A model that makes its decoder's input itself shows it when it looks up its embeddings.
    if prefix and "decoder_input_ids" not in inputs and captured.looked_up is not None:
        inputs["decoder_input_ids"] = captured.looked_up.ids
        inputs["decoder_attention_mask"] = inputs.get("attention_mask")
    ids, head_mask = ids_and_mask(inputs, prefix, shape, name)
    if ids is None and captured.reads_decoder:
        raise UnsupportedHeadError(
            f"{name} reads {shape[1]} positions of its decoder, such as queries for objects, and "
            f"none of them is a part of its input. {WAY_OUT}"
        )
    mask, sources = head_mask, 0
    source = captured.source if prefix else None
    if source is not None and source.stands_beside(captured.states):
        rows = source.raw.shape[:2]
        source_ids, source_mask = ids_and_mask(inputs, "", rows, name)
        sources = rows[1]
        mask = torch.cat([source_mask, mask], 1)
        ids = None if ids is None or source_ids is None else torch.cat([source_ids, ids], 1)
    if captured.choices is not None:
        mask = mask.reshape(-1, captured.choices, mask.shape[1])
        ids = None if ids is None else ids.reshape(mask.shape)
    parts: list[Part] = [(prefix, slice(sources, None))]
    if sources:
        parts.insert(0, ("", slice(sources)))
    return Positions(ids, mask, head_mask, sources, inputs, parts)


def ids_and_mask(
    inputs: Mapping[str, Any], prefix: str, shape: tuple[int, ...], name: str
) -> tuple[Tensor | None, Tensor]:
    """The ids and the mask of the positions of hidden states, [rows, sequence].

    Positions of images and audio have no ids, and no mask says which of them are padding.
    """
    if (tokens := tokens_of(inputs, prefix)) is not None:
        ids, mask = tokens
        if mask.shape == ids.shape and not mask.any(1).all():
            raise InputError("a row of the attention mask is all zeros, so it holds no token.")
        if shape != ids.shape or mask.shape != ids.shape:
            raise UnsupportedHeadError(
                f"{name} reads {list(ids.shape)} tokens, and its final layer has {list(shape)} "
                f"positions: its representations do not stand one to a token. {WAY_OUT}"
            )
        return ids, mask.bool()
    if prefix or "inputs_embeds" in inputs:
        raise InputError(f"{name} was given {', '.join(inputs)}; {prefix}input_ids are needed.")
    masks = [v for k, v in inputs.items() if k.endswith("mask") and isinstance(v, Tensor)]
    if not all(bool(m.all()) for m in masks):
        raise InputError(
            "a mask says that parts of the input are padding, and which positions of the final "
            "layer that makes padding is not known. Explain inputs of one size together."
        )
    place = next((v.device for v in inputs.values() if isinstance(v, Tensor)), None)
    return None, torch.ones(shape, dtype=torch.bool, device=place)


def best_spans(logits: Tensor, mask: Tensor, answerable: Tensor | None) -> Tensor:
    """The start and end of the answer with the largest sum of logits, int64 [batch, 2]."""
    may = mask if answerable is None else mask & answerable.to(mask.device)
    start, end = logits[..., 0].float(), logits[..., 1].float()
    length = may.shape[1]
    order = torch.ones(length, length, dtype=torch.bool, device=may.device).triu()
    allowed = may[:, :, None] & may[:, None] & order
    sums = (start[:, :, None] + end[:, None]).masked_fill(~allowed, -torch.inf)
    best = sums.flatten(1).argmax(1)
    return torch.stack([best // length, best % length], 1)
