"""Agreement with evidence: figures by hand, by scikit-learn, and properties of every ranking."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    auc,
    average_precision_score,
    f1_score,
    jaccard_score,
    precision_recall_curve,
)
from transformers import PreTrainedTokenizerBase

from normxlogit import Attribution, Explainer, InputError, OptionError
from normxlogit.evaluation import agreement
from normxlogit.evaluation.metrics.plausibility import (
    auprc,
    average_precision,
    dot_product,
    iou,
    rationale_mask,
    token_f1,
)
from tests.helpers.builders import KINDS, classifier, tokenizer

RANKED = [4.0, 3.0, 2.0, 1.0]
FIGURES: list[Any] = [
    dot_product,
    average_precision,
    auprc,
    lambda scores, evidence: token_f1(scores, evidence, 1),
    lambda scores, evidence: iou(scores, evidence, 1),
]


@st.composite
def ranked(draw: st.DrawFn) -> tuple[Any, Any]:
    """Scores, many of them equal, and evidence that some tokens are and some are not."""
    length = draw(st.integers(2, 12))
    numbers = st.integers(-4, 4) | st.floats(-50, 50)
    scores = draw(st.lists(numbers, min_size=length, max_size=length))
    count = draw(st.integers(1, length - 1))
    chosen = draw(st.permutations(range(length)))[:count]
    return np.array(scores, np.float64), np.isin(np.arange(length), chosen)


def test_average_precision_by_hand() -> None:
    assert average_precision(RANKED, [True, False, False, False]) == 1
    assert average_precision(RANKED, [False, False, True, False]) == pytest.approx(1 / 3)
    both = [False, True, False, True]
    assert average_precision(RANKED, both) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 4)
    assert average_precision([-1, 0, 7, 3], both) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 3)


def test_equal_scores_come_in_together() -> None:
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == pytest.approx(1 / 4)
    assert average_precision([2, 1, 1, 0], [False, True, False, False]) == pytest.approx(1 / 3)


def test_auprc_by_hand() -> None:
    """From (0, 1) to recall one half at precision one, and on to recall one at two thirds."""
    found = auprc(RANKED, [True, False, True, False])
    assert found == pytest.approx(0.5 * 1 + 0 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_dot_product_by_hand() -> None:
    scores = np.log([1.0, 2.0, 5.0])
    assert dot_product(scores, [False, True, False]) == pytest.approx(2 / 8)
    assert dot_product([1, 2, 5], [True, False, True], "sum") == pytest.approx(6 / 8)
    assert dot_product([1000.0, 999.0], [True, False]) == pytest.approx(1 / (1 + np.exp(-1)))
    assert dot_product([0, 0, 0], [True, False, False], "sum") == pytest.approx(1 / 3)


def test_selected_tokens_by_hand() -> None:
    rationale = [True, False, False, True]
    assert token_f1(RANKED, rationale, 1) == pytest.approx(2 / 3)
    assert token_f1(RANKED, rationale, 3) == pytest.approx(2 / 5)
    assert iou(RANKED, rationale, 1) == pytest.approx(1 / 2)
    assert iou(RANKED, rationale, 3) == pytest.approx(1 / 4)
    assert token_f1([1, 1, 1, 1], rationale, 1) == pytest.approx(2 / 3), "the first of equals"


@settings(deadline=None)
@given(ranked())
def test_figures_are_those_of_scikit_learn(case: tuple[Any, Any]) -> None:
    scores, evidence = case
    assert average_precision(scores, evidence) == pytest.approx(
        average_precision_score(evidence, scores)
    )
    precision, recall, _ = precision_recall_curve(evidence, scores)
    assert auprc(scores, evidence) == pytest.approx(auc(recall, precision))
    for top in range(1, len(scores) + 1):
        selected = np.zeros(len(scores), bool)
        selected[sorted(range(len(scores)), key=lambda i: -scores[i])[:top]] = True
        assert token_f1(scores, evidence, top) == pytest.approx(f1_score(evidence, selected))
        assert iou(scores, evidence, top) == pytest.approx(jaccard_score(evidence, selected))


@settings(deadline=None)
@given(ranked(), st.integers(0, 100))
def test_figures_of_rankings(case: tuple[Any, Any], seed: int) -> None:
    scores, evidence = case
    order = np.random.default_rng(seed).permutation(len(scores))
    for figure in (average_precision, auprc, dot_product):
        value = figure(scores, evidence)
        assert 0 <= value <= 1 + 1e-12
        assert figure(scores[order], evidence[order]) == pytest.approx(value)
    higher = np.where(evidence, scores + 1, scores)
    for figure in (average_precision, dot_product):
        assert figure(higher, evidence) >= figure(scores, evidence) - 1e-12
    stretched = np.unique(scores, return_inverse=True)[1]
    assert average_precision(stretched, evidence) == average_precision(scores, evidence)
    assert average_precision(evidence.astype(float), evidence) == 1
    share = dot_product(scores, evidence) + dot_product(scores, ~evidence)
    assert share == pytest.approx(1)
    assert dot_product(scores + 7, evidence) == pytest.approx(dot_product(scores, evidence))
    mass = np.abs(scores)
    assert dot_product(mass * 3, evidence, "sum") == pytest.approx(
        dot_product(mass, evidence, "sum")
    )


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    ("scores", "evidence", "says"),
    [
        ([1, 2], [False, False], "no token of 2 is evidence"),
        ([1, 2], [True, True], "every token of 2 is evidence"),
        ([], [], "evidence must be a bool"),
        ([], np.zeros(0, bool), "no token of 0"),
        ([1, np.nan, np.inf], [True, False, False], "2 of 3 scores are nan or infinite"),
        ([1, 2, 3], [True, False], r"of the same tokens, \[tokens\]; got \[3\] and \[2\]"),
        ([[1, 2]], [[True, False]], r"got \[1, 2\] and \[1, 2\]"),
        ([1, 2, 3], [0, 2, 1], "a bool for each token, got int64"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    figure: Any, scores: Any, evidence: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        figure(scores, evidence)


def test_options_are_checked() -> None:
    evidence = [True, False]
    with pytest.raises(InputError, match=r"below zero \(-2\) are no shares"):
        dot_product([1, -2], evidence, "sum")
    with pytest.raises(OptionError, match="one of softmax, sum; got 'max'"):
        dot_product([1, 2], evidence, "max")
    for top in (0, 3, -1):
        with pytest.raises(OptionError, match=f"from 1 to 2, got {top}"):
            token_f1([1, 2], evidence, top)
    wrong: Any
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(OptionError, match="must be a whole number from 1"):
            iou([1, 2], evidence, wrong)


@pytest.fixture(scope="module", params=KINDS)
def explained(request: pytest.FixtureRequest) -> Attribution:
    words: PreTrainedTokenizerBase = tokenizer(request.param)
    explainer: Explainer = Explainer(classifier(words), words)
    found: Attribution = explainer.explain(("A great movie.", "I didn't like it."))
    return found


def marked(attribution: Attribution, mask: Any) -> list[str]:
    """The characters of the tokens in a mask, by text, without spaces."""
    inside: list[set[int]] = [set() for _ in attribution.texts]
    for i in np.flatnonzero(mask):
        inside[attribution.segments[i]].update(range(*attribution.offsets[i]))
    return [
        "".join(character for n, character in enumerate(text) if n in own).replace(" ", "")
        for text, own in zip(attribution.texts, inside, strict=True)
    ]


def test_spans_of_words_hold_their_tokens(explained: Attribution) -> None:
    spans = [[(2, 7)], [(2, 8), (14, 16)]]
    mask = rationale_mask(explained, spans)
    assert marked(explained, mask) == ["great", "didn'tit"]
    assert not mask[explained.special].any()
    words = explained.words()
    found = rationale_mask(words, spans)
    assert [token for token, held in zip(words.tokens, found, strict=True) if held] == [
        "great",
        "didn't",
        "it",
    ]
    part = rationale_mask(words, [[(9, 11)], []])
    assert [words.tokens[i] for i in np.flatnonzero(part)] == ["movie"], "a part stands for it all"


def test_the_space_before_a_word_is_not_the_word(explained: Attribution) -> None:
    mask = rationale_mask(explained, [[(1, 2 + len("great"))], []])
    assert marked(explained, mask) == ["great", ""]
    with pytest.raises(InputError, match=r"span \(1, 2\) \(' '\) holds no token"):
        rationale_mask(explained, [[(1, 2)], []])


def test_spans_that_are_in_no_text_are_refused(explained: Attribution) -> None:
    with pytest.raises(InputError, match="spans for 1 texts, and the attribution has 2"):
        rationale_mask(explained, [[(2, 7)]])
    for span in [(3, 3), (-1, 2), (2, 99)]:
        with pytest.raises(InputError, match="not inside a text of 14"):
            rationale_mask(explained, [[span], []])
    with pytest.raises(OptionError, match="attribution of spans has no place"):
        rationale_mask(explained.by([(0, 7)]), [[(0, 1)], []])


def test_agreement_over_texts(explained: Attribution) -> None:
    """By the functions for one text, on words, without the special ones."""
    found = [explained.words(), explained.words()]
    rationales = [[[(2, 7)], []], [[(0, 1), (8, 13)], [(0, 1), (2, 8)]]]
    got = agreement(found, rationales)
    assert got.top == 2, "one word, and four: two and a half, rounded to even"
    scores = explained.words().scores[~explained.words().special]
    spelt = [t for t, s in zip(found[0].tokens, found[0].special, strict=True) if not s]
    chosen = [{"great"}, {"A", "movie", "I", "didn't"}]
    for n, words in enumerate(chosen):
        mask = np.array([word in words for word in spelt])
        assert got.average_precision[n] == pytest.approx(average_precision_score(mask, scores))
        assert got.token_f1[n] == token_f1(scores, mask, 2)
        assert got.iou[n] == iou(scores, mask, 2)
        assert got.auprc[n] == auprc(scores, mask)
    many = agreement(found, rationales, top=100)
    assert many.token_f1[0] == pytest.approx(2 / (1 + len(scores))), "all there are"


def test_agreement_says_which_text_is_wrong(explained: Attribution) -> None:
    good = [[(2, 7)], []]
    with pytest.raises(InputError, match="text 1: no token of"):
        agreement([explained] * 2, [good, [[], []]])
    with pytest.raises(InputError, match="there are 1 rationales, and more attributions"):
        agreement([explained] * 2, [good])
    with pytest.raises(InputError, match="there are 1 attributions, and 2 rationales"):
        agreement([explained], [good, good])
    with pytest.raises(InputError, match="there are 0 attributions"):
        agreement([], [])
    with pytest.raises(OptionError, match="must be a whole number from 1"):
        agreement([explained], [good], top=1.5)  # type: ignore[arg-type]
