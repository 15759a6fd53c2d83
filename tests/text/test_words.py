"""Words and sentences of texts in several scripts, for the three kinds of tokenizer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from normxlogit import Attribution, Explainer, InputError
from normxlogit.text.words import inside_characters, sentence_spans, word_numbers
from tests.helpers.builders import CORPUS, KINDS, classifier, tokenizer

EXPLAINERS: dict[str, Explainer] = {}


def explainer_of(kind: str) -> Explainer:
    if kind not in EXPLAINERS:
        words: PreTrainedTokenizerBase = tokenizer(kind, model_max_length=512)
        EXPLAINERS[kind] = Explainer(
            classifier(words, max_position_embeddings=512, num_labels=2), words
        )
    return EXPLAINERS[kind]


def words_of(kind: str, text: str) -> list[str]:
    result = explainer_of(kind).explain(text).words()
    return [
        token for token, special in zip(result.tokens, result.special, strict=True) if not special
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A great movie.", ["A", "great", "movie", "."]),
        (
            "I didn't like it, they’re bad!",
            ["I", "didn't", "like", "it", ",", "they’re", "bad", "!"],
        ),
        ("unbelievably\n\ngood", ["unbelievably", "good"]),
        ("  spaces   around  ", ["spaces", "around"]),
        ("¿Qué? ¡Sí!", ["¿", "Qué", "?", "¡", "Sí", "!"]),
        ("Мне понравился", ["Мне", "понравился"]),
        ("فيلم جيد", ["فيلم", "جيد"]),
        ("यह फिल्म अच्छी है", ["यह", "फिल्म", "अच्छी", "है"]),
        ("good 👍🏽 movie", ["good", "👍🏽", "movie"]),
        ("a 👨‍👩‍👧 film", ["a", "👨‍👩‍👧", "film"]),
        ("x'", ["x", "'"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("(good)", ["(", "good", ")"]),
    ],
)
def test_words_are_those_that_a_reader_sees(kind: str, text: str, expected: list[str]) -> None:
    assert words_of(kind, text) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_without_spaces_are_not_one_word(kind: str) -> None:
    words = words_of(kind, "我喜欢这部电影 因为它很好看。")
    assert "".join(words) == "我喜欢这部电影因为它很好看。"
    assert len(words) > 4
    assert words[-1] == "。"


texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.lists(st.sampled_from(" ".join(CORPUS).split()), min_size=1, max_size=12).map(" ".join),
    st.text(st.sampled_from("ab '’.-!\n\t 👍🏽👩‍👧é́我 は"), min_size=1, max_size=30),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_words_keep_the_sum_the_order_and_the_text(kind: str, text: str) -> None:
    try:
        tokens = explainer_of(kind).explain(text)
    except InputError:
        return
    words = tokens.words()
    np.testing.assert_allclose(words.scores.sum(), tokens.scores.sum(), rtol=1e-4, atol=1e-4)
    sentences = tokens.sentences().scores.sum()
    np.testing.assert_allclose(sentences, tokens.scores.sum(), rtol=1e-4, atol=1e-4)
    numbers = tokens.word_numbers[~tokens.special]
    assert (np.diff(numbers) >= 0).all()
    assert set(numbers) == set(range(int(numbers.max()) + 1))
    for word, (start, end), special in zip(words.tokens, words.offsets, words.special, strict=True):
        if not special:
            assert text[start:end].strip() == word
    starts = words.offsets[~words.special, 0]
    assert (np.diff(starts) >= 0).all()


@pytest.mark.parametrize("text", ["👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️‍🔥"])
def test_what_a_reader_sees_as_one_character_is_one_word(text: str) -> None:
    """Whatever a tokenizer says of its code points."""
    spans = [(n, n + 1) for n in range(len(text))]
    numbers = word_numbers([text], spans, [0] * len(text), list(range(len(text))))
    assert numbers.tolist() == [0] * len(text)


def test_pairs_are_numbered_on(explainer: Explainer) -> None:
    result = explainer.explain(("A great movie.", "A mess."))
    words = result.words()
    assert words.tokens == (
        "<s>", "A", "great", "movie", ".", "</s>", "A", "mess", ".", "</s>",
    )  # fmt: skip
    assert words.segments.tolist() == [-1, 0, 0, 0, 0, -1, 1, 1, 1, -1]
    assert words.texts == ("A great movie.", "A mess.")


def test_given_words_stay_words(explainer: Explainer) -> None:
    given_words = ["A", "great-movie", "didn't", "."]
    result: Any = explainer.explain(given_words, is_split_into_words=True)
    assert result.words().tokens == ("<s>", *given_words, "</s>")
    assert result.text == "A great-movie didn't ."
    many: list[Any] = [given_words, ["mess"]]
    first, second = explainer.explain(many, is_split_into_words=True)
    assert isinstance(first, Attribution)
    assert isinstance(second, Attribution)
    np.testing.assert_allclose(first.scores, result.scores, rtol=1e-5, atol=1e-5)
    assert second.text == "mess"
    pair = explainer.explain((given_words, ["a mess"]), is_split_into_words=True)
    assert pair.words().tokens == ("<s>", *given_words, "</s>", "a mess", "</s>")


def test_special_tokens_in_the_text_are_special(explainer: Explainer) -> None:
    result = explainer.explain("good </s> bad")
    marked = [t for t, s in zip(result.tokens, result.special, strict=True) if s]
    assert marked == ["<s>", "</s>", "</s>"]


def test_sentences() -> None:
    text = 'One is "good." Two?! Three…\nfour 我喜欢。这部电影。 3.5 is e.g.'
    assert [text[slice(*span)].strip() for span in sentence_spans(text)] == [
        'One is "good."',
        "Two?!",
        "Three…",
        "four 我喜欢。",
        "这部电影。",
        "3.5 is e.g.",
    ]
    assert sentence_spans("no end") == [(0, 6)]
    assert sentence_spans(" \n ") == [(0, 3)]
    assert sentence_spans("\n one. two ") == [(0, 7), (7, 11)]


@given(st.text(st.sampled_from("ab \t\n\r\x0b\x85\u200d\u0301é👍🏽🇩🇪")))
@settings(deadline=None)
def test_characters_as_readers_see_them(text: str) -> None:
    inside, at = set(), 0
    for seen in regex.findall(r"\X", text):
        inside |= set(range(at + 1, at + len(seen)))
        at += len(seen)
    assert inside_characters(text) == inside


def test_ascii_characters_stand_alone_but_for_line_breaks() -> None:
    pairs = [chr(a) + chr(b) for a in range(128) for b in range(128)]
    assert [pair for pair in pairs if inside_characters(pair)] == ["\r\n"]
    assert [pair for pair in pairs if len(regex.findall(r"\X", pair)) == 1] == ["\r\n"]


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_sums_of_words_are_those_of_a_loop(shape: tuple[int, ...]) -> None:
    text = "Don't watch 我喜欢 it twice, they're unbelievably good!"
    result = explainer_of("wordpiece").explain(text)
    chance = np.random.default_rng(0)
    scores = chance.normal(size=(*shape, len(result))).astype(np.float32)
    scores[..., result.word_numbers == 1] = np.nan
    scores[..., np.flatnonzero(result.word_numbers == 0)[0]] = np.nan
    words = replace(result, scores=scores, norms=None, logits=None).words()
    sums: dict[Any, Any] = {}
    for i, number in enumerate(result.word_numbers.tolist()):
        key = ("special", i) if result.special[i] else number
        before = sums.get(key, np.full(shape, np.nan))
        score = scores[..., i].astype(float)
        sums[key] = np.where(
            np.isnan(before), score, before + np.where(np.isnan(score), 0.0, score)
        )
    assert len(words) == len(sums) > 8
    for n, expected in enumerate(sums.values()):
        np.testing.assert_allclose(words.scores[..., n], expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(words.scores).any()
