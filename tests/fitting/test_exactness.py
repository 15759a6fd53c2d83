"""A head learns what it must: on small games, the Shapley values by their definition."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normxlogit import Explainer
from normxlogit.data.rows import Columns
from normxlogit.data.source import read_rows
from normxlogit.evaluation.perturb.operators import find_operator
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.fitting import training
from normxlogit.fitting.coalitions import choose_sets, count_sets
from normxlogit.fitting.outcomes import count_passes, measure
from normxlogit.fitting.texts import draw_texts
from normxlogit.fitting.training import Batch, Example
from normxlogit.fitting.usual import directions
from normxlogit.methods.attribution_head.network import shared_out
from normxlogit.model.targets import Problem
from tests.helpers.heads import (
    bag_explainer,
    centred,
    fit_tiny,
    outputs_with_words,
    reviews,
    shapley_values,
)
from tests.helpers.models import classifier_explainer

PROBLEMS = [
    (3, Problem.SINGLE_LABEL, lambda logits, _: centred(logits)),
    (1, Problem.REGRESSION, lambda logits, whole: np.append(logits, -abs(logits - whole))),
]


def examples_of(explainer: Explainer, texts: list[str], masks: int) -> list[Example]:
    """Texts with their outcomes, and as states the number of each token."""
    encoder = explainer.encoder()
    rows, _ = read_rows(texts, Columns("text"), subset=None, split=None, strict=True)
    samples = sorted(draw_texts(rows, len(texts), 0, encoder).samples, key=lambda s: s.number)
    _, operator = find_operator("mask", encoder)
    outputs = int(explainer.model.config.num_labels or 0)
    cache = PredictionCache(explainer.model, encoder, Tensor.float, operator)
    samples = [replace(sample, output=np.zeros(outputs)) for sample in samples]
    outcomes = measure(samples, cache, masks, 0, None, lambda *_: None)
    assert cache.asked == count_passes(samples, masks)
    examples = []
    for sample, of_text in zip(samples, outcomes, strict=True):
        everything = frozenset(range(sample.count))
        whole = outputs_with_words(explainer, sample.item, everything)
        states = np.zeros((len(sample.units), 1), np.float16)
        words = sample.units.astype(np.int64)
        examples.append(Example(states, words, torch.from_numpy(whole).float(), of_text))
    return examples


@pytest.mark.parametrize(("labels", "problem", "games"), PROBLEMS)
def test_free_parameters_become_the_shapley_values(
    labels: int, problem: Problem, games: Any
) -> None:
    """With all sets of up to 8 words, and a free parameter for each token of each text."""
    explainer = classifier_explainer(num_labels=labels)
    texts = [*reviews(40, most=4), *reviews(2, least=8, most=8, seed=1)]
    texts, examples = texts[-5:], examples_of(explainer, texts, masks=254)[-5:]
    batch = Batch.of(examples, problem)
    scale = batch.values.square().mean((0, 1)).sqrt()
    batch = batch.in_units(scale)
    free = nn.Parameter(torch.zeros(int(batch.in_text.sum()), len(scale)))
    optimizer = torch.optim.LBFGS(
        [free],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = batch.squares(free).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    parts = shared_out(batch.padded(free.detach()), batch.words, batch.gain)[0] * scale
    for row, text in enumerate(texts):
        whole = outputs_with_words(explainer, text, frozenset(range(len(text.split()))))

        def value(shown: frozenset[int], text: str = text, whole: Any = whole) -> Any:
            return games(outputs_with_words(explainer, text, shown), whole)

        expected = shapley_values(value, len(text.split()))
        scores = parts[row][batch.words[row] >= 0].numpy()
        np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max())


def test_a_head_learns_a_linear_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a word's Shapley value is its weight less the mask's, whatever the other words are."""
    monkeypatch.setattr(training, "EPOCHS", 300)
    explainer = bag_explainer()
    model: Any = explainer.model
    words: Any = explainer.tokenizer
    fitted = fit_tiny(explainer, reviews(60), masks=16, width=16)
    embeddings = model.bag.embeddings.weight.detach()
    weights = model.classifier.weight.detach()
    scores, expected = [], []
    for attribution in fitted.explain(reviews(30, seed=7), target=1):
        ids = words(attribution.texts[0])["input_ids"]
        by_hand = centred((embeddings[ids] - embeddings[words.mask_token_id]) @ weights.T)[:, 1]
        kept = ~attribution.special
        scores.extend(attribution.scores[kept])
        expected.extend(by_hand[kept])
    difference = np.array(scores) - np.array(expected)
    assert np.square(difference).sum() < 0.05 * np.square(expected).sum()
    assert min(fitted.head.record.held_out["explained_variance"]) > 0.9


def test_the_size_of_the_logits_does_not_matter() -> None:
    scores = []
    for factor in (1, 64):
        explainer = bag_explainer()
        model: Any = explainer.model
        with torch.no_grad():
            for weight in model.classifier.parameters():
                weight.mul_(factor)
        scores.append(fit_tiny(explainer).explain("a great movie", target=0).scores / factor)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("words", range(2, 9))
def test_all_sets_where_they_are_few(words: int) -> None:
    generator = np.random.default_rng(0)
    for most in (2, 6, 14, 16, 254):
        shown, weights = choose_sets(words, most, generator)
        assert len(shown) == len(weights) == count_sets(words, most) <= most
        assert weights.sum() == pytest.approx(1)
        assert (shown.any(1) & ~shown.all(1)).all()
        if 2**words - 2 <= most:
            assert len({tuple(row) for row in shown.tolist()}) == 2**words - 2
        else:
            np.testing.assert_array_equal(shown[::2], ~shown[1::2])


def test_drawn_sets_have_sizes_by_the_shapley_kernel() -> None:
    generator = np.random.default_rng(0)
    sizes = np.concatenate([choose_sets(6, 60, generator)[0].sum(1) for _ in range(400)])
    counted = np.bincount(sizes, minlength=6)[1:6] / len(sizes)
    kernel = np.array([1 / (k * (6 - k)) for k in range(1, 6)])
    np.testing.assert_allclose(counted, kernel / kernel.sum(), atol=0.02)


@pytest.mark.parametrize(("texts", "features"), [(12, 30), (30, 12)])
def test_directions_are_the_leading_singular_vectors(texts: int, features: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(texts, features) * torch.linspace(1, 5, features)
    found = directions(values, 4)
    expected = torch.linalg.svd(values.double()).Vh[:4]
    torch.testing.assert_close((found.double() @ expected.T).abs(), torch.eye(4).double())
    # Texts that are all alike have none; what stands for them is orthonormal.
    none = directions(torch.zeros(texts, features), 3)
    torch.testing.assert_close(none @ none.T, torch.eye(3))
