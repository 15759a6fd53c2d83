"""Trained models. The preset `paper` beside the notebook's loop, written afresh, and `corrected`
beside the plain computation: one text at a time.
"""

import csv
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from normxlogit import Explainer
from tests.helpers.evaluation import Data, PlainEvaluation, assert_figures, assert_record
from tests.helpers.paths import SHARED
from tests.helpers.soft_evaluation import SOFT, PlainSoftEvaluation

pytestmark = pytest.mark.shared

EXAMPLES = 30
SHORT = 4
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
    )
    assert found.results["examples"]["evaluated"] == EXAMPLES
    tokenizer: Any = explainer.tokenizer
    notebook = Notebook(explainer.model, tokenizer.mask_token_id)
    labels: Any = explainer.model.config.id2label
    names = {name.lower(): int(n) for n, name in labels.items()}
    state = random.getstate()
    drops = np.zeros((len(METHODS), 2, len(RATIOS), EXAMPLES))
    said_after = np.zeros_like(drops)
    gold = np.array([names[row["gold"]] for row in given])
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
                said_after[m, way, :, n] = after.argmax(1)
    random.setstate(state)
    records = {(r["method"], r["row"]): r for r in found.scores.to_pylist()}
    assert len(records) == len(METHODS) * EXAMPLES
    for m, method in enumerate(METHODS):
        figures = found.results["methods"][method]["figures"]
        for way, metric in enumerate(("comprehensiveness", "sufficiency")):
            for n in range(EXAMPLES):
                record = records[method, n]
                np.testing.assert_allclose(record[metric], drops[m, way, :, n], atol=1e-5, rtol=0)
                assert record[f"{metric}_said"] == said_after[m, way, :, n].tolist()
            for name, expected in (
                (metric, drops[m, way]),
                (f"{metric}_accuracy", said_after[m, way] == gold),
            ):
                by_ratio = figures[name]["by_ratio"]
                np.testing.assert_allclose(by_ratio, expected.mean(1), atol=1e-6, rtol=0)
                assert figures[name]["value"] == pytest.approx(expected.mean(), abs=1e-6)
    assert np.ptp(drops.mean((2, 3)), axis=0).min() > 0.1


def sentences() -> list[Data]:
    """Short texts of letters, with the ids of their labels."""
    lines = (SHARED / "data/sst2/test.tsv").read_text("utf-8").splitlines()
    rows = [dict(zip(("text", "label"), line.split("\t"), strict=True)) for line in lines]
    own = [row for row in rows if re.fullmatch(r"[a-z]+( [a-z]+){3,5}", row["text"])]
    return [{**row, "label": int(row["label"])} for row in own[:SHORT]]


def pairs() -> list[Data]:
    """Short pairs of letters, with values."""
    lines = (SHARED / "data/stsb/sts-train.csv").read_text("utf-8").splitlines()
    rows = [[field.removesuffix(".") for field in line.split("\t")] for line in lines]
    own = [row for row in rows if re.fullmatch(r"[A-Za-z]+( [A-Za-z]+){5,6}", f"{row[5]} {row[6]}")]
    return [{"text": row[5], "pair": row[6], "label": float(row[4])} for row in own[:SHORT]]


@pytest.mark.parametrize(("name", "read"), [("minilm-sst2", sentences), ("minilm-stsb", pairs)])
def test_every_metric_of_trained_models(name: str, read: Callable[[], list[Data]]) -> None:
    explainer = Explainer.from_pretrained(
        str(SHARED / "models" / name), dtype="float32", device="cpu"
    )
    given = read()
    found = explainer.evaluate(
        given,
        label="label",
        pair="pair" if "pair" in given[0] else None,
        methods=["normxlogit", "occlusion", "random"],
        metrics=["curves", "naopc", "loo_tau", "soft"],
        draws=2,
    )
    known: dict[int, tuple[PlainEvaluation, PlainSoftEvaluation]] = {}
    expected: list[Data] = []
    for record in found.scores.to_pylist():
        number = record["row"]
        if number not in known:
            item = tuple(own for own in (record["text"], record["pair"]) if own)
            plain = PlainEvaluation(explainer, item, "mask", "word", reads_last=False)
            known[number] = plain, PlainSoftEvaluation(explainer, item, plain, number, 0)
        plain, soft = known[number]
        own = assert_record(record, explainer, plain)
        own |= zip(SOFT, soft.figures(record["scores"]), strict=True)
        for metric in SOFT:
            assert record[metric] == pytest.approx(own[metric], abs=6e-6 / soft.room)
        expected.append(own)
    assert len(expected) == 4 * SHORT
    assert [plain.parts for plain, _ in known.values()] == [
        tuple(row[column] for column in ("text", "pair") if column in row) for row in given
    ]
    assert_figures(found.results, expected, [row["label"] for row in given])
