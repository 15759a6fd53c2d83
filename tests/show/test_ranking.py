"""The strongest words, their shares, sentences of long texts, and the way from the base value."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from normxlogit import Attribution
from normxlogit.show.dispatch import page, plain
from normxlogit.show.text.ranking import ranked
from normxlogit.show.text.sentences import is_long, split
from normxlogit.show.text.waterfall import waterfall
from tests.helpers.pages import HTMLReader
from tests.helpers.results import GOOD_BAD, pair, word_attribution

WORDS = [f"w{n}" for n in range(90)]
LONG = " ".join(f"{word}." if n % 9 == 8 else word for n, word in enumerate(WORDS))
LONG = LONG.replace("w26. ", "w26.\n\n")


def long() -> Attribution:
    scores = np.random.default_rng(0).normal(size=90)
    return word_attribution(LONG, scores, of_output=True)


def test_the_strongest_come_first_and_shares_are_of_the_total() -> None:
    shown = word_attribution("a b c d", [1.0, -5.0, 0.0, 4.0])
    ranking = ranked(shown, "strength")
    assert [shown.tokens[row] for row in ranking.rows] == ["b", "d", "a", "c"]
    assert ranking.shares == ["50%", "40%", "10%", "0%"]
    assert ranked(shown, "text", special=True).shares == ["", "10%", "50%", "0%", "40%", ""]
    tiny = ranked(word_attribution("a b", [1.0, 0.001]), "strength")
    assert tiny.shares == ["100%", "<1%"]


@pytest.mark.parametrize(
    ("readout", "expected"),
    [
        ("closeness", ["c", "a", "b"]),
        ("distance", ["b", "a", "c"]),
        ("logprob", ["c", "a", "b"]),
    ],
)
def test_what_has_no_size_is_ranked_by_order_and_has_no_share(
    readout: str, expected: list[str]
) -> None:
    scores = [-2.0, -4.0, -1.0] if readout == "logprob" else [2.0, 0.0, 3.0]
    shown = word_attribution("a b c", scores, readout=readout)
    ranking = ranked(shown, "strength")
    assert [shown.tokens[row] for row in ranking.rows] == expected
    assert "%" not in plain(shown).partition("\n\n")[2]


def test_a_page_lists_ten_words_and_all_others_on_request() -> None:
    shown = long()
    scores = shown.scores[1:-1]
    by_size = [shown.tokens[1 + i] for i in np.argsort(-np.abs(scores), kind="stable")]
    reader = HTMLReader(page([shown]))
    names = [data for tag, data in reader.texts if tag == "th" and data in shown.tokens]
    at = len(names) - 2 * 90  # before them, the words of the sentences; behind, all numbers
    assert names[at : at + 90] == by_size
    assert "Show all 90 words" in reader.text("summary")
    in_order = HTMLReader(page([shown], order="text"))
    names = [data for tag, data in in_order.texts if tag == "th" and data in shown.tokens]
    assert names[at : at + 90] == list(shown.tokens[1:-1])
    assert "Show all" not in in_order.text("summary")


def test_a_long_text_is_split_into_its_sentences() -> None:
    shown = long()
    assert is_long(shown)
    assert not is_long(GOOD_BAD)
    assert not is_long(word_attribution(" ".join(WORDS), [1.0] * 90)), "one sentence"
    assert not is_long(shown.sentences())
    (sentences,) = split(shown, shown.sentences())
    assert "".join(piece.text for part in sentences for piece in part.pieces) == LONG
    words = [[shown.tokens[word].strip(".") for word in part.words] for part in sentences]
    assert words == [WORDS[n : n + 9] for n in range(0, 90, 9)]
    reader = HTMLReader(page([shown]))
    classes = [attributes.get("class") or "" for name, attributes in reader.elements]
    marked = [name for name in classes if "nx-sentence" in name]
    assert len(marked) == 10
    assert [n for n, name in enumerate(marked) if "nx-break" in name] == [2]
    sums = [float(shown.scores[1 + n : 10 + n].sum()) for n in range(0, 90, 9)]
    assert [("nx-against" in name) for name in marked] == [total < 0 for total in sums]
    table = plain(shown).partition("Strongest sentences\n")[2].partition("\n\n")[0].splitlines()
    shown_scores = [re.findall(r"[+−]\d+\.\d+", line)[0] for line in table if "│" in line]
    numbers = [float(score.replace("−", "-")) for score in shown_scores]
    expected = sorted(sums, key=abs, reverse=True)[:5]
    np.testing.assert_allclose(numbers, expected, atol=0.006)
    assert "... and 5 more sentences" in table[-1]


def test_both_texts_of_a_pair_are_split() -> None:
    shown = long()
    segments = shown.segments.copy()
    segments[50:-1] = 1
    both = replace(shown, texts=(LONG, LONG), segments=segments)
    first, second = split(both, both.sentences())
    assert sum(len(part.words) for part in first) == 49
    assert sum(len(part.words) for part in second) == 41
    assert "".join(piece.text for part in second for piece in part.pieces) == LONG
    blocks = page([both]).partition('class="nx-legend"')[0]
    assert "by sentence" in blocks
    assert 'scope="colgroup"' not in blocks
    assert "(text 1)" not in blocks


def additive(count: int = 30, **options: Any) -> Attribution:
    scores = np.random.default_rng(1).normal(size=count)
    shown = word_attribution(" ".join(WORDS[:count]), scores, of_output=True, **options)
    scored = np.where(shown.special, np.nan, shown.scores).astype(np.float32)
    return replace(shown, scores=scored, base=(-1.25,))


def test_a_waterfall_leads_from_the_base_value_to_the_total() -> None:
    shown = additive()
    rows = ranked(shown, "strength").rows[:4]
    fall = waterfall(shown, shown.tokens, rows)
    assert fall is not None
    assert [step.name for step in fall.steps] == [
        *(shown.tokens[row] for row in rows),
        "26 other words",
    ]
    at = -1.25
    for step, row in zip(fall.steps, rows, strict=False):
        assert step.start == pytest.approx(at)
        at += float(shown.scores[row])
        assert step.end == pytest.approx(at)
    assert (
        fall.steps[-1].end == fall.total == pytest.approx(-1.25 + float(shown.scores[1:-1].sum()))
    )
    assert waterfall(GOOD_BAD, GOOD_BAD.tokens, [1]) is None
    part = shown.by([(0, 2)])
    assert "base value" in plain(shown)
    assert "base value" not in plain(part), "the sum of a part is not the model's output"


def test_page_and_plot_draw_the_waterfall() -> None:
    shown = additive(5)
    changes = sorted(shown.scores[1:-1].tolist(), key=abs, reverse=True)
    (axes,) = shown.plot().axes
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    widths = [patch.get_width() for patch in patches]
    np.testing.assert_allclose(widths, [*changes, sum(changes)], rtol=1e-5)
    starts = [patch.get_x() for patch in patches]
    np.testing.assert_allclose(starts[:-1], -1.25 + np.cumsum([0, *changes[:-1]]), rtol=1e-5)
    assert starts[-1] == -1.25
    html = page([shown]).partition("From the base value")[2].partition("</table>")[0]
    drawn = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html)
    ends = [float(left) + float(width) for left, width in drawn]
    assert len(drawn) == 6
    assert min(float(left) for left, _ in drawn) == 0.0
    assert max(ends) == pytest.approx(100.0)
    scale = max(0.0, *np.cumsum(changes)) - min(0.0, *np.cumsum(changes))
    np.testing.assert_allclose(
        [float(width) for _, width in drawn],
        [100 * abs(change) / scale for change in [*changes, sum(changes)]],
        atol=0.02,
    )


def test_a_plot_of_a_long_text_says_how_many_words_it_leaves_out() -> None:
    (axes,) = long().plot().axes
    assert len(axes.get_yticklabels()) == 20
    assert "... and 70 more words" in axes.get_xlabel()
    assert "text 2" not in "".join(label.get_text() for label in axes.get_yticklabels())
    labels = [label.get_text() for label in pair().plot().axes[0].get_yticklabels()]
    assert labels == ["two (text 2)", "one (text 1)"]
