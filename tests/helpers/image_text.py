"""Tiny models that read images among the tokens of a text, and inputs for them."""

from typing import Any

import torch
import transformers
from torch import Tensor

from tests.helpers.zoo import tiny_config

IMAGE = 100
"""The token that a place of an image has."""

LENGTH = 14


def image_text_model(class_name: str) -> Any:
    """A random model of a class for images and texts."""
    model_type = class_name.removesuffix("ForConditionalGeneration").lower()
    config: Any = tiny_config(model_type, image_token_id=IMAGE)
    config.mm_tokens_per_image = 4  # Gemma 3's
    if model_type != "gemma3":
        config.vision_config.patch_size = config.vision_config.image_size // 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, class_name)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def image_text_inputs(model: Any) -> dict[str, Tensor]:
    """Two rows with an image of four places each, from 2 and from 5; the second is padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(20, 90, (2, LENGTH), generator=generator)
    ids[0, 2:6] = ids[1, 5:9] = IMAGE
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    size = model.config.vision_config.image_size
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": torch.randn(2, 3, size, size, generator=generator),
    }
    if model.config.model_type == "gemma3":  # 1 inside an image
        inputs["token_type_ids"] = (ids == IMAGE).long()
    if model.config.model_type == "paligemma":  # 1 after the prefix
        inputs["token_type_ids"] = (torch.arange(LENGTH) >= 10).long().expand(2, -1).clone()
    return inputs
