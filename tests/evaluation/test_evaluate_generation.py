"""What cutting words out of a prompt takes from its answer, against a plain loop."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from normxlogit import Explainer, InputError, ModelError, OptionError
from normxlogit.evaluation import answer_drops
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_config

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
@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ({"ratios": (0.1, 0.5, 0.9)}, (1, 5, 9)),
        ({}, (1, 2, 3, 4, 5, 6, 7, 8, 9)),
        ({"counts": [2, 3, 40]}, (2, 3, 9)),
    ],
)
def test_drops_are_those_of_a_plain_loop(
    writer: Explainer, words: Any, method: str, asked: dict[str, Any], counts: tuple[int, ...]
) -> None:
    found = writer.generate(PROMPT, max_new_tokens=5, method=method)
    drops = answer_drops(writer, found, **asked)
    assert drops.counts == counts

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
    for count, top, rest in zip(counts, drops.without_top, drops.top_alone, strict=True):
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


def test_halves_are_rounded_up(writer: Explainer) -> None:
    found = writer.generate(" ".join(["one two three"] * 15), max_new_tokens=1)
    assert answer_drops(writer, found, ratios=(0.1, 0.7)).counts == (5, 32)


def test_what_cannot_be_cut_is_refused(writer: Explainer) -> None:
    with pytest.raises(InputError, match="fewer than two words"):
        answer_drops(writer, writer.generate("good", max_new_tokens=3))


def test_chats_are_refused(writer: Explainer) -> None:
    words: Any = tokenizer(add_eos=False)
    words.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    talker = Explainer(writer.model, words)
    found = talker.generate([{"role": "user", "content": PROMPT}], max_new_tokens=3)
    with pytest.raises(InputError, match=r"the words of a chat .* Give a prompt that is a text"):
        answer_drops(talker, found)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"ratios": (0.5,), "counts": (1,)}, "ratios and counts both set"),
        ({"ratios": ()}, "ratios must be a list of shares from 0 to 1"),
        ({"ratios": (0.5, 3)}, r"ratios must be a list of shares .* got \(0.5, 3\)"),
        ({"counts": ()}, "counts must be a list of whole numbers from 1"),
        ({"counts": (1, 0)}, r"counts must be a list .* got \(1, 0\)"),
        ({"counts": (0.5,)}, r"counts must be a list .* got \(0.5,\)"),
    ],
)
def test_numbers_of_words_that_are_none(
    writer: Explainer, asked: dict[str, Any], reason: str
) -> None:
    found = writer.generate(PROMPT, max_new_tokens=2)
    with pytest.raises(OptionError, match=reason):
        answer_drops(writer, found, **asked)


def test_an_answer_that_cannot_follow_is_an_error(writer: Explainer, words: Any) -> None:
    sure: Any = copy.deepcopy(writer.model)
    with torch.no_grad():
        sure.lm_head.weight *= 1e4
    explainer = Explainer(sure, words)
    found = explainer.generate(PROMPT, max_new_tokens=1, method="position")
    top = "performers"  # of the most tokens, whose positions add up
    prompts = (PROMPT, PROMPT.replace(f"{top} ", ""), top)
    assert [probability(sure, words, prompt, found.answer) for prompt in prompts] == [1, 1, 0]
    with pytest.raises(ModelError, match=f"{found.answer}' has probability 0 after '{top}'"):
        answer_drops(explainer, found, counts=[1])


def probability(model: Any, words: Any, prompt: str, answer: str) -> float:
    """Of the answer's first token, in float32."""
    with torch.no_grad():
        logits = model(torch.tensor([words(prompt)["input_ids"]])).logits[0, -1]
    first = words(answer, add_special_tokens=False)["input_ids"][0]
    return float(logits.softmax(-1)[first])
