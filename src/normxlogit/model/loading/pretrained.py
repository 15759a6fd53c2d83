"""Loads models from the Hub, a folder, or this package, and refuses any that is incomplete."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
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
from transformers.utils import logging

from normxlogit.data.option_checks import flag
from normxlogit.errors import ModelError, OptionError
from normxlogit.model.loading.names import DEMO, DEVICES, check_dtype, check_model_name

# Options for whatever is downloaded: for the configuration and the processor as for the model.
_SHARED_OPTIONS = {
    "cache_dir",
    "force_download",
    "gguf_file",
    "local_files_only",
    "proxies",
    "subfolder",
    "token",
}

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
"""The auto classes of model and processor for each of transformers' tasks. Some model classes are
listed for several tasks; the first one here is taken."""


def load(
    name: str | PathLike[str],
    *,
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    trust_remote_code: bool = False,
    **options: Any,
) -> tuple[PreTrainedModel, Any]:
    """Load a model in evaluation mode, and its tokenizer, image processor or feature extractor.

    For the arguments see `Explainer.from_pretrained`.

    Raises:
        OptionError: there is no such device or dtype, or an option is of another type.
        ModelError: it could not be loaded, or some of its weights are missing.
    """
    if not isinstance(name, (str, PathLike)) or not isinstance(revision, (str, NoneType)):
        raise OptionError(
            "a model is named by its id on the Hub or its folder, and a revision by its name; got "
            f"{name!r:.80} and {revision!r:.80}."
        )
    name = str(name)
    trust_remote_code = flag("trust_remote_code", trust_remote_code)
    # Before anything is loaded, which may take minutes.
    place = None if "device_map" in options else find_device(device)
    source = str(files("normxlogit") / DEMO) if name == DEMO else name
    weights = _dtype(dtype)
    if name != DEMO:
        check_model_name(
            name,
            gguf_file=options.get("gguf_file"),
            subfolder=options.get("subfolder") or "",
        )
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    shared = {key: options[key] for key in options.keys() & _SHARED_OPTIONS}
    auto, processor_class = _TASKS["SEQUENCE_CLASSIFICATION"]
    try:
        if "gguf_file" in options:
            auto, processor_class = _TASKS["CAUSAL_LM"]
            # Quantized weights have no gradients. Before GgufConfig they were always dequantized.
            if hasattr(transformers, "GgufConfig"):
                dequantized = transformers.GgufConfig(dequantize=True)
                options.setdefault("quantization_config", dequantized)
        else:
            config = AutoConfig.from_pretrained(source, **hub, **shared)
            auto, processor_class = _auto_classes(config)
        with _bars_of_downloads_only(), _gguf_bar_as_set():
            model, report = auto.from_pretrained(
                source,
                dtype=weights,
                use_safetensors=True,  # other formats are pickles, which may run code
                output_loading_info=True,
                **hub,
                **options,
            )
        processor = processor_class.from_pretrained(source, **hub, **shared)
    except Exception as error:  # files can be wrong in ways that raise errors of any kind
        raise ModelError(_reason(name, options, auto, error)) from error
    # transformers only warns of weights that the files lack or that have another shape.
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"{name} has no weights for {', '.join(missing[:4])}{' ...' if missing[4:] else ''} of "
            f"{type(model).__name__}: they would be random, and so would be the explanation. "
            "Use a model that was fine-tuned for its task."
        )
    # With a device map accelerate has placed the weights, and moving them would undo that.
    if place is not None:
        model = model.to(place)
    # CPUs compute in float16 slowly and less exactly, and some operators not at all.
    if weights == "auto" and model.dtype == torch.float16 and model.device.type == "cpu":
        model = model.float()
    return model.eval(), processor


@contextmanager
def _bars_of_downloads_only() -> Iterator[None]:
    """Hide the progress bar for the weights that are read, which a notebook shows as an error."""
    downloads = not are_progress_bars_disabled()
    if not logging.is_progress_bar_enabled():
        yield
        return
    # transformers switches the bars of downloads as well, which take longer and stay as they are.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if not downloads:
            disable_progress_bars()


@contextmanager
def _gguf_bar_as_set() -> Iterator[None]:
    """Have the bar for GGUF files heed transformers' setting, as those for other weights do."""
    from transformers import modeling_gguf_pytorch_utils

    reader: Any = modeling_gguf_pytorch_utils
    bar = getattr(reader, "tqdm", logging.tqdm)
    reader.tqdm = logging.tqdm
    try:
        yield
    finally:
        reader.tqdm = bar


def _auto_classes(config: PreTrainedConfig) -> tuple[Any, Any]:
    """Return the auto classes for the model class that a configuration names.

    A classifier's if that is unknown: loading it then says what is missing.
    """
    names = [*(config.architectures or []), *getattr(config, "auto_map", {})]
    for task, classes in _TASKS.items():
        mapping = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").values()
        listed = {
            name for entry in mapping for name in ([entry] if isinstance(entry, str) else entry)
        }
        if listed.intersection(names) or classes[0].__name__ in names:
            return classes
    return _TASKS["SEQUENCE_CLASSIFICATION"]


def find_device(name: str | torch.device) -> torch.device:
    """Return the device with that name; "auto" is the fastest one available.

    Raises:
        OptionError: it is not available on this machine.
    """
    if not isinstance(name, (str, torch.device)):
        raise OptionError(f"a device is one of {', '.join(DEVICES)}; got {name!r:.80}.")
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
        raise OptionError(
            f"device {str(name)!r} is not available on this machine; use 'auto' or 'cpu'."
        )
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device is a CPU with bfloat16 instructions (AVX512-BF16 or AMX)."""
    supports = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(supports.get(name) for name in ("avx512_bf16", "amx_bf16"))


def seems_untrained(model: PreTrainedModel) -> bool:
    """Return whether the bias of the last linear layer is all zeros, as no training leaves it.

    Offloaded biases are not looked at.
    """
    trunk = set(model.base_model.modules()) if model.base_model is not model else set()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in trunk]
    biases = [m.bias for m in linear if m.out_features == model.config.num_labels]
    loaded = [bias for bias in biases if bias is not None and not bias.is_meta]
    return any(not bool(bias.any()) for bias in loaded)


def warn_if_untrained(model: PreTrainedModel) -> None:
    """Warn the caller's caller if the model's head seems never to have been trained."""
    if seems_untrained(model):
        warnings.warn(
            f"the head of this {type(model).__name__} seems never to have been trained (its bias "
            "is all zeros): what it says is random, and so is the explanation.",
            stacklevel=3,
        )


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    check_dtype(dtype)
    return dtype if dtype == "auto" else getattr(torch, dtype)


def _reason(name: str, options: Mapping[str, Any], auto: type, error: Exception) -> str:
    """Describe in one line why a model could not be loaded, and what to do."""
    first = " ".join(str(error).split("\n\n")[0].split())
    path = Path(name)
    if path.is_dir():
        folder = path / options.get("subfolder", "")
        return f"cannot load a model from the folder {name}: {first}{_conversion(folder, auto)}"
    return (
        f"cannot load {name!r}: there is no such folder, and it could not be loaded from the Hub "
        f"or its cache ({first:.300})"
    )


def _conversion(folder: Path, auto: type) -> str:
    """Say how to convert a folder's weights, if they are all pickles.

    `auto` is the auto class of the model.
    """
    pickles = sorted(folder.glob("*.bin"))
    if not pickles or any(folder.glob("*.safetensors")):
        return ""
    return (
        f" {pickles[0].name} is a pickle, which may run code of its authors when it is read. If "
        "you trust them, convert it once: transformers."
        f"{auto.__name__}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})."
    )
