"""Tokenizers with more tokens than the model: texts are refused that use one, and no others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normxlogit import Explainer, InputError, ModelError, OptionError
from normxlogit.generation.texts import Generator
from normxlogit.tasks.classification import Classification
from tests.helpers.assertions import as_generation, assert_same_explanation, succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.models import tokenizer_with_mask
from tests.helpers.texts import CONTINUATION, PROMPT, TEXTS
from tests.helpers.zoo import tiny_model

IMAGE = "<image>"


def extended(words: Any, **specials: str) -> Any:
    """A tokenizer with tokens added after those that the model was made for."""
    words.add_tokens([IMAGE])
    words.add_special_tokens(specials)
    return words


def bert(**specials: str) -> tuple[Explainer, Explainer]:
    """A random BERT with the tokenizer that it was made for, and with an extended one."""
    model = classifier(tokenizer())
    return Explainer(model, tokenizer()), Explainer(model, extended(tokenizer(), **specials))


def llama(mapping: str = "causal-lm", **specials: str) -> tuple[Explainer, Explainer]:
    """A random Llama with its tokenizer, which has no pad token, and with an extended one."""
    words, more = (tokenizer_with_mask("bpe", is_open=True, pad_token=None) for _ in range(2))
    model = tiny_model("llama", mapping=mapping, vocab_size=len(words), pad_token_id=None)
    if model.can_generate():
        model.generation_config.pad_token_id = None
    return Explainer(model, words), Explainer(model, extended(more, **specials))


def test_texts_without_the_added_tokens_are_explained() -> None:
    own, more = bert()
    assert len(more.tokenizer) > own.model.config.vocab_size
    for result, expected in zip(more.explain(TEXTS), own.explain(TEXTS), strict=True):
        assert_same_explanation(result, expected)


def test_a_text_with_one_is_refused_and_says_how_to_give_it_an_embedding() -> None:
    own, more = bert()
    size = own.model.config.vocab_size
    says = rf"'<image>' \(id {size}\).*{size} tokens only.*resize_token_embeddings\({size + 1}\)"
    with pytest.raises(InputError, match=says):
        more.explain(f"A great {IMAGE}")
    results = more.explain([f"{IMAGE} and {TEXTS[0]}", TEXTS[0], (TEXTS[0], IMAGE)])
    assert [type(result).__name__ for result in results] == ["Failure", "Attribution", "Failure"]
    with pytest.raises(InputError, match=says):
        more.explain(f"{TEXTS[0] * 30} {IMAGE}", long="window")
    more.model.resize_token_embeddings(size + 1)
    assert IMAGE in Explainer(more.model, more.tokenizer).explain(f"A great {IMAGE}").tokens


def test_prompts_chats_continuations_and_targets_with_one_are_refused() -> None:
    _, more = llama()
    chat = [{"role": "user", "content": f"What is {IMAGE}?"}]
    more.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    more = Explainer(more.model, more.tokenizer)
    for prompt in (f"{PROMPT} {IMAGE}", chat):
        with pytest.raises(InputError, match="'<image>'"):
            more.generate(prompt, max_new_tokens=2)
    with pytest.raises(InputError, match="'<image>'"):
        more.explain(PROMPT, target=f" great {IMAGE}")
    number = more.tokenizer.convert_tokens_to_ids(IMAGE)
    with pytest.raises(OptionError, match="'<image>'"):
        more.explain(PROMPT, target=[5, number])
    for contrast in (IMAGE, number):
        with pytest.raises(OptionError, match="'<image>'"):
            more.explain(PROMPT, target=CONTINUATION, contrast=contrast)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were explained together; those of a batch that failed do not count."""
    sizes: list[int] = []

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def explain(self: Any, texts: Any, *args: Any) -> Any:
            results = call(self, texts, *args)
            sizes.append(len(texts))
            return results

        return explain

    monkeypatch.setattr(Classification, "together", counted(Classification.together))
    monkeypatch.setattr(Generator, "generate", counted(Generator.generate))
    return sizes


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "gpt_neox"])
def test_an_added_pad_token_pads_batches(model_type: str, batches: list[int]) -> None:
    plain, words = (tokenizer(pad_token=None) for _ in range(2))
    model = classifier(plain, model_type, pad_token_id=None)
    words = extended(words, pad_token="[PAD]")
    assert words.pad_token_id >= model.config.vocab_size
    results = succeeded(Explainer(model, words).explain(TEXTS))
    if model_type == "bert":  # the others take no padding without a pad token in their config
        assert batches == [3]
    for text, result in zip(TEXTS, results, strict=True):
        assert_same_explanation(result, Explainer(model, plain).explain(text))


def test_a_model_told_of_a_pad_token_that_it_has_no_embedding_for(batches: list[int]) -> None:
    own, more = llama("sequence-classification", pad_token="[PAD]")
    expected = [own.explain(text) for text in TEXTS]
    more.model.config.pad_token_id = more.tokenizer.pad_token_id
    for result, alone in zip(succeeded(more.explain(TEXTS)), expected, strict=True):
        assert_same_explanation(result, alone)
    assert 3 in batches


def test_an_added_pad_token_pads_prompts_and_what_ended_early(batches: list[int]) -> None:
    own, more = llama(pad_token="[PAD]")
    prompts = [PROMPT, "A plot", "The movie is a mess. It"]
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    free = [as_generation(own.generate(prompt, **options)) for prompt in prompts]
    # The second ends where it first says what the others do not, and is padded from there on.
    ids = [[target.id for target in result.targets] for result in free]
    ends = next(i for i in ids[1] if i not in ids[0] + ids[2])
    options["eos_token_id"] = ends
    alone = [as_generation(own.generate(prompt, **options)) for prompt in prompts]
    assert len({len(result.targets) for result in alone}) == 2
    for given in (None, more.tokenizer.pad_token_id):
        more.model.generation_config.pad_token_id = given
        batches.clear()
        together = succeeded(more.generate(prompts, **options))
        assert batches == [3]
        for result, expected in zip(together, alone, strict=True):
            assert result.answer == expected.answer
            np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4, atol=1e-5)


def test_an_added_mask_or_pad_token_hides_nothing() -> None:
    own, more = bert(mask_token="[MASK]", pad_token="[PAD]")
    expected = own.explain(TEXTS[0], method="occlusion", replacement="remove")
    # Without a mask token that the model knows, occlusion hides by the attention mask.
    result = more.explain(TEXTS[0], method="occlusion")
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)
    for name in ("mask", "pad"):
        with pytest.raises(OptionError, match=rf"\[{name.upper()}\].*resize_token_embeddings"):
            more.explain(TEXTS[0], method="occlusion", replacement=name)
        with pytest.raises(OptionError, match=rf"\[{name.upper()}\].*resize_token_embeddings"):
            more.evaluate(TEXTS, methods=["norm"], operator=name)
    with pytest.raises(OptionError, match="has no mask token, so say how"):
        more.evaluate(TEXTS, methods=["norm"])


def test_another_models_tokenizer_is_refused_still() -> None:
    model = classifier(tokenizer())
    with pytest.raises(ModelError, match="do not belong together"):
        Explainer(model, tokenizer("bpe"))
    with pytest.raises(ModelError, match="do not belong together"):
        Explainer(tiny_model("bert", vocab_size=len(tokenizer()) - 1), tokenizer())
