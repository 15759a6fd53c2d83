"""Tiny models of each of transformers' auto mappings, and inputs for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

from tests.helpers.zoo.configs import BOS, EOS, MASK, PAD, config_fields, tiny_config
from tests.helpers.zoo.inputs import MODALITY_INPUTS, extra_inputs

Padding = Literal["right", "left"]

_ORDINARY_TOKENS = (20, 100)
"""Range of the ids that no config of the zoo gives a special meaning."""

CHOICES = 2
TARGET_LENGTH = 5
"""Of decoder inputs, so that it is not the length of the encoder's."""

MASKED = 3
"""Which token of every row masked LMs are to fill in."""


@dataclass(frozen=True)
class Mapping:
    """One of transformers' auto mappings.

    title        as a headline
    auto         the class that builds a model from a config
    classes      model type to class name, in transformers' order
    """

    title: str
    auto: str
    classes: dict[str, str]


def _mapping(title: str, auto: str, names: str) -> Mapping:
    found = getattr(modeling_auto, f"MODEL_FOR_{names}_MAPPING_NAMES")
    classes = {key: name if isinstance(name, str) else name[0] for key, name in found.items()}
    return Mapping(title, f"AutoModelFor{auto}", classes)


MAPPINGS: dict[str, Mapping] = {
    mapping.title.lower().replace(" ", "-"): mapping
    for mapping in (
        _mapping("Sequence classification", "SequenceClassification", "SEQUENCE_CLASSIFICATION"),
        _mapping("Causal LM", "CausalLM", "CAUSAL_LM"),
        _mapping("Masked LM", "MaskedLM", "MASKED_LM"),
        _mapping("Token classification", "TokenClassification", "TOKEN_CLASSIFICATION"),
        _mapping("Question answering", "QuestionAnswering", "QUESTION_ANSWERING"),
        _mapping("Multiple choice", "MultipleChoice", "MULTIPLE_CHOICE"),
        _mapping("Seq2seq LM", "Seq2SeqLM", "SEQ_TO_SEQ_CAUSAL_LM"),
        _mapping("Image classification", "ImageClassification", "IMAGE_CLASSIFICATION"),
        _mapping("Audio classification", "AudioClassification", "AUDIO_CLASSIFICATION"),
    )
}
"""By the name that `--mapping` takes."""

_LABELLED = ("sequence", "token", "image", "audio")
"""First words of the mappings whose number of outputs is the config's number of labels."""


def tiny_model(
    model_type: str,
    num_labels: int = 3,
    seed: int = 0,
    *,
    mapping: str = "sequence-classification",
    **overrides: Any,
) -> PreTrainedModel:
    """A random model of `model_type` with the head of `mapping`, on the CPU, in float32 and eval.

    Noise on top of the initialisation makes biases and LayerNorms non-trivial. The same arguments
    give the same weights, and the global random state is left alone. `overrides` go to the config.
    Raises whatever transformers raises when the type cannot be built, such as ImportError.
    """
    if mapping == "causal-lm" and "is_decoder" in config_fields(model_type):
        overrides = {"is_decoder": True, **overrides}  # what BERT, Reformer, ... need to generate
    config = tiny_config(model_type, **overrides)
    if mapping.startswith(_LABELLED):
        for part in (config, config.get_text_config()):
            part.num_labels = num_labels
    # Where a type has several classes, the auto class takes the one that the config names.
    config.architectures = [MAPPINGS[mapping].classes[model_type]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = getattr(transformers, MAPPINGS[mapping].auto).from_config(config)
        nn.Module.float(model).train(False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            if mapping == "image-classification":
                _normalise_batches(model, tiny_inputs(model, seed=seed, mapping=mapping))
    return model


def _normalise_batches(model: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
    """Give batch norms the statistics of these inputs; random models explode or fade without."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the running average of one batch is that batch's
        norm.train()
    if norms:
        model(**inputs)
    for norm in norms:
        norm.eval()


def tiny_inputs(
    model: PreTrainedModel,
    batch: int = 2,
    length: int = 7,
    seed: int = 0,
    padding: Padding | None = "right",
    *,
    mapping: str = "sequence-classification",
) -> dict[str, Tensor]:
    """Random inputs of a model with the head of `mapping`.

    Of texts `input_ids` and `attention_mask`, both [batch, length] and int64. Every row begins with
    the zoo's bos and ends with its eos, the only ones in it. With `padding`, row b is 2b tokens
    shorter than `length` (but at least 3 tokens long), so that row 0 is full. Multiple choice has
    [batch, CHOICES, length], an encoder-decoder for seq2seq LM decoder inputs of TARGET_LENGTH.
    """
    generator = torch.Generator().manual_seed(seed)
    made = MODALITY_INPUTS.get((mapping, model.config.model_type)) or MODALITY_INPUTS.get(mapping)
    if made is not None:
        return made(model, batch, generator)
    text = _text(model, batch, length, padding, generator)
    if mapping == "multiple-choice":
        text = _text(model, batch * CHOICES, length, padding, generator)
        text = {key: value.view(batch, CHOICES, length) for key, value in text.items()}
    if mapping == "masked-lm":
        first = text["attention_mask"].argmax(-1)
        text["input_ids"][torch.arange(batch), first + 1] = MASK
    if mapping == "seq2seq-lm" and model.config.is_encoder_decoder:
        target = _text(model, batch, TARGET_LENGTH, padding, generator)
        text |= {f"decoder_{key}": value for key, value in target.items()}
    return text | extra_inputs(mapping, model, text["input_ids"], generator)


def _text(
    model: PreTrainedModel,
    batch: int,
    length: int,
    padding: Padding | None,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    pad = PAD if pad is None else pad
    ids = torch.full((batch, length), pad)
    mask = torch.zeros(batch, length, dtype=torch.long)
    for row in range(batch):
        real = max(min(3, length), length - 2 * row) if padding else length
        tokens = torch.randint(*_ORDINARY_TOKENS, (real,), generator=generator)
        tokens[0], tokens[-1] = BOS, EOS
        span = slice(length - real, None) if padding == "left" else slice(real)
        ids[row, span] = tokens
        mask[row, span] = 1
    return {"input_ids": ids, "attention_mask": mask}
