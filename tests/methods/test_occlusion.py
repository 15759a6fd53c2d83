"""Occlusion, against a loop over what is left out."""

from typing import Any

import numpy as np
import pytest
import torch

import normxlogit as nxl
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.rerunning import row_of_distinct_tokens
from tests.helpers.zoo import tiny_inputs, tiny_model


@pytest.mark.parametrize("model_type", ["bert", "llama", "t5"])
@pytest.mark.parametrize("replacement", ["remove", 4])
def test_occlusion_is_a_loop(model_type: str, replacement: Any) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=3)
    mask = inputs["attention_mask"].bool()
    if model_type == "t5":  # which must have an end
        mask &= inputs["input_ids"] != 2
    unit = torch.where(mask, torch.arange(7), -1)
    result = nxl.attribute(
        model, inputs, target="all", method="occlusion", replacement=replacement, unit=unit
    )
    for row in range(3):
        for token in mask[row].nonzero().flatten().tolist():
            changed = {key: value[row : row + 1].clone() for key, value in inputs.items()}
            if replacement == "remove":
                changed["attention_mask"][0, token] = 0
            else:
                changed["input_ids"][0, token] = replacement
            with torch.no_grad():
                own = model(**{key: value[row : row + 1] for key, value in inputs.items()}).logits
                lost = (own - model(**changed).logits)[0]
            torch.testing.assert_close(result.scores[row, :, token], lost, rtol=1e-4, atol=1e-5)
    assert result.scores[~mask[:, None].expand_as(result.scores)].isnan().all()


def test_occlusion_of_units_that_are_given() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=1, padding=None)
    unit = torch.tensor([[-1, 0, 0, 1, 1, 1, -1]])
    scores = nxl.attribute(model, inputs, method="occlusion", unit=unit, replacement=4).scores[0]
    with torch.no_grad():
        own = model(**inputs).logits[0]
        changed = inputs["input_ids"].masked_fill(unit == 1, 4)
        lost = (own - model(input_ids=changed).logits[0])[own.argmax()]
    torch.testing.assert_close(scores[3:6], (lost / 3).expand(3), rtol=1e-4, atol=1e-6)
    assert scores[1] == scores[2]
    assert scores.isnan().tolist() == [True] + [False] * 5 + [True]


@pytest.mark.parametrize("ids", [[[5]], [[6, 7], [5, 0]]])
def test_the_only_token_of_a_text_is_not_hidden_by_the_mask(ids: list[list[int]]) -> None:
    model = tiny_model("gpt2")
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": (torch.tensor(ids) > 0).long()}
    with pytest.raises(nxl.InputError, match="leaves the model nothing to read"):
        nxl.attribute(model, inputs, method="occlusion")
    scores = nxl.attribute(model, inputs, method="occlusion", replacement=9).scores
    assert scores[inputs["attention_mask"] == 1].isfinite().all()


def test_occlusion_of_words_sentences_and_parts() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    text = "The plot is unbelievably good. Don't watch it!"
    result = explainer.explain(text, method="occlusion")
    ids = words(text, return_tensors="pt")["input_ids"]
    target = result.target.id
    for name, index in (("unbelievably", 3), ("Don't", 6)):
        word = result.words()
        number = word.tokens.index(name)
        changed = ids.masked_fill(torch.from_numpy(result.word_numbers == index)[None], 4)
        with torch.no_grad():
            lost = (
                explainer.model(ids).logits[0, target] - explainer.model(changed).logits[0, target]
            )
        assert word.scores[number] == pytest.approx(float(lost), rel=1e-4, abs=1e-6)
    sentences = explainer.explain(text, method="occlusion", unit="sentence").sentences()
    assert len(sentences) == 4  # with the special tokens, which have no score
    assert np.isnan(sentences.scores).tolist() == [True, False, False, True]
    part = explainer.explain(text, method="occlusion", unit=[(4, 8)])
    assert part.by([(4, 8)]).scores[0] == pytest.approx(
        explainer.explain(text, method="occlusion").words().scores[2], rel=1e-4
    )


def test_occlusion_that_is_not_heeded_is_refused() -> None:
    model = tiny_model("fnet")
    inputs = tiny_inputs(model, batch=1, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError, match="does not heed"):
        nxl.attribute(model, inputs, method="occlusion")
    assert nxl.attribute(model, inputs, method="occlusion", replacement=9).scores.isfinite().all()


def test_variants_that_are_not_finite_are_refused() -> None:
    model: Any = tiny_model("bert")
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[9] = torch.inf
    inputs = row_of_distinct_tokens(model)
    inputs["input_ids"][inputs["input_ids"] == 9] = 30
    with pytest.raises(nxl.ModelError, match="not finite"):
        nxl.attribute(model, inputs, method="occlusion", replacement=9)


def test_parts_of_texts_that_cannot_be_left_out() -> None:
    words = tokenizer(mask_token="<mask>")
    explainer = nxl.Explainer(classifier(words), words)
    for unit in ([1, 2], [None], [(0, 2), (1, 4)], "letter", [(0, 99)], True):
        with pytest.raises((nxl.OptionError, nxl.InputError), match=r"unit|text|part"):
            explainer.explain("The plot is good", method="occlusion", unit=unit)
    for replacement in (10**6, -1, True, [1], "nonsense words"):
        with pytest.raises(nxl.OptionError):
            explainer.explain("The plot", method="occlusion", replacement=replacement)
    bare = tokenizer(pad_token=None)
    explainer = nxl.Explainer(classifier(words), bare)
    for token in ("pad", "mask"):
        with pytest.raises(nxl.OptionError, match=f"no {token} token"):
            explainer.explain("The plot", method="occlusion", replacement=token)
    model = tiny_model("fnet")
    with pytest.raises(nxl.InputError, match="nothing to read"):
        nxl.attribute(model, {"input_ids": torch.tensor([[5]])}, method="occlusion")


def test_parts_in_one_of_several_windows() -> None:
    words = tokenizer(mask_token="<mask>", model_max_length=16)
    explainer = nxl.Explainer(classifier(words, max_position_embeddings=16), words)
    text = "Good plot. " + "the acting is a mess " * 8
    result = explainer.explain(text, method="occlusion", unit=[(0, 4)], long="window")
    assert np.flatnonzero(~np.isnan(result.scores)).tolist() == [1]


def test_sentences_of_a_chat_stay_within_messages() -> None:
    words = tokenizer("bpe", add_eos=False)
    words.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    llm = nxl.Explainer(tiny_model("gpt2", mapping="causal-lm", vocab_size=len(words)), words)
    chat: Any = [
        {"role": "user", "content": "It is bad. Is it?"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Good"},
    ]
    found = llm.explain(chat, method="occlusion", unit="sentence", replacement=5).sentences()
    shown = [t.strip() for t, s in zip(found.tokens, found.special, strict=True) if not s]
    assert shown == ["It is bad.", "Is it?", "Yes", "Good"]
