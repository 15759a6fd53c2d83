"""A verification says what the model does with words hidden: a plain loop says the same."""

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from normxlogit import (
    Attribution,
    Explainer,
    InputError,
    ModelError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.evaluation.verification import count_top, random_sets
from tests.helpers.heads import bag_explainer, centred, fit_tiny, outputs_with_words
from tests.helpers.models import causal_lm, classifier_explainer, image_classifier
from tests.helpers.results import SOUND, chat, generation
from tests.helpers.state import assert_unchanged, offloaded_state

FIVE = "a great movie is bad"
SEVEN = "one great movie with a poor plot"


def amounts(logits: Any, problem: str) -> Any:
    """What outcomes are by their definition: probabilities, or values."""
    if problem == "regression":
        return logits
    if problem == "multi_label_classification":
        return 1 / (1 + np.exp(-logits))
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def by_hand(explainer: Explainer, attribution: Attribution, number: int) -> dict[str, Any]:
    """The outcomes for one target, from one pass after the other with sets of words hidden."""
    text, target = attribution.text, attribution.targets[number]
    words = text.split()
    part = attribution.at(number)
    scores = part.scores[~part.special]
    ranked = sorted(range(len(words)), key=lambda n: (-scores[n], n))
    positive = sorted((float(s) for s in scores if s > 0), reverse=True)
    count = 1
    while count < min(3, len(words) - 1) and 2 * sum(positive[:count]) < sum(positive):
        count += 1

    def outcome(hidden: Any) -> float:
        shown = frozenset(range(len(words))) - set(hidden)
        logits = outputs_with_words(explainer, text, shown)
        return float(amounts(logits, attribution.prediction.problem)[target.id])

    everything = set(range(len(words)))
    draws = [np.random.default_rng([0, 0, n]).permutation(len(words))[:count] for n in range(20)]
    return {
        "words": len(words),
        "top": tuple(words[n] for n in ranked[:count]),
        "whole": outcome([]),
        "without_top": outcome(ranked[:count]),
        "top_alone": outcome(everything - set(ranked[:count])),
        "random_without": [outcome(draw.tolist()) for draw in draws],
        "random_alone": [outcome(everything - set(draw.tolist())) for draw in draws],
    }


@pytest.mark.parametrize(
    ("labels", "problem", "options"),
    [
        (3, None, {}),
        (3, None, {"method": "occlusion", "target": 1, "contrast": 0}),
        (3, "multi_label_classification", {"threshold": 0.0}),
        (1, None, {"method": "attention"}),
    ],
)
def test_outcomes_are_those_of_a_plain_loop(
    labels: int, problem: str | None, options: dict[str, Any]
) -> None:
    explainer = classifier_explainer(num_labels=labels)
    config: Any = explainer.model.config
    config.problem_type = problem
    before = offloaded_state(explainer.model)
    attribution = explainer.explain(SEVEN, **options)
    verified = explainer.verify(attribution)
    assert_unchanged(before, explainer.model)
    assert attribution.verifications is None
    assert verified.to_dict().keys() - attribution.to_dict().keys() == {"verifications"}
    assert verified.verifications is not None
    assert len(verified.verifications) == len(attribution.targets)
    for number, verification in enumerate(verified.verifications):
        assert verified.at(number).verification == verification
        for name, expected in by_hand(explainer, attribution, number).items():
            assert getattr(verification, name) == pytest.approx(expected, abs=1e-5), name
        assert verification.operator == "mask"
        assert (verification.sets, verification.explained_variance) == (0, None)
    by_words = explainer.verify(attribution.words())
    assert by_words.verifications == verified.verifications == verified.words().verifications
    data = json.loads(json.dumps(verified.to_dict()))
    assert Attribution.from_dict(data).verifications == verified.verifications


def test_the_cost_is_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = classifier_explainer()
    rows = 0
    bert: Any = type(explainer.model.base_model)
    forward = bert.forward

    def counted(self: Any, input_ids: Any = None, **inputs: Any) -> Any:
        nonlocal rows
        rows += 1 if input_ids is None else len(input_ids)
        return forward(self, input_ids=input_ids, **inputs)

    attribution = explainer.explain(SEVEN)
    monkeypatch.setattr(bert, "forward", counted)
    verification = explainer.verify(attribution).verification
    assert verification is not None
    assert verification.passes == rows <= 43


@pytest.mark.parametrize("readout", [None, "closeness"])
def test_variance_explained_is_that_of_a_plain_loop(readout: str | None) -> None:
    """Of five words all 30 sets are tried, so nothing is drawn."""
    explainer = fit_tiny(classifier_explainer(num_labels=3 if readout is None else 1))
    attribution = explainer.explain(FIVE, readout=readout)
    verification = explainer.verify(attribution).verification
    scores = attribution.scores[~attribution.special].astype(np.float64)
    whole = outputs_with_words(explainer, FIVE, frozenset(range(5)))
    outcomes, estimates = [], []
    for size in range(1, 5):
        for shown in itertools.combinations(range(5), size):
            logits = outputs_with_words(explainer, FIVE, frozenset(shown))
            of_sets = centred(logits) if readout is None else -np.abs(logits - whole)
            outcomes.append(of_sets[attribution.target.id])
            estimates.append(attribution.base_value + scores[list(shown)].sum())
    left = np.square(np.array(outcomes) - estimates).sum()
    expected = 1 - left / np.square(outcomes - np.mean(outcomes)).sum()
    assert verification.sets == 30
    assert verification.explained_variance == pytest.approx(expected, abs=1e-4)
    assert verification.passes <= 1 + 30 + 42


def linear(text: str, **options: Any) -> tuple[Explainer, Attribution]:
    """A linear bag of words, and what each word of a text adds there to the label 1."""
    explainer = bag_explainer()
    attribution = explainer.explain(text, target=1, method="occlusion", **options)
    model: Any = explainer.model
    words: Any = explainer.tokenizer
    ids = words(text)["input_ids"]
    embeddings, weights = model.bag.embeddings.weight.detach(), model.classifier.weight.detach()
    added = centred((embeddings[ids] - embeddings[words.mask_token_id]) @ weights.T)[:, 1]
    base = centred(outputs_with_words(explainer, text, frozenset()))[1]
    if "contrast" in options:  # of two labels the other's centred logit is the same, negated
        added, base = 2 * added, 2 * base
    exact = replace(
        attribution,
        scores=added.astype(np.float32),
        base=(float(base),),
        provenance=replace(attribution.provenance, readout="centered", of_output=True),
    )
    return explainer, exact


@pytest.mark.parametrize("options", [{}, {"contrast": 0}])
@pytest.mark.parametrize("text", [FIVE, SEVEN])
def test_scores_of_a_linear_model_explain_all(text: str, options: dict[str, Any]) -> None:
    explainer, exact = linear(text, **options)
    verification = explainer.verify(exact).verification
    assert verification is not None
    assert verification.explained_variance == pytest.approx(1, abs=1e-6)
    assert verification.shuffled_variance is not None
    assert verification.shuffled_variance < 0.5


def test_shuffled_scores_explain_none() -> None:
    explainer, exact = linear(SEVEN)
    content = np.flatnonzero(~exact.special)
    generator = np.random.default_rng(1)
    explained = []
    for _ in range(10):
        scores = exact.scores.copy()
        scores[content] = scores[generator.permutation(content)]
        verification = explainer.verify(replace(exact, scores=scores)).verification
        assert verification is not None
        explained.append(verification.explained_variance)
    assert np.mean([share for share in explained if share is not None]) <= 0


def test_one_word_has_nothing_beside_it() -> None:
    explainer = fit_tiny(classifier_explainer())
    verification = explainer.verify(explainer.explain("great")).verification
    assert verification.top == ("great",)
    assert verification.top_alone == verification.whole
    assert set(verification.random_without) == {verification.without_top}
    assert (verification.sets, verification.explained_variance) == (0, None)
    assert verification.passes == 2


def test_a_pair_is_hidden_from_in_both_texts() -> None:
    explainer = classifier_explainer()
    verification = explainer.verify(explainer.explain(("a great movie", "not bad"))).verification
    assert verification is not None
    assert verification.words == 5


@pytest.mark.parametrize(
    ("model_type", "adds_tokens", "operator"),
    [("gpt2", True, "remove"), ("bart", True, "remove"), ("gpt2", False, "eos")],
)
def test_words_are_hidden_by_what_the_tokenizer_has(
    model_type: str, adds_tokens: bool, operator: str
) -> None:
    explainer = classifier_explainer(model_type, mask_token=None)
    if not adds_tokens:
        words = copy.deepcopy(explainer.tokenizer)
        words.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
        explainer = Explainer(explainer.model, words)
    verification = explainer.verify(explainer.explain("a great movie")).verification
    assert verification is not None
    assert (verification.operator, verification.words) == (operator, 3)


def test_a_model_that_does_not_heed_its_mask_is_refused() -> None:
    explainer = bag_explainer()
    explainer = Explainer(explainer.model, classifier_explainer(mask_token=None).tokenizer)
    model: Any = explainer.model
    inner = type(model)

    class Heedless(inner):  # type: ignore[misc, valid-type]
        def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
            inputs["attention_mask"] = torch.ones_like(input_ids)
            return super().forward(input_ids, **inputs)

    model.__class__ = Heedless
    attribution = explainer.explain("a great movie", method="random")
    with pytest.raises(UnsupportedHeadError, match="does not heed"):
        explainer.verify(attribution)


def test_what_cannot_be_verified_is_refused_by_name() -> None:
    explainer = classifier_explainer()
    attribution = explainer.explain(SEVEN)
    other = explainer.explain("not bad")
    for refused, error, words in (
        ("a text", OptionError, "must be of type Result"),
        (SOUND, InputError, "explains audio"),
        (generation(), InputError, "explains generation"),
        (chat().whole(), InputError, "of a chat"),
        (attribution.sentences(), OptionError, "scores are of sentences"),
        (explainer.explain(SEVEN, layer="all"), OptionError, "of several"),
        (bag_explainer().explain(SEVEN, method="occlusion"), InputError, "other labels"),
        (replace(attribution, prediction=other.prediction), InputError, "logits for the text"),
        (replace(attribution, texts=("one great",)), InputError, "not those that this model"),
    ):
        with pytest.raises(error, match=words):
            explainer.verify(refused)  # type: ignore[arg-type]
    regression = classifier_explainer(num_labels=1)
    with pytest.raises(InputError, match="made by"):
        regression.verify(attribution)
    with pytest.raises(ModelError, match="is for text-generation"):
        causal_lm().verify(attribution)
    images, pixels = image_classifier()
    with pytest.raises(ModelError, match="is for image-classification"):
        images.verify(images.explain(pixels))


def test_windows_are_refused() -> None:
    explainer = classifier_explainer(model_max_length=8)
    attribution = explainer.explain(f"{SEVEN} {SEVEN}", long="window")
    with pytest.raises(InputError, match="in one window"):
        explainer.verify(attribution)
    beginning = explainer.verify(explainer.explain(f"{SEVEN} {SEVEN}", long="truncate"))
    assert beginning.verification is not None
    assert beginning.verification.words == 6


def test_special_tokens_alone_have_no_word_to_hide() -> None:
    explainer = classifier_explainer()
    attribution = replace(explainer.explain("great"), texts=("</s>",))
    with pytest.raises(InputError, match="no token of the text '</s>'"):
        explainer.verify(attribution)


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ([5.0, 1.0, 1.0, 1.0], 1),
        ([3.0, 3.0, 2.0, 2.0], 2),
        ([1.0] * 20, 3),
        ([1.0, 1.0], 1),
        ([-1.0, -2.0, 0.0], 1),
        ([np.nan, 1.0, 1.0, np.nan], 1),
        ([2.0], 1),
    ],
)
def test_half_of_the_support_is_hidden_but_three_words_at_most(
    scores: list[float], count: int
) -> None:
    assert count_top(np.array(scores)) == count


def test_random_sets_are_of_every_size_and_never_of_none_or_all() -> None:
    sets = random_sets(4, 32)
    assert len({tuple(row) for row in sets.tolist()}) == len(sets) == 14
    sets = random_sets(6, 4000)
    assert sets.shape == (62, 6)
    sets = random_sets(30, 2900)
    sizes = np.bincount(sets.sum(1), minlength=31)
    assert sizes[0] == sizes[30] == 0
    assert (sizes[1:30] > 60).all()
    assert np.abs(sets.mean(0) - 0.5).max() < 0.05
    assert random_sets(1, 32).shape == (0, 1)
    assert random_sets(9, 0).shape == (0, 9)
