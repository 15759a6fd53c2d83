"""The preset `paper` beside the notebook's loop, written afresh: one text at a time."""

import csv
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from normxlogit import Explainer
from tests.conftest import SHARED

pytestmark = pytest.mark.shared

EXAMPLES = 30
RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
Scores = Callable[["Notebook", dict[str, Tensor], int], Tensor]


def rows() -> list[dict[str, str]]:
    """The first pairs of the test split."""
    with (SHARED / "data/sick/SICK.txt").open(encoding="utf-8") as file:
        split = [
            row for row in csv.DictReader(file, delimiter="\t") if row["SemEval_set"] == "TEST"
        ]
    return [
        {"a": row["sentence_A"], "b": row["sentence_B"], "gold": row["entailment_label"].lower()}
        for row in split[:EXAMPLES]
    ]


class Embedded(nn.Module):
    """The classifier behind `inputs_embeds`, without token types."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeds: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeds, attention_mask=mask).logits
        return logits


class Notebook:
    """What the notebook computes of a pair."""

    def __init__(self, model: Any, mask_id: int) -> None:
        self.model, self.mask_id, self.embedded = model, mask_id, Embedded(model)

    @torch.no_grad()
    def probabilities(self, inputs: dict[str, Tensor]) -> Tensor:
        return torch.softmax(self.model(**inputs).logits, dim=1)

    @torch.no_grad()
    def states(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(s[0] for s in self.model(**inputs, output_hidden_states=True).hidden_states)

    def norm(self, inputs: dict[str, Tensor], said: int) -> Tensor:  # noqa: ARG002
        found: Tensor = torch.linalg.vector_norm(self.states(inputs)[0], dim=1)
        return found

    @torch.no_grad()
    def logat(self, inputs: dict[str, Tensor], said: int) -> Tensor:
        last = self.states(inputs)[-1]
        pooler, classifier = self.model.bert.pooler, self.model.classifier
        return torch.stack([classifier(pooler(state[None, None]))[0, said] for state in last])

    def normxlogit(self, inputs: dict[str, Tensor], said: int) -> Tensor:
        return self.norm(inputs, said) * self.logat(inputs, said)

    def by_captum(self, way: Any, inputs: dict[str, Tensor], said: int, **options: Any) -> Tensor:
        embeds = self.model.bert.embeddings(inputs["input_ids"]).detach().requires_grad_()
        found = way(self.embedded).attribute(
            embeds,
            target=said,
            additional_forward_args=(inputs["attention_mask"],),
            **options,
        )
        scores: Tensor = found[0].detach().abs().sum(-1)
        return scores

    def gradient_norm(self, inputs: dict[str, Tensor], said: int) -> Tensor:
        return self.by_captum(Saliency, inputs, said)

    def gradient_x_input(self, inputs: dict[str, Tensor], said: int) -> Tensor:
        return self.by_captum(InputXGradient, inputs, said)

    def integrated_gradients(self, inputs: dict[str, Tensor], said: int) -> Tensor:
        return self.by_captum(IntegratedGradients, inputs, said, n_steps=50)

    def ranking(self, method: str, inputs: dict[str, Tensor], said: int) -> list[int]:
        """All positions but the first, which the head reads."""
        length = inputs["input_ids"].shape[1]
        if method == "random":
            shuffled = list(range(length))[1:]
            random.seed(12)
            random.shuffle(shuffled)
            return shuffled
        scores: Tensor = getattr(self, method)(inputs, said)
        ranked: list[int] = torch.topk(scores, k=length).indices.tolist()
        return [position for position in ranked if position != 0]

    def masked(self, inputs: dict[str, Tensor], hidden: list[list[int]]) -> dict[str, Tensor]:
        """A row for each list of positions, all of one length."""
        found = {name: values.repeat(len(hidden), 1) for name, values in inputs.items()}
        for ids, positions in zip(found["input_ids"], hidden, strict=True):
            for position in positions:
                ids[position] = self.mask_id
        return found


METHODS = [
    "norm",
    "logat",
    "normxlogit",
    "gradient_norm",
    "gradient_x_input",
    "integrated_gradients",
    "random",
]


def test_the_figures_are_those_of_the_notebook() -> None:
    explainer = Explainer.from_pretrained(
        str(SHARED / "models" / "minilm-sick"), dtype="float32", device="cpu"
    )
    given = rows()
    found = explainer.evaluate(
        given, text="a", pair="b", label="gold", preset="paper", methods=METHODS
    ).results
    assert found["examples"]["evaluated"] == EXAMPLES
    tokenizer: Any = explainer.tokenizer
    notebook = Notebook(explainer.model, tokenizer.mask_token_id)
    labels: Any = explainer.model.config.id2label
    names = {name.lower(): int(n) for n, name in labels.items()}
    state = random.getstate()
    drops = np.zeros((len(METHODS), 2, len(RATIOS), EXAMPLES))
    right = np.zeros_like(drops)
    for n, row in enumerate(given):
        pair = (" ".join(row["a"].split()), " ".join(row["b"].split()))
        inputs = dict(tokenizer(*pair, return_tensors="pt"))
        whole = notebook.probabilities(inputs)[0]
        said, length = int(whole.argmax()), inputs["input_ids"].shape[1]
        for m, method in enumerate(METHODS):
            ranked = notebook.ranking(method, inputs, said)
            counts = [int(length * ratio) for ratio in RATIOS]
            top, others = [ranked[:c] for c in counts], [ranked[c:] for c in counts]
            for way, hidden in enumerate((top, others)):
                after = notebook.probabilities(notebook.masked(inputs, hidden))
                drops[m, way, :, n] = (whole[said] - after[:, said]).double()
                right[m, way, :, n] = after.argmax(1) == names[row["gold"]]
    random.setstate(state)
    for m, method in enumerate(METHODS):
        figures = found["methods"][method]["figures"]
        for way, metric in enumerate(("comprehensiveness", "sufficiency")):
            for name, expected in (
                (metric, drops[m, way]),
                (f"{metric}_accuracy", right[m, way]),
            ):
                by_ratio = figures[name]["by_ratio"]
                np.testing.assert_allclose(by_ratio, expected.mean(1), atol=1e-6, rtol=0)
                assert figures[name]["value"] == pytest.approx(expected.mean(), abs=1e-6)
    assert np.ptp(drops.mean((2, 3)), axis=0).min() > 0.1
