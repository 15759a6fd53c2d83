"""Models from the Hub, a folder, or this package; only those that can be vouched for."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .errors import ModelError, OptionError

DEMO = "demo"
DEVICES = ("auto", "cpu", "cuda", "mps")
_FOR_BOTH = {"cache_dir", "force_download", "local_files_only", "proxies", "subfolder", "token"}
DTYPES = ("auto", "float32", "bfloat16", "float16")


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    trust_remote_code: bool = False,
    **options: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier in evaluation mode, and its tokenizer, as `Explainer` loads them."""
    source = str(files(__package__) / DEMO) if name == DEMO else name
    weights = _dtype(dtype)
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            dtype=weights,
            use_safetensors=True,
            output_loading_info=True,
            **hub,
            **options,
        )
        shared = {key: options[key] for key in options.keys() & _FOR_BOTH}
        tokenizer = AutoTokenizer.from_pretrained(source, **hub, **shared)
    except Exception as error:  # files can be wrong in ways that raise errors of any kind
        raise ModelError(_reason(name, error)) from error
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"{name} has no weights for {', '.join(missing[:4])}{' ...' if missing[4:] else ''} of "
            f"{type(model).__name__}: they would be random, and so would be the explanation. "
            "Use a model that was fine-tuned for sequence classification."
        )
    if "device_map" not in options:
        model = model.to(find_device(device))
    if dtype == "auto" and model.dtype == torch.float16 and model.device.type == "cpu":
        model = model.float()
    return model.eval(), tokenizer


def find_device(name: str) -> torch.device:
    """The device of that name, "auto" being the fastest there is.

    Raises:
        OptionError: it is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(
            f"there is no device {name!r}; try one of {', '.join(DEVICES)}."
        ) from error
    if not available.get(device.type, True):
        raise OptionError(f"device {name!r} is not available on this machine; use 'auto' or 'cpu'.")
    return device


def seems_untrained(model: PreTrainedModel) -> bool:
    """Whether the last linear layer's bias is all zeros, as no training leaves it."""
    trunk = set(model.base_model.modules()) if model.base_model is not model else set()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in trunk]
    biases = [m.bias for m in linear if m.out_features == model.config.num_labels]
    return any(bias is not None and not bool(bias.any()) for bias in biases)


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise OptionError(f"there is no dtype {dtype!r}; use one of {', '.join(DTYPES)}.")
    return dtype if dtype == "auto" or isinstance(dtype, torch.dtype) else getattr(torch, dtype)


def _reason(name: str, error: Exception) -> str:
    """One line on why a model could not be loaded, with the way out."""
    first = " ".join(str(error).split("\n\n")[0].split())
    if Path(name).is_dir():
        return f"cannot load a model from the folder {name}: {first}"
    return (
        f"cannot load {name!r}: it is no folder here, and it could not be had from the Hub or its "
        f"cache ({first:.300})"
    )
