"""Tags of words, against the model's own logits and hidden states."""

from typing import Any

import numpy as np
import pytest
import torch

from normxlogit import Failure, InputError
from tests.helpers.assertions import assert_close, assert_same_explanation, succeeded
from tests.helpers.model_outputs import block_outputs, model_outputs
from tests.helpers.models import (
    TAGS,
    explainer_with_head,
    raise_logit,
    token_classifier,
    tokenizer_with_mask,
)
from tests.helpers.texts import CONTEXT, TEXTS


def test_the_tag_of_a_word_by_its_text_its_characters_and_its_number() -> None:
    explainer = token_classifier()
    outputs = model_outputs(explainer, TEXTS[0])
    encoding = explainer.tokenizer(TEXTS[0])
    start = TEXTS[0].index("performers")
    number = encoding.char_to_token(start)
    for position in ("performers", (start, start + 10), number, number - len(outputs.ids)):
        result = explainer.explain(TEXTS[0], position=position)
        tag = int(outputs.logits[number].argmax())
        assert (result.target.label, result.target.position) == (TAGS[tag], number)
        assert_close(result.scores, outputs.norms * outputs.logits[:, tag])
        assert result.norms is not None
        assert_close(result.norms, outputs.norms)
        chances = outputs.logits[number].softmax(-1)
        assert result.target.probability == pytest.approx(float(chances[tag]), rel=1e-4)
        assert [o.label for o in result.prediction.outputs] == list(TAGS.values())
        np.testing.assert_allclose(
            np.array([o.probability for o in result.prediction.outputs], float),
            chances,
            rtol=1e-4,
        )


def test_tags_as_target_and_contrast() -> None:
    explainer = token_classifier()
    outputs = model_outputs(explainer, TEXTS[0])
    for tag in (0, 1, 2):
        result = explainer.explain(TEXTS[0], position="great", target=TAGS[tag])
        assert_close(result.scores, outputs.norms * outputs.logits[:, tag])
        assert result.target.logit == pytest.approx(float(outputs.logits[2, tag]), rel=1e-4)
    result = explainer.explain(TEXTS[0], position="great", target="PER", contrast="O")
    assert_close(result.scores, outputs.norms * (outputs.logits[:, 1] - outputs.logits[:, 0]))
    assert result.provenance.contrast == "O"
    result = explainer.explain(TEXTS[0], position="great", target="all")
    assert_close(result.scores, outputs.norms * outputs.logits.T)
    result = explainer.explain(TEXTS[0], position="great", target=["LOC", "O"])
    assert_close(result.scores, outputs.norms * outputs.logits.T[[2, 0]])


def test_without_a_position_every_word_with_a_tag_is_explained() -> None:
    explainer = token_classifier()
    for text in (TEXTS[0], TEXTS[2]):
        outputs = model_outputs(explainer, text)
        encoding = explainer.tokenizer(text)
        firsts = [
            encoding.word_to_tokens(word).start
            for word in dict.fromkeys(w for w in encoding.word_ids() if w is not None)
        ]
        if text == TEXTS[2]:
            firsts = [i for i in firsts if text[slice(*encoding.token_to_chars(i))] != "'"]
            firsts.remove(encoding.char_to_token(text.index("t like")))  # of "didn't"
        tags = outputs.logits.argmax(-1).tolist()
        expected = [i for i in firsts if tags[i] != 0]
        assert 0 < len(expected) < len(outputs.ids)
        result = explainer.explain(text)
        assert [t.position for t in result.targets] == expected
        assert [t.id for t in result.targets] == [tags[i] for i in expected]
        assert result.prediction.predicted == result.targets
        assert_close(result.scores, outputs.norms * outputs.logits.T[[tags[i] for i in expected]])


def test_a_text_without_a_tag_says_so_and_does_not_lose_the_others() -> None:
    explainer = token_classifier()
    assert model_outputs(explainer, "Good.").logits[1:-1].argmax(-1).tolist() == [0, 0]
    first, outside, last = explainer.explain(TEXTS)
    assert_same_explanation(first, explainer.explain(TEXTS[0]))
    assert_same_explanation(last, explainer.explain(TEXTS[2]))
    assert isinstance(outside, Failure)
    assert str(outside.error).startswith("the model tags every word of the text 'O'")
    with pytest.raises(InputError, match=r"tags every word.*position"):
        explainer.explain("Good.")
    assert explainer.explain("Good.", position="Good").target.label == "O"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["bert", "llama", "deberta-v2"])
def test_tags_in_a_batch(model_type: str, side: str) -> None:
    explainer = raise_logit(token_classifier(model_type, padding_side=side), 0, -100.0)
    singles = [explainer.explain(text, target="PER", layer=1) for text in TEXTS]
    together = explainer.explain(TEXTS, target="PER", layer=1)
    assert [len(single.targets) for single in singles] == [7, 2, 14]
    for single, one in zip(singles, together, strict=True):
        assert_same_explanation(one, single)


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_with_a_tag_in_a_batch(side: str) -> None:
    explainer = token_classifier("llama", padding_side=side)
    texts = [TEXTS[0], CONTEXT, "A great movie."]
    singles = [explainer.explain(text) for text in texts]
    counts = [len(single.targets) for single in singles]
    assert len(set(counts)) > 1
    together = succeeded(explainer.explain(texts))
    for text, single, one in zip(texts, singles, together, strict=True):
        assert_same_explanation(one, single)
        assert one.axes == ("target",)
        assert 0 < len(one.scores) < len(one.words())
        assert_close(explainer.explain(text).scores, one.scores)


def test_a_single_word_with_a_tag_has_an_axis_too() -> None:
    explainer = raise_logit(token_classifier(), 0, -100.0)
    result = explainer.explain("Good")
    assert result.axes == ("target",)
    assert result.scores.shape == (1, len(result))
    assert explainer.explain("Good", layer="all").axes == ("target", "layer")
    assert explainer.explain("Good", position="Good").axes == ()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("mapping", "items"),
    [
        ("token-classification", TEXTS),
        ("masked-lm", ["<mask>", "A great <mask>.", "I didn't like it, but the <mask>"]),
        ("question-answering", [("what", text) for text in TEXTS]),
        ("sequence-classification", TEXTS),
        ("causal-lm", TEXTS),
    ],
)
def test_texts_of_different_lengths_run_together(mapping: str, items: list[Any], side: str) -> None:
    model_type = "bert" if mapping == "masked-lm" else "llama"
    words = tokenizer_with_mask(padding_side=side, is_open=mapping == "causal-lm")
    explainer = explainer_with_head(model_type, mapping, words)
    if mapping == "token-classification":
        raise_logit(explainer, 0, -100.0)
    embeddings: Any = explainer.model.get_input_embeddings()
    shapes: list[tuple[int, ...]] = []
    hook = embeddings.register_forward_hook(lambda _m, args, _o: shapes.append(args[0].shape))
    explainer.explain(items)  # which tries how they may be padded
    shapes.clear()
    explainer.explain(items)
    hook.remove()
    assert [shape[0] for shape in shapes] == [3]


def test_positions_are_of_the_words_they_name() -> None:
    explainer = token_classifier()
    pair = ("A great movie", "A person in an annual play, Ann")
    result = explainer.explain(pair, position="Ann")
    begin = pair[1].index("Ann")
    assert tuple(result.offsets[result.target.position]) == (begin, begin + 1)
    assert result.segments[result.target.position] == 1
    inside = explainer.explain(pair, position="movi")
    assert result.texts == pair
    assert inside.offsets[inside.target.position, 0] == 8
    assert explainer.explain(pair, position=(2, 7)).target.position == 2
    words: Any = ["A", "great", "movie"]
    split = explainer.explain(words, is_split_into_words=True, position="movie")
    assert split.words().tokens[split.words().target.position] == "movie"
    with pytest.raises(InputError, match=r"'A' occurs 2 times.*first character"):
        explainer.explain(pair, position="A")
    chinese = token_classifier().explain("电影 我喜欢电影院", position="电影院")
    assert chinese.offsets[chinese.target.position, 0] == 6
    with pytest.raises(InputError, match="2 times"):
        token_classifier().explain("电影 我喜欢电影院", position="电影")


def test_layers_of_a_tagger() -> None:
    for model_type in ("bert", "llama"):
        explainer = token_classifier(model_type)
        model: Any = explainer.model
        said = model_outputs(explainer, TEXTS[0])
        inputs = explainer.tokenizer(TEXTS[0], return_tensors="pt")
        trunk = model.bert.encoder.layer if model_type == "bert" else model.model.layers
        states = block_outputs(trunk, lambda m=model, i=inputs: m(**i))  # type: ignore[misc]
        head = model.classifier if model_type == "bert" else model.score
        with torch.no_grad():
            if model_type == "llama":
                states = [model.model.norm(state) for state in states]
            expected = torch.stack([said.norms * head(state)[:, 2] for state in states])
        found = explainer.explain(TEXTS[0], position="movie", target="LOC", layer="all")
        assert found.axes == ("layer",)
        assert_close(found.scores, expected)
        assert_close(found.select(layer=2).scores, said.norms * said.logits[:, 2])
