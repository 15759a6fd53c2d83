"""Every kind of head for texts, against what the model's own outputs and hidden states say."""

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import normxlogit as nxl
from normxlogit import Explainer, Failure, InputError, OptionError
from normxlogit.results.generation import GenerationAttribution
from tests.helpers.assertions import assert_close, assert_same_explanation
from tests.helpers.builders import tokenizer
from tests.helpers.model_outputs import block_outputs, model_outputs
from tests.helpers.models import (
    TAGS,
    brief_encoder_decoder,
    causal_lm,
    explainer_with_head,
    raise_logit,
    token_classifier,
    tokenizer_with_mask,
)
from tests.helpers.state import model_state
from tests.helpers.zoo import tiny_model

TEXTS = [
    "A great movie with poor performers.",
    "Good.",
    "I didn't like it, but the acting is not bad at all!",
]


# Tags


def test_the_tag_of_a_word_by_its_text_its_characters_and_its_number() -> None:
    explainer = token_classifier()
    said = model_outputs(explainer, TEXTS[0])
    encoding = explainer.tokenizer(TEXTS[0])
    start = TEXTS[0].index("performers")
    number = encoding.char_to_token(start)
    for position in ("performers", (start, start + 10), number, number - len(said.ids)):
        found = explainer.explain(TEXTS[0], position=position)
        tag = int(said.logits[number].argmax())
        assert (found.target.label, found.target.position) == (TAGS[tag], number)
        assert_close(found.scores, said.norms * said.logits[:, tag])
        assert found.norms is not None
        assert_close(found.norms, said.norms)
        chances = said.logits[number].softmax(-1)
        assert found.target.probability == pytest.approx(float(chances[tag]), rel=1e-4)
        assert [o.label for o in found.prediction.outputs] == list(TAGS.values())
        np.testing.assert_allclose(
            [o.probability for o in found.prediction.outputs], chances, rtol=1e-4
        )


def test_tags_as_target_and_contrast() -> None:
    explainer = token_classifier()
    said = model_outputs(explainer, TEXTS[0])
    for tag in (0, 1, 2):
        found = explainer.explain(TEXTS[0], position="great", target=TAGS[tag])
        assert_close(found.scores, said.norms * said.logits[:, tag])
        assert found.target.logit == pytest.approx(float(said.logits[2, tag]), rel=1e-4)
    found = explainer.explain(TEXTS[0], position="great", target="PER", contrast="O")
    assert_close(found.scores, said.norms * (said.logits[:, 1] - said.logits[:, 0]))
    assert found.provenance.contrast == "O"
    found = explainer.explain(TEXTS[0], position="great", target="all")
    assert_close(found.scores, said.norms * said.logits.T)
    found = explainer.explain(TEXTS[0], position="great", target=["LOC", "O"])
    assert_close(found.scores, said.norms * said.logits.T[[2, 0]])


def test_without_a_position_every_word_with_a_tag_is_explained() -> None:
    explainer = token_classifier()
    for text in (TEXTS[0], TEXTS[2]):
        said = model_outputs(explainer, text)
        encoding = explainer.tokenizer(text)
        firsts = [
            encoding.word_to_tokens(word).start
            for word in dict.fromkeys(w for w in encoding.word_ids() if w is not None)
        ]
        if text == TEXTS[2]:
            firsts = [i for i in firsts if text[slice(*encoding.token_to_chars(i))] != "'"]
            firsts.remove(encoding.char_to_token(text.index("t like")))  # of "didn't"
        tags = said.logits.argmax(-1).tolist()
        expected = [i for i in firsts if tags[i] != 0]
        assert 0 < len(expected) < len(said.ids)
        found = explainer.explain(text)
        assert [t.position for t in found.targets] == expected
        assert [t.id for t in found.targets] == [tags[i] for i in expected]
        assert found.prediction.predicted == found.targets
        assert_close(found.scores, said.norms * said.logits.T[[tags[i] for i in expected]])


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
    for text, single, one in zip(texts, singles, explainer.explain(texts), strict=True):
        assert_same_explanation(one, single)
        assert one.axes == ("target",)
        assert 0 < len(one.scores) < len(one.words())
        assert_close(explainer.explain(text).scores, one.scores)


def test_a_single_word_with_a_tag_has_an_axis_too() -> None:
    explainer = raise_logit(token_classifier(), 0, -100.0)
    found = explainer.explain("Good")
    assert found.axes == ("target",)
    assert found.scores.shape == (1, len(found))
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
    found = explainer.explain(pair, position="Ann")
    begin = pair[1].index("Ann")
    assert tuple(found.offsets[found.target.position]) == (begin, begin + 1)
    assert found.segments[found.target.position] == 1
    inside = explainer.explain(pair, position="movi")
    assert found.texts == pair
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


# Answers

QUESTION = "what movie"
CONTEXT = "A great movie with poor performers, a great plot."


def best_span(logits: Tensor, may: Sequence[int]) -> tuple[int, int]:
    pairs = [(s, e) for s in may for e in may if s <= e]
    return max(pairs, key=lambda p: float(logits[p[0], 0] + logits[p[1], 1]))


def in_context(explainer: Explainer, *texts: str) -> list[int]:
    sequence = explainer.tokenizer(*texts).sequence_ids(0)
    return [i for i, s in enumerate(sequence) if s == 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model_type", ["bert", "bart", "llama", "t5"])
def test_the_predicted_answer_is_the_best_one_within_the_context(
    model_type: str, seed: int
) -> None:
    words = tokenizer_with_mask()
    model = tiny_model(model_type, mapping="question-answering", vocab_size=len(words), seed=seed)
    explainer = Explainer(model, words)
    said = model_outputs(explainer, QUESTION, CONTEXT)
    may = in_context(explainer, QUESTION, CONTEXT)
    start, end = best_span(said.logits, may)
    characters = explainer.tokenizer(QUESTION, CONTEXT)
    begin, stop = characters.token_to_chars(start).start, characters.token_to_chars(end).end
    found = explainer.explain((QUESTION, CONTEXT))
    assert found.target.label == CONTEXT[begin:stop].strip()
    assert (found.target.position, found.target.id) == (start, 2)
    assert found.prediction.predicted == (found.target,)
    first, last, whole = found.prediction.outputs
    assert (first.position, last.position) == (start, end)
    chances = said.logits.softmax(0)
    assert first.probability == pytest.approx(float(chances[start, 0]), rel=1e-4)
    assert last.probability == pytest.approx(float(chances[end, 1]), rel=1e-4)
    assert whole.probability == pytest.approx(float(chances[start, 0] * chances[end, 1]), rel=1e-4)
    assert whole.logit == pytest.approx(
        float(said.logits[start, 0] + said.logits[end, 1]), abs=1e-4
    )
    assert_close(found.scores, said.norms * said.logits.sum(-1))
    for output, which in (("start", 0), ("end", 1)):
        part = explainer.explain((QUESTION, CONTEXT), target=output)
        assert_close(part.scores, said.norms * said.logits[:, which])
        assert part.target.position == (start, end)[which]
    every = explainer.explain((QUESTION, CONTEXT), target="all")
    assert_close(every.scores, said.norms * torch.stack([*said.logits.T, said.logits.sum(-1)]))
    apart = explainer.explain((QUESTION, CONTEXT), target="start", contrast="end")
    assert_close(apart.scores, said.norms * (said.logits[:, 0] - said.logits[:, 1]))


def test_an_answer_by_its_text_or_characters() -> None:
    explainer = explainer_with_head("bert", "question-answering")
    said = model_outputs(explainer, QUESTION, CONTEXT)
    encoding = explainer.tokenizer(QUESTION, CONTEXT)
    for answer in ("poor performers", (19, 34)):
        found = explainer.explain((QUESTION, CONTEXT), target=answer)
        start, end = (encoding.char_to_token(c, sequence_index=1) for c in (19, 33))
        assert found.target.label == "poor performers"
        assert found.target.position == start
        assert [o.position for o in found.prediction.outputs] == [start, end, start]
        logit = float(said.logits[start, 0] + said.logits[end, 1])
        assert found.target.logit == pytest.approx(logit, abs=1e-4)
        assert_close(found.scores, said.norms * said.logits.sum(-1))
    second = explainer.explain((QUESTION, CONTEXT), target=(38, 43))
    assert second.target.label == "great"
    assert second.target.position == encoding.char_to_token(38, sequence_index=1)


def test_the_positions_of_a_decoder_that_answers() -> None:
    """Position i of BART has read the token before, whose score it is; the answer is not moved."""
    explainer = explainer_with_head("bart", "question-answering")
    said = model_outputs(explainer, QUESTION, CONTEXT)
    ids = explainer.tokenizer(QUESTION, CONTEXT)["input_ids"]
    tokens = explainer.tokenizer.convert_ids_to_tokens(ids)
    found = explainer.explain((QUESTION, CONTEXT), target="poor")
    start = tokens.index("poor")
    assert found.target.label == "poor"
    assert found.target.position == start
    assert found.tokens[1:] == tuple(tokens[:-1])
    assert found.target.logit == pytest.approx(float(said.logits[start].sum()), abs=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["bert", "llama", "bart", "roberta"])
def test_answers_in_a_batch(model_type: str, side: str) -> None:
    explainer = explainer_with_head(
        model_type, "question-answering", tokenizer_with_mask(padding_side=side)
    )
    pairs = [(QUESTION, CONTEXT), ("what", "Good."), ("what plot", TEXTS[2])]
    for target in (None, "start", "all"):
        together = explainer.explain(pairs, target=target)
        for pair, one in zip(pairs, together, strict=True):
            assert_same_explanation(one, explainer.explain(pair, target=target))


# Choices


@pytest.mark.parametrize("layer", [None, "all"])
def test_choices(layer: Any) -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    model: Any = explainer.model
    text, choices = "The movie is", ["good", "a mess, and bad", "not great"]
    hot, norms, logits = [], [], []
    for choice in choices:
        inputs = explainer.tokenizer(text, choice, return_tensors="pt")
        with torch.no_grad():
            output = model.bert(**inputs, output_hidden_states=True)
            hot.append(
                torch.stack(
                    [
                        torch.stack(
                            [
                                model.classifier(model.bert.pooler(state[:, i : i + 1]))[0, 0]
                                for i in range(state.shape[1])
                            ]
                        )
                        for state in output.hidden_states[1:]
                    ]
                )
            )
            logits.append(float(model.classifier(output.pooler_output)[0, 0]))
        norms.append(output.hidden_states[0][0].norm(dim=-1))
    best = int(np.argmax(logits))
    for target, number in ((None, best), ("good", 0), (1, 1), ("not great", 2)):
        found = explainer.explain((text, choices), target=target, layer=layer)
        assert (found.target.label, found.target.id) == (choices[number], number)
        assert found.texts == (text, choices[number])
        assert found.prediction.label == choices[best]
        assert [o.label for o in found.prediction.outputs] == choices
        np.testing.assert_allclose([o.logit for o in found.prediction.outputs], logits, rtol=1e-4)
        np.testing.assert_allclose(
            [o.probability for o in found.prediction.outputs],
            torch.tensor(logits).softmax(-1),
            rtol=1e-4,
        )
        expected = norms[number] * hot[number]
        assert_close(found.scores, expected if layer else expected[-1])
        assert found.norms is not None
        assert_close(found.norms, norms[number])


def test_a_choice_rather_than_another() -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    item = ("The movie is", ["good", "a mess, and bad"])
    ours, theirs = (explainer.explain(item, target=number) for number in (1, 0))
    found = explainer.explain(item, target=1, contrast="good")
    shared = int(np.flatnonzero(found.segments == 1)[0])
    assert found.tokens[:shared] == theirs.tokens[:shared]
    difference = ours.scores[:shared] - theirs.scores[:shared]
    np.testing.assert_allclose(found.scores[:shared], difference, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.scores[shared:], ours.scores[shared:])
    assert found.provenance.contrast == "good"


def test_choices_in_a_list() -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    items = [("The movie is", ["good", "bad"]), ("A", ["one", "two", "three three"])]
    for item, found in zip(items, explainer.explain(items), strict=True):
        assert_same_explanation(found, explainer.explain(item))
    named = explainer.explain(items, target="bad")
    assert named[0].target.label == "bad"
    assert isinstance(named[1], Failure)
    assert "there is no choice 'bad'" in str(named[1].error)


# Masks

MASKED = ["A great <mask> with poor performers.", "<mask>.", "I didn't like it, but the <mask>"]


def test_what_stands_at_the_mask() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    words = explainer.tokenizer
    said = model_outputs(explainer, MASKED[0])
    place = said.ids.index(words.mask_token_id)
    best = int(said.logits[place].argmax())
    found = explainer.explain(MASKED[0])
    assert (found.target.id, found.target.position) == (best, place)
    assert found.target.label == words.decode([best])
    chances = said.logits[place].softmax(-1)
    assert found.target.probability == pytest.approx(float(chances[best]), rel=1e-4)
    assert [o.id for o in found.prediction.outputs] == chances.topk(10).indices.tolist()
    assert_close(found.scores, said.norms * said.logits[:, best])
    number = words.convert_tokens_to_ids("movie")
    for target in ("movie", "Movie", number):
        assert_close(
            explainer.explain(MASKED[0], target=target).scores,
            said.norms * said.logits[:, number],
        )
    other = words.convert_tokens_to_ids("plot")
    two = explainer.explain(MASKED[0], target=["movie", other])
    assert [t.label for t in two.targets] == ["movie", "plot"]
    assert_close(two.scores, said.norms * said.logits.T[[number, other]])
    apart = explainer.explain(MASKED[0], target="movie", contrast="plot")
    assert_close(apart.scores, said.norms * (said.logits[:, number] - said.logits[:, other]))
    assert apart.provenance.contrast == "plot"


def test_readouts_over_the_whole_vocabulary() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    said = model_outputs(explainer, MASKED[0])
    for target in ("movie", None):
        for readout in ("margin", "logprob", "centered"):
            found = explainer.explain(MASKED[0], target=target, readout=readout)
            number, logits = found.target.id, said.logits
            others = logits.clone()
            others[:, number] = -torch.inf
            expected = {
                "margin": logits[:, number] - others.amax(-1),
                "logprob": logits.log_softmax(-1)[:, number],
                "centered": logits[:, number] - logits.mean(-1),
            }[readout]
            assert_close(found.scores, said.norms * expected)


def test_which_token_is_explained() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    said = model_outputs(explainer, "a <mask> ! <mask>")
    for place in (2, 4):
        found = explainer.explain("a <mask> ! <mask>", position=place)
        assert found.target.id == int(said.logits[place].argmax())
    with pytest.raises(InputError, match=r"2 times.*position=2 or position=4"):
        explainer.explain("a <mask> ! <mask>")
    with pytest.raises(InputError, match=r"the text has no <mask>"):
        explainer.explain("a movie")
    unmasked = explainer.explain("a movie", position="movie")
    assert unmasked.target.position == 2
    assert_close(unmasked.logits, model_outputs(explainer, "a movie").logits[:, unmasked.target.id])


@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_layers_after_a_pre_norm_and_a_post_norm_trunk(model_type: str) -> None:
    explainer = explainer_with_head(model_type, "masked-lm")
    model: Any = explainer.model
    said = model_outputs(explainer, MASKED[0])
    inputs = explainer.tokenizer(MASKED[0], return_tensors="pt")
    is_post = model_type == "bert"
    blocks = model.bert.encoder.layer if is_post else model.model.layers
    number = explainer.tokenizer.convert_tokens_to_ids("movie")
    with torch.no_grad():
        states = block_outputs(blocks, lambda: model(**inputs))
        if is_post:
            logits = [model.cls(state) for state in states]
        else:
            logits = [model.decoder(model.head(model.model.final_norm(s))) for s in states]
    expected = torch.stack([said.norms * logit[:, number] for logit in logits])
    found = explainer.explain(MASKED[0], target="movie", layer="all")
    assert found.layers == tuple(range(1, len(states) + 1))
    assert_close(found.scores, expected)
    assert_close(found.scores[-1], said.norms * said.logits[:, number])
    assert_close(explainer.explain(MASKED[0], target="movie", layer=1).scores, expected[0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_masks_in_a_batch(model_type: str, side: str) -> None:
    explainer = explainer_with_head(model_type, "masked-lm", tokenizer_with_mask(padding_side=side))
    for options in ({}, {"target": "movie", "contrast": "plot"}, {"readout": "margin"}):
        for text, one in zip(MASKED, explainer.explain(MASKED, **options), strict=True):
            assert_same_explanation(one, explainer.explain(text, **options))


# Next tokens


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gpt_neox", "bloom"])
def test_the_next_token(model_type: str) -> None:
    explainer = causal_lm(model_type)
    said = model_outputs(explainer, TEXTS[0])
    best = int(said.logits[-1].argmax())
    found = explainer.explain(TEXTS[0])
    assert (found.target.id, found.target.position) == (best, len(said.ids) - 1)
    assert found.target.probability == pytest.approx(
        float(said.logits[-1].softmax(-1)[best]), rel=1e-4
    )
    assert_close(found.scores, said.norms * said.logits[:, best])
    assert_close(explainer.explain(TEXTS[0], target=7).scores, said.norms * said.logits[:, 7])
    apart = explainer.explain(TEXTS[0], target=7, contrast=9)
    assert_close(apart.scores, said.norms * (said.logits[:, 7] - said.logits[:, 9]))
    for readout in ("margin", "logprob", "centered"):
        others = said.logits.clone()
        others[:, 7] = -torch.inf
        expected = {
            "margin": said.logits[:, 7] - others.amax(-1),
            "logprob": said.logits.log_softmax(-1)[:, 7],
            "centered": said.logits[:, 7] - said.logits.mean(-1),
        }[readout]
        assert_close(
            explainer.explain(TEXTS[0], target=7, readout=readout).scores, said.norms * expected
        )


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_layers_before_the_next_token(model_type: str) -> None:
    explainer = causal_lm(model_type)
    model: Any = explainer.model
    said = model_outputs(explainer, TEXTS[0])
    ids = torch.tensor([said.ids])
    is_gpt = model_type == "gpt2"
    states = block_outputs(
        model.transformer.h if is_gpt else model.model.layers, lambda: model(ids)
    )
    norm = model.transformer.ln_f if is_gpt else model.model.norm
    with torch.no_grad():
        expected = torch.stack([said.norms * model.lm_head(norm(s))[:, 7] for s in states])
    assert_close(explainer.explain(TEXTS[0], target=7, layer="all").scores, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bloom"])
def test_next_tokens_in_a_batch(model_type: str, side: str) -> None:
    explainer = causal_lm(model_type, padding_side=side)
    for options in ({}, {"target": 7, "contrast": 9, "layer": "all"}, {"readout": "centered"}):
        for text, one in zip(TEXTS, explainer.explain(TEXTS, **options), strict=True):
            assert_same_explanation(one, explainer.explain(text, **options))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_next_token_of_tensors_is_that_after_the_last_of_each_row(side: str) -> None:
    explainer = causal_lm("llama", padding_side=side)
    inputs = dict(explainer.tokenizer(TEXTS, return_tensors="pt", padding=True))
    found = nxl.attribute(explainer.model, inputs)
    for row, text in enumerate(TEXTS):
        said = model_outputs(explainer, text)
        best = int(said.logits[-1].argmax())
        kept = inputs["attention_mask"][row].bool()
        assert found.targets[row].tolist() == [best]
        assert_close(found.scores[row][kept], said.norms * said.logits[:, best])
        assert bool(found.scores[row][~kept].isnan().all())


# A given continuation

PROMPT, GIVEN = "A great movie.\nBut the plot", " is not bad. Good!\nDon't watch it 👍🏽"


def continuation() -> tuple[Explainer, list[int], list[int], NDArray[np.float32], list[float]]:
    """A writer, the tokens of prompt and continuation, the scores, and the probabilities."""
    explainer = causal_lm()
    before = explainer.tokenizer(PROMPT)["input_ids"]
    ids = explainer.tokenizer(PROMPT + GIVEN)["input_ids"][len(before) :]
    scores = np.full((len(ids), len(before) + len(ids)), np.nan, np.float32)
    chances = []
    for n, number in enumerate(ids):
        said = model_outputs(explainer, ids=[*before, *ids[:n]])
        scores[n, : len(before) + n] = said.norms * said.logits[:, number]
        chances.append(float(said.logits[-1].softmax(-1)[number]))
    return explainer, before, ids, scores, chances


def test_a_given_continuation_token_by_token() -> None:
    explainer, before, ids, scores, chances = continuation()
    for target in (GIVEN, ids):
        found = explainer.explain(PROMPT, target=target)
        assert isinstance(found, GenerationAttribution)
        assert_close(found.scores, scores)
        np.testing.assert_allclose(
            np.array([t.probability for t in found.targets], float), np.array(chances), rtol=1e-4
        )
        assert [t.id for t in found.targets] == ids
        assert [t.position for t in found.targets] == [len(before) - 1 + n for n in range(len(ids))]
        assert (found.prompt, found.answer) == (PROMPT, GIVEN)
    for n, number in enumerate(ids):
        prefix = torch.tensor([[*before, *ids[:n]]])
        alone = nxl.attribute(explainer.model, {"input_ids": prefix}, target=number)
        assert_close(found.scores[n, : prefix.shape[1]], alone.scores[0])
    apart = explainer.explain(PROMPT, target=GIVEN, contrast=9)
    layers = explainer.explain(PROMPT, target=ids, layer="all")
    assert layers.scores.shape == (len(ids), 2, scores.shape[1])
    assert_close(layers.select(layer=2).scores, scores)
    last = model_outputs(explainer, ids=[*before, *ids[:-1]])
    assert_close(
        apart.scores[-1, :-1],
        last.norms * (last.logits[:, ids[-1]] - last.logits[:, 9]),
    )


def test_parts_of_a_continuation() -> None:
    explainer, before, ids, scores, chances = continuation()
    found = explainer.explain(PROMPT, target=GIVEN)
    whole = found.whole()
    assert_close(whole.scores, np.nansum(scores, 0)[:-1])
    assert whole.target.label == GIVEN
    assert whole.target.probability == pytest.approx(np.prod(chances), rel=1e-3)
    text = explainer.tokenizer.decode
    first = next(n for n in range(len(ids)) if text(ids[: n + 1]).endswith(" not"))
    start = next(n for n in range(len(ids)) if text(ids[: n + 1]) > " is")
    part = found.span("not")
    same_part = found.span((GIVEN.index("not"), GIVEN.index("not") + 3))
    assert_close(part.scores, same_part.scores)
    rows = range(start if text(ids[start : start + 1]).strip() else start + 1, first + 1)
    assert_close(part.scores, np.nansum(scores[list(rows)], 0)[: len(before) + rows[-1]])
    (dot,) = [n for n, number in enumerate(ids) if text([number]) == "."]
    assert_close(found.span(".").scores, scores[dot, : len(before) + dot])
    words = found.by("word")
    np.testing.assert_allclose(np.nansum(words.scores, -1), np.nansum(found.scores, -1), rtol=1e-4)
    answer = words.segments == 1
    assert [words.tokens[i] for i in np.flatnonzero(answer)] == [
        "is", "not", "bad", ".", "Good", "!", "Don't", "watch", "it", "👍🏽",
    ]  # fmt: skip
    assert_close(words.whole().scores.sum(), whole.scores.sum())
    assert found.by("sentence").tokens[1:] == (
        "A great movie.", "But the plot", "is not bad.", "Good!", "Don't watch it 👍🏽",
    )  # fmt: skip
    assert found.by("line").tokens[1:] == (
        "A great movie.", "But the plot", "is not bad. Good!", "Don't watch it 👍🏽",
    )  # fmt: skip
    one = found.select(target=ids[2])
    assert_close(one.scores, scores[2])


def test_a_continuation_survives_a_file(tmp_path: Path) -> None:
    explainer, *_ = continuation()
    for options in ({}, {"layer": "all"}):
        found = explainer.explain(PROMPT, target=GIVEN, **options)
        found.save(tmp_path / "why.json")
        loaded = nxl.Attribution.load(tmp_path / "why.json")
        assert isinstance(loaded, GenerationAttribution)
        assert loaded.to_dict() == found.to_dict()
        np.testing.assert_array_equal(loaded.scores, found.scores)
        assert_close(loaded.whole().scores, found.whole().scores)
        assert_close(loaded.by("word").scores, found.by("word").scores)


def test_the_tokens_of_a_prompt_stay_when_a_continuation_would_join_them() -> None:
    explainer = causal_lm()
    before = explainer.tokenizer("A great mov")["input_ids"]
    found = explainer.explain("A great mov", target="ie with")
    ids = [t.id for t in found.targets]
    assert found.tokens[: len(before)] == tuple(explainer.tokenizer.convert_ids_to_tokens(before))
    assert explainer.tokenizer.decode(ids) == "ie with"


# Encoder-decoders


class Source:
    """What an encoder-decoder gives for a source and what its decoder has read."""

    @torch.no_grad()
    def __init__(self, explainer: Explainer, text: str, decoder: Sequence[int]) -> None:
        model: Any = explainer.model
        inputs = explainer.tokenizer(text, return_tensors="pt")
        output = model(
            **inputs, decoder_input_ids=torch.tensor([list(decoder)]), output_hidden_states=True
        )
        states = output.encoder_last_hidden_state[0]
        if model.config.model_type == "t5":
            scale = model.config.d_model**-0.5 if model.config.tie_word_embeddings else 1.0
            of_source = model.lm_head(states * scale)
        else:
            of_source = model.lm_head(states) + model.final_logits_bias
        self.next = output.logits[0, -1]
        self.norms = torch.cat(
            [
                output.encoder_hidden_states[0][0].norm(dim=-1),
                output.decoder_hidden_states[0][0].norm(dim=-1),
            ]
        )
        self.logits = torch.cat([of_source, output.logits[0]])


@pytest.mark.parametrize("model_type", ["t5", "bart"])
@pytest.mark.parametrize("is_given", [True, False])
def test_an_encoder_decoder(model_type: str, is_given: bool) -> None:
    explainer = explainer_with_head(model_type, "seq2seq-lm")
    model: Any = explainer.model
    model.generation_config.max_length = 8
    source = explainer.tokenizer(TEXTS[0], return_tensors="pt")
    first = [model.generation_config.decoder_start_token_id]
    if is_given:
        found = explainer.explain(TEXTS[0], target="good plot")
        ids = explainer.tokenizer("good plot")["input_ids"]
        assert found.answer == "good plot"
    else:
        found = explainer.explain(TEXTS[0])
        ids = model.generate(**source)[0].tolist()
        assert first == ids[:1]
        ids = ids[1:]
        assert len(ids) >= 7
    assert [t.id for t in found.targets] == ids
    count = source["input_ids"].shape[1]
    assert found.tokens == tuple(
        explainer.tokenizer.convert_ids_to_tokens([*source["input_ids"][0], *first, *ids])
    )
    for n, number in enumerate(ids):
        said = Source(explainer, TEXTS[0], [*first, *ids[:n]])
        known = count + 1 + n
        assert_close(found.scores[n, :known], said.norms * said.logits[:, number])
        assert np.isnan(found.scores[n, known:]).all()
        chance = float(said.next.softmax(-1)[number])
        assert found.targets[n].probability == pytest.approx(chance, rel=1e-3)
        assert found.targets[n].position == known - 1
        assert found.norms is not None
        assert_close(found.norms[:known], said.norms)
    assert found.prompt == TEXTS[0]
    whole = found.whole()
    assert len(whole) == count + len(ids) - (1 if is_given else 0)
    rows = [n for n in range(len(ids)) if ids[n] > 4] or list(range(len(ids)))
    assert_close(whole.scores, np.nansum(found.scores[rows], 0)[: len(whole)])


def test_encoder_decoders_in_a_list() -> None:
    explainer = explainer_with_head("t5", "seq2seq-lm")
    found = explainer.explain([TEXTS[0], "", TEXTS[1]], target="good")
    assert_same_explanation(found[0], explainer.explain(TEXTS[0], target="good"))
    assert isinstance(found[1], Failure)
    assert_same_explanation(found[2], explainer.explain(TEXTS[1], target="good"))
    with pytest.raises(OptionError, match="layer is not defined"):
        explainer.explain(TEXTS[0], layer="all")
    with pytest.raises(OptionError, match="layer is not defined"):
        explainer.explain(TEXTS[0], target="good", layer=1)
    with pytest.raises(InputError, match="reads one text, and this is a pair"):
        explainer.explain((TEXTS[0], TEXTS[1]))


# What is refused


@dataclass
class Case:
    """A head, two good inputs for it, and options that go with them."""

    make: Callable[[], Explainer]
    item: Any
    other: Any
    options: dict[str, Any]


PAIR, OTHER_PAIR = (QUESTION, CONTEXT), ("what plot", TEXTS[2])

HEADS = {
    "classifier": Case(
        lambda: explainer_with_head("bert", "sequence-classification"), TEXTS[0], TEXTS[2], {}
    ),
    "tags": Case(token_classifier, TEXTS[0], "the movie is good", {"position": "movie"}),
    "answers": Case(
        lambda: explainer_with_head("bert", "question-answering"), PAIR, OTHER_PAIR, {}
    ),
    "decoder answers": Case(
        lambda: explainer_with_head("bart", "question-answering"), PAIR, OTHER_PAIR, {}
    ),
    "choices": Case(
        lambda: explainer_with_head("bert", "multiple-choice"),
        (QUESTION, ["a", "b plot"]),
        ("a", ["b", "c d"]),
        {},
    ),
    "masks": Case(lambda: explainer_with_head("bert", "masked-lm"), MASKED[0], MASKED[2], {}),
    "next": Case(causal_lm, TEXTS[0], TEXTS[2], {}),
    "continuation": Case(causal_lm, PROMPT, TEXTS[1], {"target": GIVEN}),
    "t5": Case(
        lambda: explainer_with_head("t5", "seq2seq-lm"), TEXTS[0], TEXTS[1], {"target": "good plot"}
    ),
    "bart": Case(brief_encoder_decoder, TEXTS[0], TEXTS[1], {}),
}


@pytest.mark.parametrize(
    ("head", "item", "options", "says"),
    [
        ("classifier", TEXTS[0], {"position": 3}, "one thing of the whole text"),
        ("tags", TEXTS[0], {"position": "nope"}, "'nope' does not occur in the text"),
        ("tags", TEXTS[0], {"position": ""}, "'' does not occur"),
        ("tags", TEXTS[0], {"position": 99}, "position 99 is not among the text's 18 tokens"),
        ("tags", TEXTS[0], {"position": (5, 3)}, r"\(5, 3\) are not the first character"),
        ("tags", TEXTS[0], {"position": ("a", "b")}, r"are not the first character"),
        ("tags", TEXTS[0], {"position": (1.5, 3)}, r"are not the first character"),
        ("tags", TEXTS[0], {"position": 1.5}, "position must be the number of a token"),
        ("tags", TEXTS[0], {"position": True}, "position must be"),
        ("tags", TEXTS[0], {"position": "movie", "target": "ORG"}, "no label 'ORG'"),
        ("tags", TEXTS[0], {"long": "window"}, "long='window' averages"),
        ("tags", "good " * 90, {}, "limit of 64. Shorten it; .*long='truncate'.$"),
        ("answers", "text", {}, "a question and the text with its answer, as a tuple of two"),
        ("answers", ("a", "b", "c"), {}, "a question and the text.*got a tuple of 3"),
        ("answers", (QUESTION, CONTEXT), {"target": "nope"}, "'nope' does not occur"),
        ("answers", (QUESTION, CONTEXT), {"target": "what"}, "'what' does not occur"),
        ("answers", (QUESTION, CONTEXT), {"target": "great"}, "occurs 2 times"),
        ("answers", (QUESTION, CONTEXT), {"target": (7, 2)}, "are not the first character"),
        ("answers", (QUESTION, CONTEXT), {"target": ["movie"]}, "named by its text"),
        ("answers", (QUESTION, CONTEXT), {"position": 3}, "name an answer as target"),
        ("answers", (QUESTION, CONTEXT), {"readout": "margin"}, "not one of those for span"),
        ("choices", "a text", {}, r"\(text, \[choice, choice, \.\.\.\]\)"),
        ("choices", ("a", ["b"]), {}, r"\(text, \[choice, choice, \.\.\.\]\)"),
        ("choices", ("a", ["b", ""]), {}, "empty or blank"),
        ("choices", ("a", ["b", "b"]), {"target": "b"}, "'b' is 2 of the choices"),
        ("choices", ("a", ["b", "c"]), {"target": "d"}, "no choice 'd'.*'b', 'c'.*0 to 1"),
        ("choices", ("a", ["b", "c"]), {"target": 2}, "there is no choice 2"),
        ("choices", ("a", ["b", "c"]), {"target": "all"}, "explained at a time"),
        ("choices", ("a", ["b", "c"]), {"target": 1, "contrast": "c"}, "are both 'c'"),
        ("choices", ("a", ["b", "c"]), {"contrast": "d"}, "there is no choice 'd'"),
        ("choices", ("a", ["b", "c"]), {"long": "window"}, "do not apply to multiple choice"),
        ("masks", MASKED[0], {"target": "unbelievably"}, r"is 12 tokens.*\(u = \d+.*by its id"),
        ("masks", MASKED[0], {"target": "♞"}, "no token for '♞'"),
        ("masks", MASKED[0], {"target": ""}, "no token for ''"),
        ("masks", MASKED[0], {"target": 10**6}, "there is no token 1000000; ids go from 0"),
        ("masks", MASKED[0], {"target": "plot", "contrast": "plot"}, "are both 'plot'"),
        ("next", ("a", "b"), {}, "continues one text, and this is a pair"),
        ("next", "a", {"position": 1}, "read at the end of the text"),
        ("next", "a", {"layer": 9}, "there is no layer 9: layers go from 1 to 2"),
        ("next", "a", {"target": ""}, "the target is empty"),
        ("next", "a", {"target": []}, "the target is empty"),
        ("next", "a", {"target": [5, 10**6]}, "there is no token 1000000"),
        ("next", "a", {"target": "x" * 500}, r"502 tokens, and the model takes 64|the model takes"),
        ("next", "a", {"target": "\ud800"}, "the tokenizer could not read"),
        ("next", "a", {"target": 1.5}, "a token is named by its text or id; got 1.5"),
        ("t5", TEXTS[0], {"target": 5}, "by what it writes, or by a text"),
        ("t5", TEXTS[0], {"contrast": 5, "target": None}, "a contrast needs such a text"),
        ("t5", TEXTS[0], {"position": 3}, "do not apply to encoder-decoders"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_one_clear_line(
    head: str, item: Any, options: dict[str, Any], says: str
) -> None:
    explainer = HEADS[head].make()
    with pytest.raises((InputError, OptionError), match=says) as caught:
        explainer.explain(item, **options)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_a_mask_token() -> None:
    explainer = Explainer(explainer_with_head("bert", "masked-lm").model, tokenizer())
    with pytest.raises(InputError, match="the tokenizer has no mask token: say with position"):
        explainer.explain("a movie")
    assert explainer.explain("a movie", position="movie").target.position == 2


# What is left as it was


def all_state(explainer: Explainer) -> dict[str, Any]:
    model: Any = explainer.model
    words: Any = explainer.tokenizer
    state = model_state(model)
    state["tokenizer"] = words.backend_tokenizer.to_str()
    state["tokenizer attributes"] = {
        k: repr(v) for k, v in words.__dict__.items() if k != "_tokenizer"
    }
    generation = getattr(model, "generation_config", None)
    state["generation"] = None if generation is None else copy.deepcopy(generation.to_dict())
    state["hooks"] = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in model.named_modules()
    ]
    return state


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("head", HEADS)
def test_nothing_of_the_users_is_changed(head: str, mode: str) -> None:
    case = HEADS[head]
    explainer = case.make()
    model: Any = explainer.model
    model.train(mode == "train")
    explainer.tokenizer.truncation_side = "left"
    before = all_state(explainer)
    explainer = Explainer(model, explainer.tokenizer)

    def check() -> None:
        after = all_state(explainer)
        assert {key for key in before if before[key] != after.get(key)} == set()
        assert before.keys() == after.keys()

    explainer.explain(case.item, **case.options)
    check()
    explainer.explain([case.item, "", 3, case.other], batch_size=2, **case.options)
    check()
    explainer.explain(["good " * 90], long="truncate", **case.options)
    check()
    with pytest.raises((InputError, OptionError)):
        explainer.explain(case.item, **(case.options | {"contrast": "no such thing, for sure"}))
    check()
    with pytest.raises(nxl.NormXLogitError):
        nxl.attribute(model, {"input_ids": torch.tensor([[10**6, 5]])}, position=0)
    check()
    if model.can_generate() and head != "masks":
        made = explainer.generate(["A great", "Good"], max_new_tokens=3)
        assert all(isinstance(one, GenerationAttribution) for one in made)
        check()
        with pytest.raises(nxl.NormXLogitError):
            explainer.generate("A great", max_new_tokens=2, no_such_option=True)
        check()


@pytest.mark.parametrize("head", HEADS)
def test_two_threads_give_what_one_gives(head: str) -> None:
    case = HEADS[head]
    explainer = case.make()
    items = (case.item, case.other)
    expected = [explainer.explain(item, **case.options) for item in items]
    found: list[list[Any]] = [[], []]

    def work(number: int) -> None:
        for _ in range(6):
            found[number].append(explainer.explain(items[number], **case.options))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        assert len(found[number]) == 6
        for one in found[number]:
            assert_same_explanation(one, expected[number])
