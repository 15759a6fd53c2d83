"""A digest of a model and its tokenizer, by which the same is told from another."""

import hashlib
import json
from typing import Any

import torch
from transformers import PreTrainedModel

_SAMPLED = 1024
_INCIDENTAL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "finetuning_task")
"""Settings that say something of a model and change nothing of what it computes."""


def digest(
    model: PreTrainedModel,
    tokenizer: Any,
    *,
    of_any_dtype: bool = False,
    sampled: int | None = _SAMPLED,
) -> str:
    """Return the SHA-256 of a model's configuration, weights and tokenizer.

    Of every weight its name, dtype, shape and evenly spaced values. The values of offloaded and
    quantised weights are left out.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        of_any_dtype: give the same for the model loaded in another dtype, on another machine or by
            another transformers: values count as they are in bfloat16, and the settings that all
            configurations have where they are not the default, for versions differ in these.
        sampled: how many values of a weight count; None for all of them.
    """
    sha = hashlib.sha256()
    config = model.config.to_diff_dict() if of_any_dtype else model.config.to_dict()
    essential = {key: value for key, value in config.items() if key not in _INCIDENTAL}
    sha.update(json.dumps(essential, sort_keys=True, default=str).encode())
    for key, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            dtype = "any" if of_any_dtype and tensor.is_floating_point() else tensor.dtype
            sha.update(f"{key} {dtype} {tuple(tensor.shape)}".encode())
            sha.update(_sample(tensor, torch.bfloat16 if of_any_dtype else None, sampled))
    sha.update(_tokenizer(tokenizer))
    return sha.hexdigest()


def _sample(tensor: torch.Tensor, rounded: torch.dtype | None, sampled: int | None) -> Any:
    is_plain = type(tensor.detach()) in (torch.Tensor, torch.nn.Parameter)
    if tensor.is_meta or tensor.numel() == 0 or not is_plain:
        return b""
    values = tensor.detach().reshape(-1)
    if sampled is not None:
        # Whole numbers: machines round the steps of a linspace differently.
        count = min(sampled, len(values))
        indices = torch.arange(count) * (len(values) - 1) // max(count - 1, 1)
        values = values[indices.to(values.device)]
    if values.is_floating_point():
        values = values if rounded is None else values.to(rounded)
        values = values.float()  # numpy has no bfloat16
    return values.cpu().contiguous().numpy()


def _tokenizer(tokenizer: Any) -> bytes:
    """Return the state of a tokenizer, without the padding and truncation of its last call."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # Of an image processor or feature extractor its settings.
        of = tokenizer.get_vocab if hasattr(tokenizer, "get_vocab") else tokenizer.to_dict
        return json.dumps(of(), sort_keys=True, default=str).encode()
    state = json.loads(backend.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return json.dumps(state, sort_keys=True).encode()
