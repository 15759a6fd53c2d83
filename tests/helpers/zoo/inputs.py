"""Inputs other than text, and what some models want beside text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from transformers import PreTrainedModel

Maker = Callable[[PreTrainedModel, int, Generator], dict[str, Tensor]]

_SAMPLES = 4000
_FRAMES = 16
_IMAGE_SIZE = 64


def _image(model: PreTrainedModel, batch: int, generator: Generator) -> dict[str, Tensor]:
    config: Any = model.config
    size = getattr(config, "image_size", None)
    if size is None:
        size = getattr(getattr(config, "vision_config", None), "image_size", None) or _IMAGE_SIZE
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return {"pixel_values": torch.randn(batch, 3, height, width, generator=generator)}


def _patches(model: PreTrainedModel, batch: int, generator: Generator) -> dict[str, Tensor]:
    """SigLIP 2: images of different shapes, as rows of patches."""
    vision: Any = model.config.vision_config
    side = int(vision.num_patches**0.5)
    size = 3 * vision.patch_size**2
    return {
        "pixel_values": torch.randn(batch, side * side, size, generator=generator),
        "pixel_attention_mask": torch.ones(batch, side * side, dtype=torch.long),
        "spatial_shapes": torch.tensor([[side, side]] * batch),
    }


def _pixels_as_tokens(
    _model: PreTrainedModel, batch: int, generator: Generator
) -> dict[str, Tensor]:
    """ImageGPT."""
    return {"input_ids": torch.randint(20, 100, (batch, 7), generator=generator)}


def _text_about_an_image(
    _model: PreTrainedModel, batch: int, generator: Generator
) -> dict[str, Tensor]:
    """ShieldGemma 2, without its image."""
    ids = torch.randint(20, 100, (batch, 7), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _sound(model: PreTrainedModel, batch: int, generator: Generator) -> dict[str, Tensor]:
    config: Any = model.config
    shapes: dict[str, tuple[int, ...]] = {
        "audio-spectrogram-transformer": (
            getattr(config, "max_length", 0),
            getattr(config, "num_mel_bins", 0),
        ),
        "wav2vec2-bert": (_FRAMES, getattr(config, "feature_projection_input_dim", 0)),
        "whisper": (
            getattr(config, "num_mel_bins", 0),
            2 * getattr(config, "max_source_positions", 0),
        ),
    }
    shape = shapes.get(config.model_type, (_SAMPLES,))
    return {model.main_input_name: torch.randn(batch, *shape, generator=generator)}


MODALITY_INPUTS: dict[str | tuple[str, str], Maker] = {
    "image-classification": _image,
    "audio-classification": _sound,
    ("image-classification", "siglip2"): _patches,
    ("image-classification", "imagegpt"): _pixels_as_tokens,
    ("image-classification", "shieldgemma2"): _text_about_an_image,
}
"""By mapping, or by mapping and model type."""


def extra_inputs(
    mapping: str, model: PreTrainedModel, ids: Tensor, generator: Generator
) -> dict[str, Tensor]:
    """What `model` wants beside the ids and the mask of a text."""
    config: Any = model.config
    if config.model_type == "bros":
        return {"bbox": torch.rand(*ids.shape, 4, generator=generator)}
    if config.model_type == "lxmert":
        regions = (len(ids), 3)
        return {
            "visual_feats": torch.randn(*regions, config.visual_feat_dim, generator=generator),
            "visual_pos": torch.rand(*regions, 4, generator=generator),
        }
    if config.model_type == "longformer" and mapping in ("question-answering", "multiple-choice"):
        attends_to_all = torch.zeros_like(ids)  # it would be guessed from three separators
        attends_to_all[..., 0] = 1
        return {"global_attention_mask": attends_to_all}
    return {}
