"""Objects of other packages that hold a model and its tokenizer: pipelines and cross-encoders."""

import copy
import re
import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from normxlogit.errors import ModelError
from normxlogit.tasks import Task

_ALIASES = {"sentiment-analysis": Task.TEXT, "ner": Task.TOKENS}

_FOLLOWED = {"truncation", "max_length", "padding", "is_split_into_words"}
"""Settings of a pipeline's tokenizer that change nothing of a text, or are followed here."""


def unpacked(model: Any, processor: Any) -> tuple[Any, Any]:
    """Return a model and its tokenizer or processor, out of the object that holds both, if any.

    Args:
        model: a model; a pipeline of transformers; a CrossEncoder of sentence-transformers.
        processor: what belongs to the model; by default the one that the object holds.

    Raises:
        ModelError: it is a pipeline of a task that is not explained, or computes something besides
            its model, or is the name of a model.
    """
    if isinstance(model, (str, Path)):
        raise ModelError(
            f"expected a model, got the name {str(model)!r:.80}. Load it with "
            "Explainer.from_pretrained."
        )
    if _is_of("transformers.pipelines", model):
        model, held = _of_pipeline(model)
    elif _is_of("sentence_transformers", model):
        model, held = _of_cross_encoder(model)
    else:
        return model, processor
    return model, held if processor is None else processor


def _is_of(package: str, model: Any) -> bool:
    """Return whether an object's class, or one that it derives from, is of a package.

    This needs no import: who has such an object has imported its package.
    """
    return any(f"{cls.__module__}.".startswith(f"{package}.") for cls in type(model).__mro__)


def _of_pipeline(pipeline: Any) -> tuple[Any, Any]:
    tasks = {**_ALIASES, **{task.value: task for task in Task}}
    name = pipeline.task or _task_of_class(pipeline)
    task = tasks.get(name)
    if task is None:
        hint = ""
        if name == "zero-shot-classification":
            hint = (
                " Explain its model instead, Explainer(pipeline.model, pipeline.tokenizer), with a "
                "pair: (text, 'This example is about cooking.')."
            )
        raise ModelError(
            f"a pipeline for {name!r:.60} has no prediction that can be explained; those "
            f"for {', '.join(kind.value for kind in Task)} have one.{hint}"
        )
    if task is Task.IMAGE:
        return pipeline.model, pipeline.image_processor
    if task is Task.AUDIO:
        return pipeline.model, pipeline.feature_extractor
    return pipeline.model, _limited(pipeline.tokenizer, pipeline)


def _task_of_class(pipeline: Any) -> str:
    """Return the task for which transformers has the pipeline's class, by the name of the class.

    A pipeline that `TextClassificationPipeline(...)` made, and not `pipeline(...)`, has no other.
    """
    classes = (cls for cls in type(pipeline).__mro__ if cls.__module__.startswith("transformers."))
    name = next(classes).__name__.removesuffix("Pipeline")
    return re.sub(r"\B(?=[A-Z])", "-", name).lower()


def _limited(tokenizer: Any, pipeline: Any) -> Any:
    """Return a pipeline's tokenizer with the limit that the pipeline sets it, if any."""
    settings = getattr(pipeline, "_preprocess_params", {})
    settings = {**settings, **(settings.get("tokenizer_kwargs") or {})}
    others = sorted(settings.keys() - _FOLLOWED - {"tokenizer_kwargs"})
    if others:
        warnings.warn(
            f"the pipeline reads texts with {', '.join(others)}, which explanations do not: what "
            "they say of a text may differ from what the pipeline says. Make it without, or put "
            "into the text what they add.",
            stacklevel=5,
        )
    limit = settings.get("max_length")
    if tokenizer is not None and isinstance(limit, int) and limit < tokenizer.model_max_length:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_max_length = limit
    return tokenizer


def _of_cross_encoder(encoder: Any) -> tuple[Any, Any]:
    name = type(encoder).__name__
    model = getattr(encoder, "model", None)
    # Older versions hold the model alone; newer ones are a sequence of modules, which begins with
    # the model.
    is_sequence = hasattr(encoder, "__getitem__") and hasattr(encoder, "__len__")
    if not any(cls.__name__ == "CrossEncoder" for cls in type(encoder).__mro__):
        raise ModelError(
            f"a {name} gives vectors of texts, and no prediction that could be explained. A "
            "CrossEncoder predicts."
        )
    if not isinstance(model, PreTrainedModel) or (is_sequence and len(encoder) > 1):
        raise ModelError(
            f"this {name} computes its score from its model's output with modules of its own, "
            "which explanations would leave out. Explain its model instead: "
            "Explainer(cross_encoder.model, cross_encoder.tokenizer)."
        )
    prompt = (getattr(encoder, "prompts", None) or {}).get(
        getattr(encoder, "default_prompt_name", None)
    )
    if prompt:
        raise ModelError(
            f"this {name} puts {prompt!r:.60} before texts, which explanations would leave out. "
            "Set default_prompt_name = None, and put it into the texts."
        )
    return model, encoder.tokenizer
