"""Words scored by the sum, the mean and the largest of their tokens, against plain loops."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from normxlogit import Attribution, Explainer, InputError, OptionError
from normxlogit.results.reductions import reduce_runs
from tests.helpers.paths import ROOT
from tests.helpers.results import generation

TEXT = "An unbelievably great movie. The plot is a mess, unbelievably!"
REDUCTIONS = ("sum", "mean", "max")


def plain(scores: list[float], reduction: str) -> float:
    """One number of several, those that are nan left out."""
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        return math.nan
    largest = max(known, key=lambda score: (abs(score), score))
    return {"sum": math.fsum(known), "mean": math.fsum(known) / len(known), "max": largest}[
        reduction
    ]


@pytest.fixture(scope="module")
def tokens(explainer: Explainer) -> Attribution:
    result: Attribution = explainer.explain(TEXT)
    return result


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_runs_of_any_shape(reduction: str, dtype: Any) -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        sizes = draw.integers(1, 5, draw.integers(1, 6))
        shape = (*draw.integers(1, 4, draw.integers(0, 3)), int(sizes.sum()))
        # Whole numbers, so that sizes of both signs tie, and nan.
        scores = draw.integers(-3, 4, shape).astype(dtype)
        scores[draw.random(shape) < 0.3] = np.nan
        starts = np.cumsum([0, *sizes[:-1]])
        reduced = reduce_runs(scores, starts, reduction)
        assert reduced.dtype == dtype
        for row, of_row in zip(
            scores.reshape(-1, shape[-1]), reduced.reshape(-1, len(sizes)), strict=True
        ):
            runs = np.split(row, starts[1:])
            expected = [plain(run.tolist(), reduction) for run in runs]
            np.testing.assert_allclose(of_row, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_words_are_reduced_and_special_tokens_stay(tokens: Attribution, reduction: str) -> None:
    words = tokens.words(reduce=reduction)
    summed = tokens.words()
    assert (words.unit, words.reductions, words.tokens) == ("word", (reduction,), summed.tokens)
    kept = [i for i in range(len(tokens)) if tokens.special[i]]
    numbers = tokens.word_numbers.tolist()
    by_number = {
        n: [float(tokens.scores[i]) for i, number in enumerate(numbers) if number == n]
        for n in sorted(set(numbers) - {-1})
    }
    assert max(map(len, by_number.values())) > 1
    expected = [plain(scores, reduction) for scores in by_number.values()]
    np.testing.assert_allclose(words.scores[~words.special], expected, rtol=1e-5)
    np.testing.assert_array_equal(words.scores[words.special], tokens.scores[kept])
    adds_up = math.isclose(
        float(words.scores.sum()), float(tokens.scores.sum()), rel_tol=1e-4, abs_tol=1e-4
    )
    assert adds_up == (reduction == "sum")
    np.testing.assert_array_equal(tokens.by("word", reduce=reduction).scores, words.scores)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_longer_parts_and_every_axis(explainer: Explainer, reduction: str) -> None:
    every = explainer.explain(TEXT, target="all", layer="all")
    ends = every.offsets[:, 1]
    first = np.flatnonzero(~every.special & (ends <= TEXT.index(".") + 1))
    spans = every.by([(0, TEXT.index(".") + 1)], reduce=reduction)
    assert spans.scores.shape == (*every.scores.shape[:-1], 1)
    for scores, reduced in zip(
        every.scores.reshape(-1, len(every)), spans.scores.reshape(-1), strict=True
    ):
        assert reduced == pytest.approx(plain(scores[first].tolist(), reduction), rel=1e-4)
    sentences = every.sentences(reduce=reduction)
    np.testing.assert_array_equal(sentences.scores[..., 1], spans.scores[..., 0])
    assert every.by("line", reduce=reduction).reductions == (reduction,)


def test_steps_are_told_apart(tokens: Attribution) -> None:
    assert tokens.reductions == ()
    assert tokens.words().sentences().reductions == ("sum",)
    largest = tokens.words(reduce="max")
    assert largest.sentences().reductions == ("max", "sum")
    assert largest.words(reduce="max").reductions == ("max",)
    assert largest.sentences().scores.sum() == pytest.approx(largest.scores.sum(), rel=1e-4)


def test_only_sums_keep_a_base_value(tokens: Attribution) -> None:
    additive = replace(tokens, base=(0.25,))
    assert additive.words().base_value == 0.25
    for reduction in ("mean", "max"):
        assert additive.words(reduce=reduction).base_value is None


def test_scores_of_whole_words_are_only_summed(explainer: Explainer, tokens: Attribution) -> None:
    whole = explainer.explain(TEXT, method="occlusion", replacement=5)
    by_token = explainer.explain(TEXT, method="occlusion", unit="token", replacement=5)
    provenance = replace(tokens.provenance, method="attribution_head")
    for reduction in ("mean", "max"):
        for result in (whole, replace(tokens, provenance=provenance)):
            for reduced in (result.words, result.sentences):
                with pytest.raises(OptionError, match=r"scores whole words .* Take their sum"):
                    reduced(reduce=reduction)
        assert by_token.words(reduce=reduction).reductions == (reduction,)
    assert whole.words().reductions == ("sum",)
    with pytest.raises(OptionError, match="reduce must be one of sum, mean, max; got 'median'"):
        tokens.words(reduce="median")


def test_a_generation() -> None:
    result = generation("An unbelievably good movie", " with bridges")
    words = result.words(reduce="max")
    for scores, reduced in zip(result.scores, words.scores, strict=True):
        runs = [scores[result.word_numbers == n].tolist() for n in words.word_numbers if n >= 0]
        expected = [plain(run, "max") for run in runs]
        np.testing.assert_allclose(reduced[words.word_numbers >= 0], expected, rtol=1e-6)
    explained = ~result.answer_special
    joined = words.whole()
    assert joined.reductions == ("max",)
    sums = np.nansum(words.scores[explained], 0)[: len(joined)]
    np.testing.assert_allclose(joined.scores, sums, rtol=1e-5)
    whole = result.whole()
    for n, score in zip(joined.word_numbers, whole.words(reduce="max").scores, strict=True):
        if n >= 0:
            run = whole.scores[whole.word_numbers == n].tolist()
            assert score == pytest.approx(plain(run, "max"))
    np.testing.assert_allclose(
        whole.words(reduce="mean").scores, result.words(reduce="mean").whole().scores, rtol=1e-4
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pages_and_terminals_say_how(tokens: Attribution, reduction: str) -> None:
    words = tokens.words(reduce=reduction)
    said = {
        "sum": "is the sum over its tokens",
        "mean": "is the mean of its tokens",
        "max": "is that of its token with the largest magnitude",
    }
    assert f"The score of a word {said[reduction]}." in words.to_html()
    assert (f"words by {reduction}" in str(words)) == (reduction != "sum")
    assert "in steps: max, then sum" in tokens.words(reduce="max").sentences().to_html()


def test_json_says_how(tokens: Attribution) -> None:
    validator = Draft202012Validator(
        json.loads((ROOT / "docs/attribution.schema.json").read_text())
    )
    for result in (tokens, *(tokens.words(reduce=r) for r in REDUCTIONS)):
        data = json.loads(json.dumps(result.to_dict()))
        validator.validate(data)
        assert data["reductions"] == list(result.reductions)
        assert Attribution.from_dict(data).reductions == result.reductions
        del data["reductions"]  # as older versions wrote it: sums
        validator.validate(data)
        as_before = () if result.unit == "token" else ("sum",)
        assert Attribution.from_dict(data).reductions == as_before


@pytest.mark.parametrize(
    ("unit", "changes", "why"),
    [
        ("token", {"reductions": ["sum"]}, "reductions"),
        ("word", {"reductions": ["median"]}, r"reductions\[0\]"),
        ("word", {"reductions": "max"}, "reductions"),
        ("word", {"reductions": ["max"], "base": [1.0]}, "sums, as there is a base value"),
    ],
)
def test_what_cannot_be_is_refused(
    tokens: Attribution, unit: str, changes: dict[str, Any], why: str
) -> None:
    data = tokens.by(unit).to_dict() if unit == "word" else tokens.to_dict()
    with pytest.raises(InputError, match=why):
        Attribution.from_dict(data | changes)
