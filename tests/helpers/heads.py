"""Attribution heads fitted to tiny models, and the Shapley values that they are held against."""

import itertools
import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig

from normxlogit import Explainer
from normxlogit.methods.attribution_head import AttributionHead
from tests.helpers.models import BagForSequenceClassification, tokenizer_with_mask

WORDS = (
    *("a", "great", "movie", "with", "poor", "the", "plot", "is", "not", "bad"),
    *("one", "two", "three", "mess", "good", "it"),
)


def reviews(count: int, *, least: int = 2, most: int = 7, seed: int = 0) -> list[str]:
    """Texts of some random words, each of which is a token."""
    draw = random.Random(seed)
    return [
        " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most))) for _ in range(count)
    ]


def fit_tiny(explainer: Explainer, texts: Sequence[Any] | None = None, **options: Any) -> Any:
    """An explainer with a head fitted to few texts, with few masks."""
    texts = reviews(40) if texts is None else texts
    options = {"texts": len(texts), "masks": 4, "width": 8, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Do not use it")
        return explainer.with_head(explainer.fit(list(texts), **options))


def head_of(explainer: Explainer) -> AttributionHead:
    """An explainer's head, after asserting that it has one."""
    assert explainer.head is not None
    return explainer.head


def centred(logits: Any) -> NDArray[Any]:
    """Logits less their mean, [..., outputs]."""
    array = np.asarray(logits, np.float64)
    less: NDArray[Any] = array - array.mean(-1, keepdims=True)
    return less


def shapley_values(
    value: Callable[[frozenset[int]], NDArray[Any]], players: int
) -> NDArray[np.float64]:
    """The Shapley values of a game by their definition: [players, games].

    Args:
        value: the game's values for a set of players, [games].
        players: how many there are.
    """
    everyone = range(players)
    values = {
        frozenset(s): np.asarray(value(frozenset(s)), np.float64)
        for size in range(players + 1)
        for s in itertools.combinations(everyone, size)
    }
    parts = []
    for player in everyone:
        part = np.zeros_like(values[frozenset()])
        for some, worth in values.items():
            if player not in some:
                share = (
                    math.factorial(len(some))
                    * math.factorial(players - len(some) - 1)
                    / math.factorial(players)
                )
                part += share * (values[some | {player}] - worth)
        parts.append(part)
    return np.stack(parts)


@torch.no_grad()
def outputs_with_words(explainer: Explainer, text: str, shown: frozenset[int]) -> NDArray[Any]:
    """What a model says of a text of one-token words, all but some behind the mask: [outputs]."""
    words: Any = explainer.tokenizer
    inputs = words(text, return_tensors="pt")
    tokens = [n for n, word in enumerate(inputs.word_ids(0)) if word is not None]
    assert len(tokens) == len(text.split())
    for number, token in enumerate(tokens):
        if number not in shown:
            inputs["input_ids"][0, token] = words.mask_token_id
    logits: NDArray[Any] = explainer.model(**inputs).logits[0].double().numpy()
    return logits


def bag_explainer() -> Explainer:
    """A linear model of a bag of words, with a bias."""
    words = tokenizer_with_mask()
    torch.manual_seed(0)
    model: Any = BagForSequenceClassification(BertConfig(vocab_size=len(words), hidden_size=4))
    model.eval()
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.1, -0.2]))
    return Explainer(model, words)
