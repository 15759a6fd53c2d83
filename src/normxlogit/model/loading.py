"""Models from the Hub, a folder, or this package; only those that can be vouched for."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto

from normxlogit.errors import ModelError, OptionError

DEMO = "demo"
DEVICES = ("auto", "cpu", "cuda", "mps")
_FOR_BOTH = {
    "cache_dir",
    "force_download",
    "gguf_file",
    "local_files_only",
    "proxies",
    "subfolder",
    "token",
}
DTYPES = ("auto", "float32", "bfloat16", "float16")

_TASKS: dict[str, tuple[Any, Any]] = {
    "SEQUENCE_CLASSIFICATION": (AutoModelForSequenceClassification, AutoTokenizer),
    "TOKEN_CLASSIFICATION": (AutoModelForTokenClassification, AutoTokenizer),
    "QUESTION_ANSWERING": (AutoModelForQuestionAnswering, AutoTokenizer),
    "MULTIPLE_CHOICE": (AutoModelForMultipleChoice, AutoTokenizer),
    "SEQ_TO_SEQ_CAUSAL_LM": (AutoModelForSeq2SeqLM, AutoTokenizer),
    "MASKED_LM": (AutoModelForMaskedLM, AutoTokenizer),
    "CAUSAL_LM": (AutoModelForCausalLM, AutoTokenizer),
    "IMAGE_CLASSIFICATION": (AutoModelForImageClassification, AutoImageProcessor),
    "AUDIO_CLASSIFICATION": (AutoModelForAudioClassification, AutoFeatureExtractor),
}
"""transformers' names of what it loads for each task, in the order in which a class that is listed
for several tasks is taken, and the auto classes of the model and of what prepares its inputs."""


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    trust_remote_code: bool = False,
    **options: Any,
) -> tuple[PreTrainedModel, Any]:
    """A model in evaluation mode, and its tokenizer, image processor or feature extractor, as
    `Explainer` loads them.
    """
    source = str(files("normxlogit") / DEMO) if name == DEMO else name
    weights = _dtype(dtype)
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    shared = {key: options[key] for key in options.keys() & _FOR_BOTH}
    try:
        if "gguf_file" in options:
            auto, prepares = _TASKS["CAUSAL_LM"]
            if hasattr(transformers, "GgufConfig"):  # before it, GGUF files were dequantised anyway
                whole = transformers.GgufConfig(dequantize=True)
                options.setdefault("quantization_config", whole)
        else:
            config = AutoConfig.from_pretrained(source, **hub, **shared)
            auto, prepares = _auto_classes(config)
        model, report = auto.from_pretrained(
            source,
            dtype=weights,
            use_safetensors=True,
            output_loading_info=True,
            **hub,
            **options,
        )
        processor = prepares.from_pretrained(source, **hub, **shared)
    except Exception as error:  # files can be wrong in ways that raise errors of any kind
        raise ModelError(_reason(name, error)) from error
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"{name} has no weights for {', '.join(missing[:4])}{' ...' if missing[4:] else ''} of "
            f"{type(model).__name__}: they would be random, and so would be the explanation. "
            "Use a model that was fine-tuned for its task."
        )
    if "device_map" not in options:
        model = model.to(find_device(device))
    if dtype == "auto" and model.dtype == torch.float16 and model.device.type == "cpu":
        model = model.float()
    return model.eval(), processor


def _auto_classes(config: PreTrainedConfig) -> tuple[Any, Any]:
    """The auto classes for the class that wrote a configuration; a classifier's if it is unknown,
    whose loading then tells what is missing.
    """
    names = [*(config.architectures or []), *getattr(config, "auto_map", {})]
    for task, classes in _TASKS.items():
        known = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").values()
        listed = {
            name for names in known for name in ([names] if isinstance(names, str) else names)
        }
        if listed.intersection(names) or classes[0].__name__ in names:
            return classes
    return _TASKS["SEQUENCE_CLASSIFICATION"]


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


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device is a processor with instructions for bfloat16 (AVX512-BF16 or AMX)."""
    known = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(known.get(name) for name in ("avx512_bf16", "amx_bf16"))


def seems_untrained(model: PreTrainedModel) -> bool:
    """Whether the last linear layer's bias is all zeros, as no training leaves it; what is
    offloaded is not looked at.
    """
    trunk = set(model.base_model.modules()) if model.base_model is not model else set()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in trunk]
    biases = [m.bias for m in linear if m.out_features == model.config.num_labels]
    here = [bias for bias in biases if bias is not None and not bias.is_meta]
    return any(not bool(bias.any()) for bias in here)


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
