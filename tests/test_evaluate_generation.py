"""What cutting words out of a prompt takes from its answer, against a plain loop."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from normxlogit import Explainer, InputError
from normxlogit.evaluate.generation import answer_drops
from tests.builders import tokenizer
from tools.coverage.zoo import tiny_config

PROMPT = "A great movie with poor performers and a bad plot"


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerBase:
    return tokenizer(add_eos=False)


@pytest.fixture(scope="module")
def writer(words: PreTrainedTokenizerBase) -> Explainer:
    torch.manual_seed(0)
    config: Any = tiny_config("llama", vocab_size=len(words), max_position_embeddings=256)
    return Explainer(LlamaForCausalLM(config), words)


def log_probability(writer: Explainer, words: Any, prompt: str, answer: str) -> float:
    before = words(prompt)["input_ids"]
    new = words(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = writer.model.train(False)(torch.tensor([before + new])).logits[0].double()
    said = logits.log_softmax(-1)
    return sum(float(said[len(before) - 1 + i, token]) for i, token in enumerate(new))


@pytest.mark.parametrize("method", ["normxlogit", "logat", "position"])
def test_drops_are_those_of_a_plain_loop(writer: Explainer, words: Any, method: str) -> None:
    found = writer.generate(PROMPT, max_new_tokens=5, method=method)
    drops = answer_drops(writer, found, ratios=(0.1, 0.5, 0.9))

    split = PROMPT.split(" ")
    scores = np.zeros(len(split))
    offsets = np.cumsum([0, *(len(word) + 1 for word in split)])
    for row in found.scores[~found.answer_special]:
        for token, score in enumerate(row):
            if found.segments[token] == 0 and not found.special[token]:
                scores[np.searchsorted(offsets, found.offsets[token, 0], "right") - 1] += score
    order = sorted(range(len(split)), key=lambda n: -scores[n])
    assert drops.words == tuple(split[n] for n in order)

    whole = log_probability(writer, words, PROMPT, found.answer)
    assert drops.log_probability == pytest.approx(whole, abs=1e-4)
    for count, top, rest in zip((1, 5, 9), drops.without_top, drops.top_alone, strict=True):
        without = " ".join(word for n, word in enumerate(split) if n not in order[:count])
        alone = " ".join(word for n, word in enumerate(split) if n in order[:count])
        for prompt, lost in ((without, top), (alone, rest)):
            expected = whole - log_probability(writer, words, prompt, found.answer)
            assert lost == pytest.approx(expected, abs=1e-4)
    assert drops.comprehensiveness == pytest.approx(drops.without_top.mean())
    assert drops.sufficiency == pytest.approx(drops.top_alone.mean())


def test_a_word_is_left_of_any_prompt(writer: Explainer) -> None:
    drops = answer_drops(writer, writer.generate("good plot", max_new_tokens=3), ratios=(0.0, 1.0))
    assert drops.without_top[0] == 0
    assert np.isfinite(drops.without_top).all()
    assert np.isfinite(drops.top_alone).all()


def test_what_cannot_be_cut_is_refused(writer: Explainer) -> None:
    with pytest.raises(InputError, match="fewer than two words"):
        answer_drops(writer, writer.generate("good", max_new_tokens=3))
