"""Language models that answer from documents, and their log-probabilities by a plain loop."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from normxlogit import Explainer
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_config

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

WITH_DOCUMENTS = (
    "{% for d in documents %}<|im_start|>document\ntitle: {{ d['title'] }}\ntext: {{ d['text'] }}"
    "<|im_end|>\n{% endfor %}" + CHATML
)


def random_causal(model_type: str, **overrides: Any) -> Any:
    """A random causal language model whose parameters are all far from zero."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(tiny_config(model_type, **overrides)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def chatting(template: str | None = CHATML, **options: Any) -> PreTrainedTokenizerBase:
    """A tokenizer that puts a token before a text and none after it, with a chat template."""
    words = tokenizer("bpe", add_eos=False, **{"model_max_length": 4096, **options})
    if template is not None:
        words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        words.chat_template = template
    return words


def answerer(
    template: str | None = CHATML, model_type: str = "llama", **overrides: Any
) -> Explainer:
    """An explainer of a random language model that takes long prompts."""
    words = chatting(template)
    settings = {"vocab_size": len(words), "max_position_embeddings": 4096, **overrides}
    return Explainer(random_causal(model_type, **settings), words)


@torch.no_grad()
def by_fresh_pass(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the answer's tokens, [answer], in one pass by a model that is new."""
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    logits = copy.deepcopy(model)(ids, use_cache=False).logits[0, len(prompt) - 1 :].float()
    logprobs: torch.Tensor = logits.log_softmax(-1)
    return logprobs[torch.arange(len(answer)), torch.tensor(answer)]
