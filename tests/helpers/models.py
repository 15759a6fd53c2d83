"""Tiny models of every kind of head, with the tokenizers that they read."""

from typing import Any

import numpy as np
import torch
import transformers
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from normxlogit import Explainer
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.zoo import tiny_model

TAGS = {0: "O", 1: "PER", 2: "LOC"}


def tokenizer_with_mask(kind: str = "wordpiece", *, is_open: bool = False, **options: Any) -> Any:
    """A tokenizer with a mask token; if `is_open`, it puts no </s> at the end of texts."""
    words = tokenizer(kind, **options)
    words.add_special_tokens({"mask_token": "<mask>"})
    if is_open:
        words.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    return words


def explainer_with_head(
    model_type: str,
    mapping: str,
    words: PreTrainedTokenizerBase | None = None,
    num_labels: int = 3,
    **config: Any,
) -> Explainer:
    """A random model with the head of `mapping`, a name of `MAPPINGS` in the zoo."""
    words = tokenizer_with_mask() if words is None else words
    model = tiny_model(model_type, num_labels, mapping=mapping, vocab_size=len(words), **config)
    return Explainer(model, words)


def token_classifier(model_type: str = "bert", **options: Any) -> Explainer:
    """A random model that gives every token one of `TAGS`."""
    labels: dict[str, Any] = {"id2label": TAGS, "label2id": {tag: i for i, tag in TAGS.items()}}
    return explainer_with_head(
        model_type, "token-classification", tokenizer_with_mask(**options), **labels
    )


@torch.no_grad()
def raise_logit(explainer: Explainer, tag: int, by: float) -> Explainer:
    """Add `by` to the logit that a token classifier gives a tag."""
    model: Any = explainer.model
    head = model.classifier if hasattr(model, "classifier") else model.score
    head.bias[tag] += by
    return explainer


def causal_lm(model_type: str = "gpt2", kind: str = "bpe", **options: Any) -> Explainer:
    """A random causal language model."""
    return explainer_with_head(
        model_type, "causal-lm", tokenizer_with_mask(kind, is_open=True, **options)
    )


def brief_encoder_decoder() -> Explainer:
    """A random BART that generates 8 tokens at most."""
    explainer = explainer_with_head("bart", "seq2seq-lm")
    model: Any = explainer.model
    model.generation_config.max_length = 8
    return explainer


def classifier_explainer(
    model_type: str = "bert", num_labels: int = 3, **options: Any
) -> Explainer:
    """A random sequence classifier whose tokenizer has a mask token."""
    words = tokenizer(**{"mask_token": "<mask>", **options})
    return Explainer(classifier(words, model_type, num_labels), words)


def image_classifier() -> tuple[Explainer, Any]:
    """A random ViT, and an image that it reads, uint8 [height, width, 3]."""
    model = tiny_model("vit", mapping="image-classification")
    side = model.config.image_size
    processors: Any = transformers
    processor = processors.ViTImageProcessor(size={"height": side, "width": side})
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    return Explainer(model, processor), pixels


class BagEmbeddings(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Word embeddings, and nothing that mixes them."""

    config_class = BertConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, 4)
        self.layers = nn.ModuleList([nn.Identity()])
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **_: Any) -> Any:
        first = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        last: Any = self.layers[0](first)
        return BaseModelOutput(last_hidden_state=last, hidden_states=(first, last))


class BagForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A linear model of a bag of words."""

    config_class = BertConfig
    base_model_prefix = "bag"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bag, self.classifier = BagEmbeddings(config), nn.Linear(4, 2)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.bag.embeddings

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None, **_: Any
    ) -> SequenceClassifierOutput:
        states = self.bag(input_ids, inputs_embeds).last_hidden_state
        return SequenceClassifierOutput(
            logits=self.classifier((states * attention_mask[..., None]).sum(1))
        )
