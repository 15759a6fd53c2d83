"""The sentence that leads: which words it names, and how much it says of them."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normxlogit import Attribution, Explainer, Target
from normxlogit.show.dispatch import page, plain
from normxlogit.show.sentence import Role, as_text
from normxlogit.show.text.function_words import is_light, is_mark
from normxlogit.show.text.message import message
from normxlogit.show.text.prominence import prominent
from tests.helpers.pages import HTMLReader
from tests.helpers.results import pair, word_attribution

TEXT = "the staff were wonderful but the food was terrible ."


def measured(text: str, scores: list[float], **options: Any) -> Attribution:
    """An attribution whose zero means that a word does not matter."""
    return word_attribution(text, scores, **{"of_output": True, **options})


def said(shown: Attribution) -> str:
    """The sentence after what it is about."""
    return as_text(message(shown)).partition(": ")[2]


SCORES = [0.1, -0.2, 0.2, -1.0, 0.1, 0.0, 0.6, 0.4, 4.0, 0.3]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (SCORES, "mostly because of “terrible”; “wonderful” speaks against it."),
        (
            [0.1, -0.2, 0.2, -1.0, 0.1, 0.0, 3.0, 0.4, 4.0, 0.3],
            "mostly because of “terrible” and “food”; “wonderful” speaks against it.",
        ),
        (
            [abs(score) for score in SCORES],
            "mostly because of “terrible”; no word speaks against it.",
        ),
        (
            [-abs(score) for score in SCORES],
            "no word speaks for it; “terrible” speaks against it.",
        ),
        (
            [0.5, -0.2, 0.5, -2.5, 0.5, 0.5, 0.6, 0.5, 0.2, 0.5],
            "no word stands out for it; “wonderful” speaks against it.",
        ),
        ([1.0, 1.1] * 5, "no word stands out."),
        ([1.0, -1.1] * 5, "no word stands out."),
        ([0.0] * 10, "no word stands out."),
        # Three of these are above the others, and far from half of what supports it.
        (
            [1.1, 1.1, 1.1, 3.0, 1.1, 1.1, 2.5, 1.1, 1.1, -0.1],
            "above all because of “wonderful” and “food”.",
        ),
    ],
)
def test_where_zero_means_something(scores: list[float], expected: str) -> None:
    assert said(measured(TEXT, scores)) == expected


@pytest.mark.parametrize(
    ("light", "expected"),
    [
        (5.0, "partly because of “food”."),
        (6.1, "mostly because of “the”."),
    ],
)
def test_a_function_word_leads_only_far_ahead(light: float, expected: str) -> None:
    scores = [light, -0.1, 0.0, 0.1, 0.2, 0.1, 3.0, 0.1, 0.3, 0.4]
    assert said(measured(TEXT, scores)) == expected


def test_marks_and_function_words_are_known_and_negations_are_not_among_them() -> None:
    assert all(map(is_light, ["the", "The", "It’s", ";", "?!", "…", "—", "has", "<"]))
    assert not any(map(is_light, ["not", "no", "never", "food", "👍", "3", "ß", "很", "$"]))
    assert is_mark("...")
    assert not is_mark("the")


@pytest.mark.parametrize("offset", [0.0, 12.0, 50.0])
def test_without_a_zero_only_the_order_is_told(offset: float) -> None:
    """The same order and distances say the same, wherever their zero is."""
    scores = [offset + score for score in (0, -0.5, 0, -3.0, 0, 0.2, 0.9, 0, 4.0, 0.1)]
    expected = "“terrible” speaks for it most, “wonderful” least."
    assert said(word_attribution(TEXT, scores)) == expected


def test_below_zero_the_highest_opposes_least() -> None:
    scores = [score - 50.0 for score in (0, -0.5, 0, -3.0, 0, 0.2, 0.9, 0, 4.0, 0.1)]
    shown = word_attribution(TEXT, scores)
    assert said(shown) == "“terrible” speaks against it least, “wonderful” most."
    probable = word_attribution(TEXT, scores, readout="logprob")
    assert said(probable) == "“terrible” speaks for it most, “wonderful” least."


def test_a_flat_order_names_no_word() -> None:
    assert said(word_attribution("one two three four", [3.0, 3.1, 3.1, 3.0])) == (
        "no word stands out."
    )


def test_a_contrast_says_why_and_what_speaks_for_the_other() -> None:
    options: Any = {"explained": (1,), "contrast": "NEGATIVE"}
    shown = measured("good but bad", [4.0, 0.1, -2.0], **options)
    assert as_text(message(shown)) == (
        "Why POSITIVE 66.7% rather than NEGATIVE 33.3%: mostly because of “good”; “bad” speaks "
        "for NEGATIVE."
    )
    options = {"explained": (0,), "contrast": "POSITIVE"}
    shown = word_attribution("good but really very bad", [-4.0, 0.1, 0.1, 0.2, 3.0], **options)
    assert as_text(message(shown)) == (
        "For NEGATIVE 33.3% rather than POSITIVE 66.7%: “bad” speaks for it most; “good” speaks "
        "for POSITIVE."
    )


def test_what_is_not_predicted_has_no_because() -> None:
    shown = measured("good but bad", [-4.0, 0.1, 2.0], explained=(0,))
    assert as_text(message(shown)) == (
        "NEGATIVE 33.3%, which is not predicted: “bad” speaks for it; “good” speaks against it."
    )


def test_unsigned_scores_take_no_side() -> None:
    shown = measured("a fine good film", [0.1, 0.2, 4.0, 0.3], unsigned="more attention")
    assert said(shown) == "“good” has the largest score (more attention), which takes no side."


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"readout": "value", "of_output": True}, "“cat” raises it; “dog” lowers it."),
        ({"readout": "value"}, "“cat” raises it most, “dog” least."),
        ({"readout": "closeness"}, "“cat” by itself comes closest to it."),
        ({"readout": "distance"}, "“dog” by itself comes closest to it."),
    ],
)
def test_regressions_have_words_of_their_own(options: Any, expected: str) -> None:
    shown = word_attribution(
        "cat one two three dog",
        [9.0, 0.1, 0.0, 0.2, -8.0],
        labels=("LABEL_0",),
        explained=(0,),
        problem="regression",
        **options,
    )
    assert as_text(message(shown)) == f"0.000: {expected}"


def test_additive_closeness_leads_to_the_prediction() -> None:
    shown = word_attribution(
        "cat or dog",
        [4.0, 0.5, -3.0],
        labels=("LABEL_0",),
        explained=(0,),
        problem="regression",
    )
    assert said(replace(shown, base=(-1.5,))) == "“cat” leads to it; “dog” leads away from it."


def test_few_words() -> None:
    assert said(measured("terrible .", [0.0, 0.0])) == "“terrible” is its only word."
    none = measured("a b", [1.0, 1.0])
    none = replace(none, scores=np.where(none.special, none.scores, np.float32(np.nan)))
    assert said(none) == "it has no word with a score."
    assert (
        said(measured("... !", [1.0, 0.1])) == "mostly because of “...”; no word speaks against it."
    )


def test_a_word_that_is_repeated_is_named_once_and_counts_as_often_as_it_stands() -> None:
    shown = measured("Boring , boring , boring plot", [1.0, 0.1, 1.1, 0.1, 1.0, 0.5])
    assert said(shown) == "mostly because of “boring”; no word speaks against it."


def test_a_word_on_both_sides_is_told_by_its_place() -> None:
    shown = measured("Not dull at all , but not good", [3.0, 0.1, 0.1, 0.1, 0.1, 0.1, -2.9, 0.2])
    sentence = "mostly because of “Not” (1st); “not” (2nd) speaks against it."
    assert said(shown) == sentence
    assert sentence in plain(shown)
    many = measured("no " * 23, [*[0.1] * 11, 4.0, *[0.1] * 10, -3.9])
    assert said(many) == "mostly because of “no” (12th); “no” (23rd) speaks against it."


def test_a_long_word_is_cut() -> None:
    shown = measured("x" * 200 + " is bad", [4.0, 0.1, 0.1])
    assert max(map(len, re.split("[“”]", as_text(message(shown))))) <= 40


def test_the_sum_of_the_named_is_half_of_all_support_where_it_says_mostly() -> None:
    """Of random scores: what "mostly" and "stands out" say holds of the numbers themselves."""
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    seen = set()
    for _ in range(500):
        strengths = (random.normal(size=12) * random.gamma(0.4, 1.0, 12)).astype(np.float32)
        named = prominent(words, strengths)
        support = np.clip(strengths, 0, None)
        if named.supporters:
            assert named.majority == (2 * support[named.supporters].sum() >= support.sum())
            assert named.first
            assert support[named.supporters].min() >= support.max() / 2
        for side in (named.supporters, named.opposers):
            assert len(side) <= 3
        if not (named.supporters or named.opposers):
            sizes = np.sort(np.abs(strengths))
            assert sizes[-1] < 1.5 * sizes[:-1].mean()
        assert (strengths[named.opposers] < 0).all()
        seen.add((bool(named.supporters), bool(named.opposers), named.majority))
    assert len(seen) > 4


def test_terminal_page_and_plot_lead_with_it() -> None:
    shown = measured(TEXT, SCORES)
    sentence = as_text(message(shown))
    assert plain(shown).startswith(sentence)
    reader = HTMLReader(page([shown]))
    assert reader.text("h2", "strong", "em").startswith(re.sub("[“”]", "", sentence))
    words = [attributes.get("class") for name, attributes in reader.elements if name == "em"]
    assert words == [None, "nx-against"]
    (axes,) = shown.plot().axes
    assert axes.get_title("left").replace("\n", " ") == sentence


def test_words_of_the_sentence_have_the_colours_of_the_text() -> None:
    """NormXLogit's scores may all have one sign: a word that supports least opposes nothing."""
    scores = [5 + score for score in (0, -0.5, 0, -3.0, 0, 0.2, 0.9, 0, 4.0, 0.1)]
    for offset, roles in ((0, [Role.FOR, Role.WORD]), (-50, [Role.WORD, Role.AGAINST])):
        shown = word_attribution(TEXT, [score + offset for score in scores])
        named = [part.role for part in message(shown) if part.role not in (Role.PLAIN, Role.LABEL)]
        assert named == roles
        classes = [a.get("class") for tag, a in HTMLReader(page([shown])).elements if tag == "em"]
        by_role = {Role.FOR: None, Role.WORD: "nx-word", Role.AGAINST: "nx-against"}
        assert classes == [by_role[role] for role in roles]


def test_tokens_are_put_together_before_they_are_named() -> None:
    shown = measured("awful film", [3.0, 0.2])
    pieces = replace(
        shown,
        tokens=("[CLS]", "aw", "##ful", "film", "[SEP]"),
        scores=np.array([9, 1.5, 1.5, 0.2, 9], np.float32),
        special=np.array([True, False, False, False, True]),
        offsets=np.array([(0, 0), (0, 2), (2, 5), (6, 10), (0, 0)], np.int32),
        segments=np.array([-1, 0, 0, 0, -1], np.int32),
        word_numbers=np.array([-1, 0, 0, 1, -1], np.int32),
        norms=None,
        unit="token",
    )
    for look in ({}, {"tokens": True}):
        assert "“awful”" in plain(pieces, **look).splitlines()[0]
    names = [line.split()[0] for line in plain(pieces).splitlines() if "│" in line]
    assert names == ["awful", "film"]
    names = [line.split()[0] for line in plain(pieces, tokens=True).splitlines() if "│" in line]
    assert names == ["aw", "ful", "film"]
    assert "##ful" not in page([pieces]) + page([pieces], tokens=True)


PLAIN = {
    "A great movie with poor performers.": "poor",
    "My claim was rejected; the staff were wonderful but the food was terrible.": "terrible",
    "The plot is predictable and the jokes fall flat.": "flat",
    "An absolute delight from start to finish.": "delight",
    "I would not recommend this to anyone.": "not",
    "The acting was superb, although the ending disappointed me.": "superb",
    "Boring, boring, boring!": "boring",
    "A masterpiece of modern cinema.": "masterpiece",
    "The service was slow and the waiter was rude.": "rude",
    "I loved every minute of it.": "loved",
    "This is the worst phone I have ever bought.": "worst",
    "Delivery arrived two days late, and the box was broken.": "broken",
    "Despite a weak script, the cast is charming.": "charming",
    "What a waste of time and money.": "waste",
    "The battery dies after an hour.": "dies",
    "The director fails to make us care about anyone.": "fails",
    "Everything about this restaurant is perfect except the price.": "perfect",
    "The soup was cold, but I loved the dessert.": "loved",
    "Funny, moving and beautifully shot.": "funny",
    "It is not a bad film at all.": "not",
}


def test_the_word_that_a_reader_would_name_is_named() -> None:
    """Of sentences with plain reasons, by the demo; no word of a sentence need stand out."""
    explainer = Explainer.from_pretrained("demo")
    sentences = [message(explainer.explain(text).words()) for text in PLAIN]
    supporters = [
        [part.text.casefold() for part in sentence if part.role is Role.FOR]
        for sentence in sentences
    ]
    named = [word in words for word, words in zip(PLAIN.values(), supporters, strict=True)]
    assert sum(named) >= 18


def test_a_pair_says_in_which_text_a_word_is() -> None:
    assert "  two (text 2)  " in plain(pair())
    target = Target("POSITIVE", 1, 1.0, 0.6)
    assert said(replace(pair(), targets=(target,))) == "no word stands out."
