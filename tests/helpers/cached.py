"""A model whose forward pass is another one with a cache, as FSMT's is."""

from typing import Any

import torch
from torch import Tensor
from transformers import BartForConditionalGeneration

from tests.helpers.zoo import tiny_config


class UnmaskedWithCache(BartForConditionalGeneration):  # type: ignore[no-untyped-call]
    """BART whose decoder hides what follows only without a cache, or one token at a time."""

    def forward(self, use_cache: bool | None = None, **inputs: Any) -> Any:
        ids: Tensor | None = inputs.get("decoder_input_ids")
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and ids is not None and ids.shape[1] > 1:
            every = torch.zeros(len(ids), 1, ids.shape[1], ids.shape[1])
            inputs["decoder_attention_mask"] = every  # added to the weights: none is masked
        return super().forward(use_cache=use_cache, **inputs)


def unmasked_with_cache(vocabulary: int) -> Any:
    """A random one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config: Any = tiny_config("bart", vocab_size=vocabulary)
        model: Any = UnmaskedWithCache(config)
        model.eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model
