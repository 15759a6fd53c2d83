"""Checks of methods that are known to pass them, and of some that are known to fail."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from normxlogit import Explainer, methods
from normxlogit.evaluate.sanity import _parts
from normxlogit.evidence import Evidence
from tests.builders import classifier, tokenizer

TEXTS = [
    "A great movie with poor performers.",
    "The plot is not bad at all",
    "Don't watch it twice, not even once",
    'says "two", and three',
]
METHODS = ["normxlogit", "logat", "norm", "occlusion", "gradient_x_input"]


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerBase:
    return tokenizer()


@pytest.fixture(scope="module")
def two_sided(words: PreTrainedTokenizerBase) -> Explainer:
    """A classifier whose classes are each other's opposite."""
    model: Any = classifier(words, num_labels=2)
    with torch.no_grad():
        model.classifier.weight[1] = -model.classifier.weight[0]
        model.classifier.bias[:] = torch.tensor([0.01, -0.01])
    return Explainer(model, words)


@pytest.fixture(scope="module")
def found(two_sided: Explainer) -> dict[str, Any]:
    before = copy.deepcopy(two_sided.model.state_dict())
    results = two_sided.evaluate(
        TEXTS, methods=METHODS, operator="unk", metrics=["sanity"], ratios=[0.5]
    ).results
    after = two_sided.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    sanity: dict[str, Any] = results["sanity"]
    return sanity


def test_what_is_shuffled(found: dict[str, Any], two_sided: Explainer) -> None:
    depth = two_sided.model.config.num_hidden_layers
    layers = [f"layer {n}" for n in range(depth, 0, -1)]
    assert found["steps"] == ["head", *layers, "embeddings"]
    assert found["examples"] == len(TEXTS)


def test_norms_of_embeddings_know_nothing_of_head_and_layers(found: dict[str, Any]) -> None:
    *unchanged, last = found["methods"]["norm"]["shuffled"]
    assert unchanged == pytest.approx([1] * len(unchanged))
    assert last < 0.9
    assert found["methods"]["norm"]["other_class"] == pytest.approx(1)


@pytest.mark.parametrize("method", ["logat", "occlusion", "gradient_x_input"])
def test_scores_of_opposite_classes_are_opposite(found: dict[str, Any], method: str) -> None:
    assert found["methods"][method]["other_class"] == pytest.approx(-1)


@pytest.mark.parametrize("method", ["normxlogit", "logat", "occlusion", "gradient_x_input"])
def test_a_shuffled_model_is_explained_otherwise(found: dict[str, Any], method: str) -> None:
    assert abs(found["methods"][method]["shuffled"][-1]) < 0.9


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_rounding_change_little(found: dict[str, Any], method: str) -> None:
    assert 0 <= found["methods"][method]["in_a_batch"] < 1e-3
    assert found["methods"][method]["bfloat16"] > 0.5


def test_what_changes_with_batches_and_rounding_is_found(two_sided: Explainer) -> None:
    @methods.register("fickle", family="an example", source="-")
    def fickle(evidence: Evidence) -> Tensor:
        rows, width = evidence.mask.shape[0], evidence.mask.shape[-1]
        sign = -1 if evidence.passes.embeddings.dtype == torch.bfloat16 else 1
        return sign * rows * torch.arange(1.0, width + 1).expand(rows, 1, 1, width)

    try:
        results = two_sided.evaluate(
            TEXTS, methods=["fickle"], operator="unk", metrics=["sanity"], ratios=[0.5]
        ).results
    finally:
        methods.METHODS.pop("fickle", None)
    found = results["sanity"]["methods"]["fickle"]
    assert found["bfloat16"] == pytest.approx(-1)
    assert found["in_a_batch"] == pytest.approx(len(TEXTS) - 1)


def test_every_weight_is_in_one_part(two_sided: Explainer) -> None:
    weights = [id(weight) for _, part in _parts(two_sided.model) for weight in part]
    assert sorted(weights) == sorted(map(id, two_sided.model.parameters()))
    head = next(part for step, part in _parts(two_sided.model) if step == "head")
    names = {id(weight): name for name, weight in two_sided.model.named_parameters()}
    assert {names[id(weight)].split(".")[-2] for weight in head} == {"dense", "classifier"}


def test_a_regression_has_no_other_class(words: PreTrainedTokenizerBase) -> None:
    explainer = Explainer(classifier(words, num_labels=1), words)
    results = explainer.evaluate(
        TEXTS, methods=["norm", "occlusion"], operator="unk", metrics=["sanity"], ratios=[0.5]
    ).results
    assert [m["other_class"] for m in results["sanity"]["methods"].values()] == [None, None]


def test_the_report_has_them(two_sided: Explainer, tmp_path: Path) -> None:
    names = ["norm", "logat"]
    results = two_sided.evaluate(
        TEXTS, tmp_path / "report", methods=names, operator="unk", metrics=["sanity"]
    ).results
    lines = (tmp_path / "report" / "report.md").read_text("utf-8").split("## Sanity")[1]
    rows = [line.strip("| ").split(" | ") for line in lines.splitlines() if line.startswith("|")]
    assert rows[0][1:4] == results["sanity"]["steps"][:3]
    for method, row in zip(names, rows[2:4], strict=True):
        found = results["sanity"]["methods"][method]
        assert row[0] == method
        assert float(row[-3]) == pytest.approx(found["other_class"], abs=0.005)
        assert float(row[1]) == pytest.approx(found["shuffled"][0], abs=0.005)
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert page.count(f">{results['sanity']['steps'][-1]}</th>") == 1
