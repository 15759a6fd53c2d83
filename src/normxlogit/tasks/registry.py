"""Which kind of head a model has, and who explains it."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from normxlogit.errors import ModelError
from normxlogit.model.trials.causality import is_causal
from normxlogit.model.vocabulary import output_embeddings
from normxlogit.tasks import Task, TaskExplainer
from normxlogit.tasks.choices import MultipleChoice
from normxlogit.tasks.classification import Classification
from normxlogit.tasks.language import Causal, Seq2Seq
from normxlogit.tasks.per_token import Masks, QuestionAnswering, Tags
from normxlogit.text.encoder import Encoder

_SUFFIXES = {
    "ForTokenClassification": Task.TOKENS,
    "ForQuestionAnswering": Task.ANSWER,
    "ForMultipleChoice": Task.CHOICE,
}
"""What transformers' conventions say of heads whose shapes alone do not tell them apart."""

_TASK_EXPLAINERS: dict[Task, Callable[[PreTrainedModel, Encoder, str], TaskExplainer]] = {
    Task.TEXT: Classification,
    Task.TOKENS: Tags,
    Task.ANSWER: QuestionAnswering,
    Task.CHOICE: MultipleChoice,
    Task.MASK: Masks,
    Task.CAUSAL: Causal,
    Task.SEQ2SEQ: Seq2Seq,
}


def task_of(model: PreTrainedModel) -> Task:
    """The kind of a model's head, by what it takes and gives rather than by what it is called."""
    takes = model.main_input_name
    if output_embeddings(model) is not None:
        if not is_causal(model):
            return Task.MASK
        return Task.SEQ2SEQ if model.config.is_encoder_decoder else Task.CAUSAL
    if takes == "pixel_values":
        return Task.IMAGE
    if takes in ("input_values", "input_features"):
        return Task.AUDIO
    names = [cls.__name__ for cls in type(model).__mro__]
    tasks = (task for end, task in _SUFFIXES.items() for name in names if end in name)
    return next(tasks, Task.TEXT)


def task_explainer_of(model: PreTrainedModel, processor: Any, name: str) -> TaskExplainer:
    """Who explains this model's kind of head.

    Args:
        model: a model.
        processor: its tokenizer, image processor or feature extractor, or one that holds these.
        name: what to call the model in results.

    Raises:
        ModelError: the processor is not of the kind that the model needs.
    """
    task = task_of(model)
    if task in (Task.IMAGE, Task.AUDIO):
        from normxlogit.tasks.media.audio import AudioExplainer
        from normxlogit.tasks.media.image import ImageExplainer

        part = "image_processor" if task is Task.IMAGE else "feature_extractor"
        kind: Callable[..., TaskExplainer] = (
            ImageExplainer if task is Task.IMAGE else AudioExplainer
        )
        return kind(model, getattr(processor, part, processor), name)
    return _TASK_EXPLAINERS[task](model, encoder_of(model, processor), name)


def encoder_of(model: PreTrainedModel, processor: Any) -> Encoder:
    """The encoder of texts for a model that takes them.

    Raises:
        ModelError: it takes something else, or this is no tokenizer.
    """
    if model.main_input_name != "input_ids":
        raise ModelError(
            f"{type(model).__name__} takes {model.main_input_name} and has no text to explain. "
            "Give tensors to normxlogit.attribute."
        )
    tokenizer = getattr(processor, "tokenizer", processor)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            f"{type(model).__name__} needs its tokenizer, got {type(processor).__name__}."
        )
    return Encoder(tokenizer, model)
