"""A verification in words: what was hidden, what became of the prediction, and what it took."""

from dataclasses import replace
from typing import Any

import pytest

from normxlogit import Attribution
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.results import GOOD_BAD, VERIFIED, hostile, verification, word_attribution


def receipt(attribution: Attribution) -> str:
    """What the terminal says of it, on one line."""
    text = " ".join(str(attribution).split())
    return text[text.index("Checked by hiding words") : text.rindex(" normxlogit, readout")]


def test_sentences_say_what_was_measured() -> None:
    assert receipt(VERIFIED) == (
        "Checked by hiding words Hiding “good” and “but” takes POSITIVE from 90.0% to 20.0%, "
        "hiding two random words to 62.5% on average. Hiding all other words takes POSITIVE to "
        "80.0%, hiding all but two random words to 18.8% on average. Over 30 random sets of words, "
        "sums of the scores explain 75% of the variance of what the model says; the same scores "
        "dealt out at random, none. Words hidden behind the mask token; means over 2 random "
        "orders; 70 further forward passes."
    )
    shown = HTMLReader(VERIFIED.to_html()).text()
    for part in receipt(VERIFIED).split(". "):
        assert part.removeprefix("Checked by hiding words ").rstrip(".") in shown
    for amount in ("90.0%", "20.0%", "62.5%", "80.0%", "18.8%"):
        assert amount in HTMLReader(VERIFIED.to_html()).text("td")
    assert "Checked by hiding words" not in GOOD_BAD.to_html() + str(GOOD_BAD)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"operator": "remove"}, "Words hidden by the attention mask; means"),
        ({"operator": "eos"}, "Words hidden behind the end-of-text token; means"),
        ({"top": ("good",)}, "Hiding “good” takes POSITIVE from 90.0% to 20.0%, hiding a random"),
        ({"top": ("a", "b", "c")}, "Hiding “a”, “b” and “c” takes POSITIVE"),
        ({"top": ("a", "b", "c")}, "hiding three random words to 62.5% on average."),
        ({"words": 1, "top": ("good",)}, "to 20.0%; there is no other word to compare it with."),
        (
            {"sets": 0, "explained_variance": None, "shuffled_variance": None},
            "hardly moves with words hidden, so sums explain nothing",
        ),
        ({"explained_variance": -3.0}, "sums of the scores explain none of the variance"),
        ({"without_top": 0.95}, "takes POSITIVE from 90.0% to 95.0%"),
    ],
)
def test_every_case_has_its_words(changes: dict[str, Any], sentence: str) -> None:
    shown = replace(VERIFIED, verifications=(verification(**changes),))
    assert sentence in receipt(shown)
    assert sentence in " ".join(HTMLReader(shown.to_html()).text().split())


def test_scores_that_do_not_add_up_are_not_said_to() -> None:
    assert "variance" not in receipt(replace(VERIFIED, base=None))


def test_a_value_moves_by_a_distance() -> None:
    value = word_attribution(
        "a b", [1.0, -2.0], labels=("LABEL_0",), explained=(0,), problem="regression"
    )
    measured = verification(whole=2.0, without_top=-1.5, random_without=(1.0, 3.0))
    assert (
        "takes the value from 2.000 to −1.500; hiding two random words moves it by 1.000 on average"
    ) in receipt(replace(value, verifications=(measured,)))


def test_every_target_has_its_receipt() -> None:
    both = word_attribution("a b", [[1.0, 2.0], [3.0, 4.0]], explained=(0, 1), axes=("target",))
    both = replace(both, verifications=(verification(whole=0.25), verification(whole=0.75)))
    shown = receipt(both)
    assert (
        "Checked by hiding words: NEGATIVE Hiding “good” and “but” takes NEGATIVE from 25" in shown
    )
    assert (
        "Checked by hiding words: POSITIVE Hiding “good” and “but” takes POSITIVE from 75" in shown
    )
    assert both.select(target="POSITIVE").verification == verification(whole=0.75)


def test_words_and_labels_stay_text() -> None:
    shown = replace(hostile(), verifications=(verification(top=(HOSTILE, "\x1b[31m")),))
    assert "script" not in {tag for tag, _ in HTMLReader(shown.to_html()).elements}
    assert "\x1b" not in str(shown)
