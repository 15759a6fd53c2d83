"""Several methods on one text: each column is what the method says by itself."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from scipy.stats import spearmanr

from normxlogit import (
    Attribution,
    Comparison,
    Explainer,
    InputError,
    MissingExtraError,
    ModelError,
    OptionError,
)
from normxlogit.results.comparison import rank_correlation
from normxlogit.show.comparison import table
from normxlogit.show.comparison.message import message
from normxlogit.show.sentence import as_text
from tests.helpers.models import causal_lm, classifier_explainer, image_classifier, token_classifier
from tests.helpers.pages import HOSTILE, HTMLReader, played
from tests.helpers.paths import ROOT
from tests.helpers.policy import assert_policy
from tests.helpers.results import word_attribution

TEXT = "A great movie with poor performers, unbelievably bad."
METHODS = ["normxlogit", "late_lrp:blocks=1", "occlusion", "attention"]


@pytest.fixture(scope="module")
def bert() -> Explainer:
    return classifier_explainer()


@pytest.fixture(scope="module")
def comparison(bert: Explainer) -> Comparison:
    return bert.compare(TEXT, [*METHODS, "progressive_inference", "attribution_head"])


def test_each_column_is_the_method_by_itself(bert: Explainer, comparison: Comparison) -> None:
    alone = [
        bert.explain(TEXT),
        bert.explain(TEXT, method="late_lrp", blocks=1),
        bert.explain(TEXT, method="occlusion"),
        bert.explain(TEXT, method="attention"),
    ]
    assert comparison.methods == tuple(METHODS)
    assert [word.text for word in comparison.words] == [
        TEXT[slice(*span)] for span in alone[0].words().offsets[1:-1]
    ]
    for row, share, attribution in zip(comparison.scores, comparison.shares, alone, strict=True):
        expected = attribution.words().scores[1:-1]
        np.testing.assert_array_equal(row, expected)
        np.testing.assert_allclose(share, expected / np.abs(expected).max(), rtol=1e-6)


def test_a_method_that_does_not_serve_the_model_says_why(comparison: Comparison) -> None:
    assert set(comparison.not_served) == {"progressive_inference", "attribution_head"}
    assert "needs a head" in comparison.not_served["attribution_head"]
    shown = HTMLReader(comparison.to_html()).text()
    for why in comparison.not_served.values():
        assert why in " ".join(str(comparison).split())
        assert why in shown


def test_rank_correlations_are_those_of_scipy(comparison: Comparison) -> None:
    expected = spearmanr(comparison.scores.astype(np.float64), axis=1).statistic
    np.testing.assert_allclose(comparison.rank_correlations, expected, atol=1e-12)
    generator = np.random.default_rng(0)
    for _ in range(50):
        one, other = generator.integers(-3, 3, (2, generator.integers(3, 9))).astype(float)
        if len(set(one)) > 1 and len(set(other)) > 1:
            assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert np.isnan(rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert np.isnan(rank_correlation(np.array([1.0]), np.array([2.0])))
    gap = np.array([np.nan, 1.0, 2.0, 3.0])
    assert rank_correlation(gap, np.array([9.0, 3.0, 2.0, 1.0])) == pytest.approx(-1)


def test_options_are_those_of_explain(bert: Explainer) -> None:
    pair = ("A great movie.", "It is bad.")
    options: dict[str, Any] = {"target": 1, "contrast": 0, "readout": "centered"}
    compared = bert.compare(pair, ["normxlogit", "normxlogit:readout=logprob:layer=1"], **options)
    first = bert.explain(pair, **options).words()
    other = bert.explain(pair, **options | {"readout": "logprob"}, layer=1).words()
    assert [word.segment for word in compared.words] == [0] * 4 + [1] * 4
    for row, words in zip(compared.scores, (first, other), strict=True):
        np.testing.assert_array_equal(row, words.scores[~words.special])
    assert compared.targets == first.targets
    assert "Text 2" in str(compared)
    assert "Text 2" in HTMLReader(compared.to_html()).text()


def test_every_target_has_its_part(bert: Explainer) -> None:
    compared = bert.compare(TEXT, METHODS[:2], target="all")
    assert len(compared.targets) == 3
    with pytest.raises(OptionError, match="axes target"):
        _ = compared.scores
    frame = compared.to_pandas()
    assert len(frame) == 3 * len(compared.words)
    for number, target in enumerate(compared.targets):
        part, rows = compared.at(number), frame[frame["target"] == target.label]
        np.testing.assert_array_equal(rows[METHODS[0]], part.scores[0])
        alone = bert.explain(TEXT, target=target.id).words()
        np.testing.assert_allclose(part.scores[0], alone.scores[1:-1], rtol=1e-5)
    assert " ".join(str(compared).split()).count("they rank the words") == 3
    assert len(compared.plot().axes) == 6  # a panel and a scale for each


def test_a_data_frame_has_a_row_for_each_word(comparison: Comparison) -> None:
    frame = comparison.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    first = comparison.first.to_pandas()
    own = ["target", "token", "start", "end", "segment", "word"]
    pd.testing.assert_frame_equal(
        frame[own], first.loc[~first["special"], own].reset_index(drop=True)
    )
    assert list(frame.columns) == [
        *own,
        *METHODS,
        *(f"{method} share" for method in METHODS),
    ]
    assert [TEXT[a:b] for a, b in zip(frame["start"], frame["end"], strict=True)] == list(
        frame["token"]
    )
    np.testing.assert_array_equal(frame[METHODS].to_numpy(np.float32).T, comparison.scores)
    shares = frame[[f"{method} share" for method in METHODS]]
    np.testing.assert_array_equal(shares.to_numpy(np.float32).T, comparison.shares)


def test_pandas_is_an_extra(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"normxlogit\[pandas\]"):
        comparison.to_pandas()


def test_json_has_every_result(comparison: Comparison) -> None:
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert data["schema"] == "normxlogit/comparison/1"
    assert data["not_served"] == dict(comparison.not_served)
    np.testing.assert_allclose(
        np.array(data["rank_correlations"][0]), comparison.rank_correlations, rtol=1e-12
    )
    schema = json.loads((ROOT / "docs/attribution.schema.json").read_text())
    for name, result in data["results"].items():
        Draft202012Validator(schema).validate(result)
        np.testing.assert_array_equal(
            Attribution.from_dict(result).scores, comparison.results[name].scores
        )


def test_page_terminal_and_plot_have_all_numbers(comparison: Comparison) -> None:
    page = comparison.to_html()
    assert_policy(page, images=False)
    shown = HTMLReader(page).text()
    figure = comparison.plot()
    assert "shares of each method's own largest" in figure.axes[0].get_xlabel()
    drawn = [text.get_text() for text in figure.axes[0].texts]
    for method, share in zip(METHODS, comparison.shares, strict=True):
        for value in share.tolist():
            number = f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
            one_sided = method == "attention" or (share >= 0).all()
            number = number.removeprefix("+") if one_sided else number
            assert number in shown
            assert number in str(comparison)
            assert number in drawn
        assert method in shown
    correlation = f"{comparison.rank_correlations[0, 2]:+.2f}".replace("-", "−")
    assert correlation in shown
    assert correlation in str(comparison)
    assert "In grey, size only: attention (their scores have no sign" in shown
    assert max(map(len, str(comparison).splitlines())) <= 88
    fragment = comparison._repr_html_()
    assert "Content-Security-Policy" not in fragment
    assert "Spearman" in HTMLReader(fragment).text()


def by_hand(words: str, **scores: tuple[list[float], dict[str, Any]]) -> Comparison:
    """A comparison of methods with these scores."""
    return Comparison(
        {
            name: word_attribution(words, of_words, method=name, **provenance)
            for name, (of_words, provenance) in scores.items()
        },
        {},
    )


CAUSE: dict[str, Any] = {"of_output": True}
SIZE: dict[str, Any] = {"unsigned": "more attention"}


def said(comparison: Comparison) -> str:
    return as_text(message(comparison)).partition(": ")[2]


def test_the_sentence_names_the_words_that_methods_name() -> None:
    words = "the food was terrible"
    scores = [0.1, 0.5, 0.2, 4.0]
    same = by_hand(words, one=(scores, CAUSE), two=(scores, {}), three=(scores, SIZE))
    assert as_text(message(same)) == (
        "POSITIVE 66.7%: all 3 methods name “terrible”; they rank the words much alike (mean rank "
        "correlation 1.00)."
    )
    assert str(same).startswith("POSITIVE 66.7%: all 3 methods name “terrible”;")
    other = [0.1, 4.0, 0.2, 0.5]
    flat = [1.0, 1.01, 1.0, 1.02]
    parted = by_hand(words, one=(scores, CAUSE), two=(other, CAUSE), three=(scores, SIZE))
    assert said(parted).startswith("one and three name “terrible”; two names “food”; they rank")
    assert said(by_hand(words, one=(scores, CAUSE), two=(flat, SIZE))).startswith(
        "one names “terrible”; two names none"
    )
    assert said(by_hand(words, one=(flat, SIZE), two=(flat, SIZE))).startswith(
        "no word stands out by any; they rank the words much alike (rank correlation 1.00)"
    )
    assert said(by_hand(words, one=(scores, CAUSE))) == "one names “terrible”."
    reverse = by_hand(words, one=(scores, CAUSE), two=([-s for s in scores], CAUSE))
    assert "they rank the words in reverse (rank correlation −1.00)" in said(reverse)


def test_a_column_of_one_sign_is_grey_where_zero_says_nothing() -> None:
    words = "the food was terrible"
    above, both = [1.0, 2.0, 1.5, 3.0], [-1.0, 2.0, 1.5, 3.0]
    compared = by_hand(
        words,
        raw=(above, {}),
        mixed=(both, {}),
        effect=(above, CAUSE),
        margin=(above, {"readout": "margin"}),
        size=(above, SIZE),
    )
    assert [kind.value for kind in table.kinds(compared)] == [
        "order only",
        *[""] * 3,
        "size only",
    ]
    columns = list(zip(*(row.cells for row in table.table(compared, 4)), strict=True))
    assert [cell.tint for cell in columns[0]] == pytest.approx([0, 0.5, 0.25, 1])
    assert [cell.number for cell in columns[0]] == ["0.33", "0.67", "0.50", "1.00"]
    assert [cell.tint for cell in columns[2]] == pytest.approx([1 / 3, 2 / 3, 1 / 2, 1])
    page = compared.to_html()
    assert page.count("nx-unsigned") == 2 * 4 + 1  # and in the style sheet
    assert "order only" in HTMLReader(page).text("small")
    assert "In grey, order only: raw (their scores all have one sign" in HTMLReader(page).text()
    nothing = by_hand("a b", one=([np.nan, np.nan], {}), two=([1.0, 2.0], {}))
    assert {cell.tint for row in table.table(nothing, 2) for cell in row.cells} == {None, 0.0, 1.0}
    assert str(nothing).startswith("POSITIVE 66.7%: ")
    alone = by_hand(words, raw=(above, {}))
    assert "supports" not in str(alone)
    probabilities = by_hand(words, one=([-1.0, -4.0, -2.0, -3.0], {"readout": "logprob"}))
    (first, last, *_), *_ = zip(*(row.cells for row in table.table(probabilities, 4)), strict=True)
    assert (first.tint, last.tint) == (1.0, 0.0)


@pytest.mark.browser
def test_words_stay_in_sight_where_a_table_is_wider_than_its_page(tmp_path: Path) -> None:
    names = [f"a method of a long name {n}" for n in range(8)]
    compared = by_hand("the food was terrible", **{n: ([1.0, 2.0, 1.5, 3.0], {}) for n in names})
    script = """
        document.body.style.width = "390px";
        const scroll = document.querySelector(".nx-scroll");
        scroll.scrollLeft = 10000;
        const left = (element) => element.getBoundingClientRect().left;
        const states = document.createElement("pre");
        states.id = "states";
        states.textContent = JSON.stringify({
          moved: scroll.scrollLeft,
          words: [...scroll.querySelectorAll("th:first-child")].map((th) => left(th)),
          edge: left(scroll),
          heights: [...scroll.querySelectorAll("tbody tr")].map((row) => row.offsetHeight),
          beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        });
        document.body.append(states);
    """
    states = played(compared.to_html(), script, tmp_path)
    assert states["moved"] > 100
    assert states["words"] == [states["edge"]] * 5
    assert max(states["heights"]) < 40  # one line, not a letter a line
    assert states["beyond"] == 0


def test_texts_stay_texts(bert: Explainer) -> None:
    compared = bert.compare(HOSTILE, ["normxlogit", "random"])
    reader = HTMLReader(compared.to_html())
    assert "script" not in {tag for tag, _ in reader.elements}
    assert "\x1b" not in str(bert.compare("a \x1b[31m great", ["normxlogit", "random"]))


def test_long_texts_list_their_strongest_words(bert: Explainer) -> None:
    text = " ".join(["good"] * 20 + ["bad", "movie"] * 20)
    compared = bert.compare(text, ["normxlogit"])
    assert len(compared.words) == 60
    assert "The 30 strongest of 60 words" in " ".join(str(compared).split())
    assert "Spearman" not in str(compared)


def test_tags_and_generated_text() -> None:
    tagger = token_classifier()
    compared = tagger.compare("A great movie", ["normxlogit", "occlusion"], position="movie")
    assert [word.text for word in compared.words] == ["A", "great", "movie"]
    llm = causal_lm()
    compared = llm.compare("A great movie", ["normxlogit", "logat"], target=" with poor")
    whole = llm.explain("A great movie", target=" with poor").whole().words()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(compared.scores[0], whole.scores[~whole.special])


def test_what_no_method_can_explain_is_an_error(bert: Explainer) -> None:
    with pytest.raises(InputError, match="empty or blank"):
        bert.compare("  ", METHODS)
    with pytest.raises(InputError, match="expected text, got list"):
        bert.compare(["A text."], METHODS)
    with pytest.raises(OptionError, match="no label 'X'"):
        bert.compare(TEXT, METHODS, target="X")
    with pytest.raises(OptionError, match=r"none of these .* attribution_head: .* progressive"):
        bert.compare(TEXT, ["attribution_head", "progressive_inference"])
    for methods in ("normxlogit", [], ["nope"], ["normxlogit", "normxlogit"], None):
        with pytest.raises(OptionError):
            bert.compare(TEXT, methods)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one layer"):
        bert.compare(TEXT, METHODS, layer="all")  # type: ignore[arg-type]
    images, pixels = image_classifier()
    with pytest.raises(ModelError, match="is for image-classification"):
        images.compare(pixels, METHODS)


def test_results_of_different_targets_are_no_comparison(bert: Explainer) -> None:
    one, other = (bert.explain(TEXT, target=n).words() for n in (0, 1))
    with pytest.raises(InputError, match="the same outputs"):
        Comparison({"one": one, "other": other}, {})
    with pytest.raises(InputError, match="one result or more"):
        Comparison({}, {"one": "why"})
