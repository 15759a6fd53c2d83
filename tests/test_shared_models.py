"""Fine-tuned models: the authors' notebook, written afresh, gives the same scores."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from normxlogit import Attribution, Explainer
from tests.helpers.paths import SHARED

pytestmark = pytest.mark.shared

SENTENCES = [
    "A great movie with poor performers.",
    "one long string of cliches",
    "It's hard to like a film about a guy who is utterly unlikeable, but I did!",
]
PAIRS = [
    ("A man is playing a guitar.", "A person plays an instrument."),
    ("Two dogs run through the snow.", "No dogs are running."),
    ("A plane is taking off.", "An air plane is taking off."),
]


def load(name: str) -> Explainer:
    return Explainer.from_pretrained(str(SHARED / "models" / name), dtype="float32", device="cpu")


@torch.no_grad()
def token_by_token(explainer: Explainer, texts: tuple[str, ...]) -> tuple[Any, NDArray[Any]]:
    """As the notebook: every hidden state is kept, and the head reads one token after the other.

    Returns the model's logits [classes] and norm and logits of each token [tokens, 1 + classes].
    """
    model: Any = explainer.model
    inputs = explainer.tokenizer(*texts, return_tensors="pt")
    states = model.bert(**inputs, output_hidden_states=True).hidden_states
    found = []
    for token in range(states[0].shape[1]):
        first = states[-1][:, token]
        pooled = torch.tanh(model.bert.pooler.dense(first))
        norm = torch.linalg.norm(states[0][0, token])
        found.append(torch.cat([norm[None], model.classifier(pooled)[0]]))
    return model(**inputs).logits[0].numpy(), torch.stack(found).numpy()


@pytest.mark.parametrize("name", ["minilm-sst2", "minilm-sick"])
def test_classifiers(name: str) -> None:
    explainer = load(name)
    for text in PAIRS if name == "minilm-sick" else SENTENCES:
        own, found = token_by_token(explainer, text if isinstance(text, tuple) else (text,))
        attribution = explainer.explain(text)
        assert attribution.target.id == own.argmax()
        expected = found[:, 0] * found[:, 1 + own.argmax()]
        np.testing.assert_allclose(attribution.scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Do not use it")
def test_a_head_flags_texts_unlike_those_of_its_fit() -> None:
    """The sentences of films that it never saw are within the limit, code and German are not."""
    explainer = load("minilm-sst2")
    lines = (SHARED / "data" / "sst2" / "train.tsv").read_text("utf-8").splitlines()
    reviews = [line.split("\t")[0] for line in lines]
    head = explainer.fit(reviews, texts=200, masks=2)

    def distances(texts: list[str]) -> NDArray[Any]:
        flagging = explainer.with_head(head)
        return np.array([next(iter(flagging.explain(t).notes.values()))[0] for t in texts])

    test = (SHARED / "data" / "sst2" / "test.tsv").read_text("utf-8").splitlines()[:100]
    assert (distances([line.split("\t")[0] for line in test]) > 1).mean() < 0.1
    unlike = [
        "def f(x): return [i**2 for i in range(x) if i % 3]",
        "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
        "SELECT name FROM users WHERE id = 7;",
        "Die Bundesregierung hat heute ein neues Gesetz beschlossen.",
        "Ich hätte gern ein Kilo Äpfel.",
    ]
    assert (distances(unlike) > 1).mean() > 0.5


def test_regression() -> None:
    explainer = load("minilm-stsb")
    for pair in PAIRS:
        own, found = token_by_token(explainer, pair)
        distance = np.abs(found[:, 1] - own[0])
        for readout, factor in {
            "distance": distance,
            "closeness": distance.max() - distance,
        }.items():
            attribution = explainer.explain(pair, readout=readout)
            np.testing.assert_allclose(
                attribution.scores, found[:, 0] * factor, rtol=1e-5, atol=1e-5
            )
        assert attribution.prediction.outputs[0].value == pytest.approx(own[0], abs=1e-5)


def test_bfloat16_ranks_like_float32() -> None:
    full = load("minilm-sst2")
    half = Explainer.from_pretrained(str(SHARED / "models" / "minilm-sst2"), dtype="bfloat16")
    rows = (SHARED / "data/sst2/dev.tsv").read_text("utf-8").splitlines()[:50]
    correlations = []
    for a, b in zip(
        full.explain([row.split("\t")[0] for row in rows], target="POSITIVE"),
        half.explain([row.split("\t")[0] for row in rows], target="POSITIVE"),
        strict=True,
    ):
        assert isinstance(a, Attribution)
        assert isinstance(b, Attribution)
        ranks = np.array([np.argsort(np.argsort(x.scores[~x.special])) for x in (a, b)], float)
        correlations.append(float(np.corrcoef(ranks)[0, 1]))
    assert np.mean(correlations) > 0.97
    assert np.min(correlations) > 0.85
