"""Random models for every way to load one, the inputs they read and the options they need."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from tests.helpers.builders import tokenizer
from tests.helpers.zoo import Padding, tiny_inputs, tiny_model

WORDS = tokenizer()
PROMPT = "A great movie with poor performers."


def random_model(
    model_type: str, mapping: str = "causal-lm", seed: int = 0, **config: Any
) -> PreTrainedModel:
    """A random model, of which some weights are tied if its type ties them."""
    config = {"vocab_size": len(WORDS), **config}
    model = tiny_model(model_type, mapping=mapping, seed=seed, **config)
    if model.can_generate():
        model.generation_config.pad_token_id = 1
        model.generation_config.eos_token_id = None
    return model


def required_options(mapping: str) -> dict[str, Any]:
    """The options without which a head explains nothing."""
    return {"position": 1} if mapping == "masked-lm" else {}


def inputs_for(model: PreTrainedModel, mapping: str) -> dict[str, Tensor]:
    """Random inputs, padded where the head allows it."""
    side: Padding | None = "right" if mapping == "sequence-classification" else None
    return tiny_inputs(model, mapping=mapping, padding=side)


GENERATING = [("llama", "causal-lm"), ("gpt2", "causal-lm"), ("t5", "seq2seq-lm")]
