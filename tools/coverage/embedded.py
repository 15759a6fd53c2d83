"""x^0, the first block's input, by transformers' own hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tools.coverage.overwriting import Inputs, NotPerTokenError

_FIRST_BLOCK = {
    "blt": "local_encoder.layers.0",  # another model, which cuts the text into patches, runs before
    "falcon_mamba": "layers.0",
    "mamba": "layers.0",
    "mamba2": "layers.0",
    "rwkv": "blocks.0",
    "shieldgemma2": "language_model.layers.0",
    "xlstm": "blocks.0",
}
"""How the first block is called where `hidden_states[0]` is not its input, or is not given."""

_STREAM = {"gemma3n_text": 0}
"""Where x^0 is in several streams, [streams, rows, positions, hidden], which is the embedding."""


class PositionsDifferError(Exception):
    """x^0 has not one vector for each position of x^L: there are scores without a norm only."""


@torch.no_grad()
def norms(model: PreTrainedModel, inputs: Inputs, positions: torch.Size) -> Tensor:
    """||x_i^0||_2 as [rows, positions], where x^L has `positions` of them.

    Raises PositionsDifferError where x^0 has others, and NotPerTokenError where changing one token
    or pixel changes all of x^0 (Perceiver's latents). MobileBERT's sees a token's neighbours, so
    that sequences need four tokens or more.
    """
    before = _embedded(model, inputs)
    if before.dim() == 4 and before.shape[:2] != positions:  # [rows, channels, height, width]
        before = before.flatten(2).transpose(1, 2)
    if before.dim() != 3 or before.shape[:2] != positions:
        raise PositionsDifferError(f"x^0 has shape {list(before.shape)} for {list(positions)}")
    changed_inputs = _with_one_change(inputs)
    if changed_inputs is not None:
        changed = (before != _embedded(model, changed_inputs)).any(-1)[0]
        if changed.all() or not changed.any():
            raise NotPerTokenError(
                f"changing one token or pixel changes {int(changed.sum())} of {len(changed)} "
                "positions of x^0"
            )
    found: Tensor = torch.linalg.vector_norm(before, dim=-1)
    return found


@torch.no_grad()
def source_norms(model: PreTrainedModel, inputs: Inputs) -> Tensor:
    """||x_i^0||_2 of an encoder-decoder's encoder, [rows, positions]."""
    states: Tensor = model(**inputs, output_hidden_states=True).encoder_hidden_states[0]
    found: Tensor = torch.linalg.vector_norm(states, dim=-1)
    return found


def with_other_content(inputs: Inputs) -> Inputs:
    """The inputs with another token in the middle of row 0, or another image or sound."""
    changed = dict(inputs)
    for name in ("input_ids", "decoder_input_ids"):
        if name in inputs:
            ids = inputs[name].clone()
            row = ids.view(-1, ids.shape[-1])[0]
            mask = inputs.get(name.replace("input_ids", "attention_mask"), torch.ones_like(ids))
            tokens = mask.view(-1, ids.shape[-1])[0].nonzero().flatten()
            row[tokens[len(tokens) // 2]] += 1
            changed[name] = ids
    for name in ("pixel_values", "input_values", "input_features"):
        if name in inputs:
            changed[name] = inputs[name].flip(0)
    return changed


def _with_one_change(inputs: Inputs) -> Inputs | None:
    """Another token, or another pixel; None for a sound, of which every part is heard by many."""
    if "input_ids" in inputs:
        return with_other_content(inputs)
    if "pixel_values" not in inputs:
        return None
    pixels = inputs["pixel_values"].clone()
    pixels[(0,) * pixels.dim()] += 1
    return {**inputs, "pixel_values": pixels}


def _embedded(model: PreTrainedModel, inputs: Inputs) -> Tensor:
    first = _FIRST_BLOCK.get(model.config.model_type)
    if first is not None:
        block = next(m for name, m in model.named_modules() if name.endswith(first))
        return _input_of(model, block, inputs)
    output = model(**inputs, output_hidden_states=True, return_dict=True)
    states: Tensor = (output.get("decoder_hidden_states") or output.hidden_states)[0]
    stream = _STREAM.get(model.config.model_type)
    return states if stream is None else states[stream]


def _input_of(model: PreTrainedModel, block: nn.Module, inputs: Inputs) -> Tensor:
    seen: list[Tensor] = []

    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        seen.append(next(v for v in tensors if v.is_floating_point()).clone())

    handle = block.register_forward_pre_hook(record, with_kwargs=True)
    try:
        model(**inputs)
    finally:
        handle.remove()
    return seen[0]
