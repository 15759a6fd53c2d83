"""Checks of methods that are known to pass them, and of some that are known to fail."""

import copy
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from normxlogit import Explainer, Failure, InputError, methods
from normxlogit.data.progress import Meter
from normxlogit.evaluation import run
from normxlogit.evaluation.metrics.sanity import _in, _parts, _shuffled
from normxlogit.methods.context import MethodContext
from tests.helpers.builders import classifier, tokenizer

TEXTS = [
    "A great movie with poor performers.",
    "The plot is not bad at all",
    "Don't watch it twice, not even once",
    'says "two", and three',
]
METHODS = ["normxlogit", "logat", "norm", "occlusion", "gradient_x_input"]
SETTINGS: dict[str, dict[str, Any]] = {
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}
"""Of models that differ from others of their type only with these."""


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
    def fickle(context: MethodContext) -> Tensor:
        rows, width = context.mask.shape[0], context.mask.shape[-1]
        sign = -1 if context.reruns.embeddings.dtype == torch.bfloat16 else 1
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


def test_rounding_is_that_of_float32_whatever_the_model_came_in(
    words: PreTrainedTokenizerBase,
) -> None:
    @methods.register("precise", family="an example", source="-")
    def precise(context: MethodContext) -> Tensor:
        width = context.mask.shape[-1]
        sign = {torch.float32: 1, torch.bfloat16: -1}[context.reruns.embeddings.dtype]
        return sign * torch.arange(1.0, width + 1).expand(context.mask.shape[0], 1, 1, width)

    model: Any = classifier(words)
    model.to(torch.bfloat16)
    try:
        results = (
            Explainer(model, words)
            .evaluate(
                TEXTS,
                methods=["precise", "logat"],
                operator="unk",
                metrics=["sanity"],
                ratios=[0.5],
            )
            .results
        )
    finally:
        methods.METHODS.pop("precise", None)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    found = results["sanity"]["methods"]
    assert found["precise"]["bfloat16"] == pytest.approx(-1)

    exact: Any = copy.deepcopy(model)
    both = [Explainer(one, words) for one in (exact.to(torch.float32), model)]
    correlations = []
    for text in TEXTS:
        target = both[1].explain(text).prediction.label
        scores = []
        for explainer in both:
            of_words = explainer.explain(text, target=target, method="logat").words()
            scores.append(of_words.scores[~of_words.special])
        in_float32, in_bfloat16 = scores
        correlations.append(spearmanr(in_float32, in_bfloat16).statistic)
    expected = statistics.fmean(correlations)
    assert expected < 1
    assert found["logat"]["bfloat16"] == pytest.approx(expected)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_a_model_in_another_dtype_is_as_if_loaded_in_it(
    model_type: str, words: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    explainer = Explainer(classifier(words, model_type), words)
    explainer.model.save_pretrained(tmp_path)
    auto: Any = AutoModelForSequenceClassification
    loaded = auto.from_pretrained(tmp_path, dtype=torch.bfloat16)
    found = _in(explainer, torch.bfloat16).model
    for kind in ("named_parameters", "named_buffers"):
        own, expected = (dict(getattr(model, kind)()) for model in (found, loaded))
        assert own.keys() == expected.keys()
        for name, tensor in expected.items():
            assert own[name].dtype == tensor.dtype, name
            assert torch.equal(own[name], tensor), name
    assert explainer.model.dtype == torch.float32


class Forgetful(Explainer):
    """Fails on what it is given all at once: on one of the texts, or on all of them."""

    on_all = False

    def explain(self, inputs: Any, **options: Any) -> Any:
        found = super().explain(inputs, **options)
        if options.get("batch_size") == len(TEXTS):
            error = InputError("forgotten")
            if self.on_all:
                raise error
            found[2] = Failure(inputs[2], error)
        return found


@pytest.mark.parametrize("on_all", [False, True])
def test_a_batch_with_a_failure_is_not_measured(
    on_all: bool, two_sided: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forgetful, "on_all", on_all)
    results = (
        Forgetful(two_sided.model, two_sided.tokenizer)
        .evaluate(TEXTS, tmp_path / "report", methods=["logat"], operator="unk", metrics=["sanity"])
        .results
    )
    assert results["examples"]["evaluated"] == len(TEXTS)
    found = results["sanity"]["methods"]["logat"]
    assert found["in_a_batch"] is None
    assert found["bfloat16"] > 0.5
    said = (tmp_path / "report" / "report.md").read_text("utf-8").split("## Sanity")[1]
    (row,) = (line for line in said.splitlines() if line.startswith("| logat |"))
    assert row.endswith("| – |")


def test_every_weight_is_in_one_part(two_sided: Explainer) -> None:
    weights = [id(weight) for _, part in _parts(two_sided.model) for weight in part]
    assert sorted(weights) == sorted(map(id, two_sided.model.parameters()))
    head = next(part for step, part in _parts(two_sided.model) if step == "head")
    names = {id(weight): name for name, weight in two_sided.model.named_parameters()}
    assert {names[id(weight)].split(".")[-2] for weight in head} == {"dense", "classifier"}


@pytest.mark.parametrize(
    ("model_type", "layer", "embeddings", "in_head"),
    [
        ("deberta-v2", "deberta.encoder.layer.", "deberta.embeddings.", "encoder.rel_embeddings."),
        ("gpt2", "transformer.h.", "transformer.wte.", "transformer.wpe."),
        ("opt", "model.decoder.layers.", "model.decoder.embed_tokens.", "model.decoder.final_"),
    ],
)
def test_the_head_is_what_is_neither_layer_nor_embeddings(
    model_type: str, layer: str, embeddings: str, in_head: str, words: PreTrainedTokenizerBase
) -> None:
    model = classifier(words, model_type, **SETTINGS.get(model_type, {}))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    depth = model.config.num_hidden_layers
    assert depth > 1
    places = [f"{layer}{n}." for n in range(depth - 1, -1, -1)] + [embeddings]
    parts = [{name for name in before if name.startswith(place)} for place in places]
    head = before.keys() - set().union(*parts)
    assert any(in_head in name for name in head)
    changed = set[str]()
    steps = _shuffled(Explainer(model, words), 0)
    for part, (_, explainer) in zip([head, *parts], steps, strict=True):
        changed |= part
        after = dict(explainer.model.named_parameters())
        assert {n for n, value in before.items() if not torch.equal(after[n], value)} == changed
        for name in part:
            own, same = (weights[name].flatten().sort().values for weights in (after, before))
            assert torch.equal(own, same), name


@pytest.mark.parametrize("model_type", ["deberta-v2", "bart"])
def test_models_of_one_stack_and_of_two(model_type: str, words: PreTrainedTokenizerBase) -> None:
    settings = SETTINGS.get(model_type, {})
    explainer = Explainer(classifier(words, model_type, **settings), words)
    sanity = explainer.evaluate(
        TEXTS, methods=["norm", "logat"], operator="unk", metrics=["sanity"], ratios=[0.5]
    ).results["sanity"]
    depth = explainer.model.config.num_hidden_layers
    layers = [f"layer {n}" for n in range(depth, 0, -1)]
    one = model_type == "deberta-v2"
    assert sanity["steps"] == (["head", *layers, "embeddings"] if one else ["everything"])
    for found in sanity["methods"].values():
        assert len(found["shuffled"]) == len(sanity["steps"])
        assert abs(found["shuffled"][-1]) < 0.9
    of_norms = sanity["methods"]["norm"]["shuffled"]
    assert of_norms[:-1] == pytest.approx([1] * (len(of_norms) - 1))


@pytest.mark.parametrize("metrics", [["sanity"], []])
def test_the_meter_says_what_goes_on_after_the_last_row(
    metrics: list[str], two_sided: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = list[str]()

    class Seen(Meter):
        def show(self, rows: float, tokens: int) -> None:
            super().show(rows, tokens)
            happened.append("rows")

        def say(self, doing: str) -> None:
            super().say(doing)
            happened.append(doing)

    for name in ("check_sanity", "measure_costs"):
        done = getattr(run, name)

        def noted(*given: Any, name: str = name, done: Any = done) -> Any:
            happened.append(name)
            return done(*given)

        monkeypatch.setattr(run, name, noted)
    monkeypatch.setattr(run, "Meter", Seen)
    two_sided.evaluate(TEXTS, methods=["norm"], operator="unk", metrics=metrics, ratios=[0.5])
    after = happened[len(happened) - happened[::-1].index("rows") :]
    checks = ["sanity checks", "check_sanity"] if metrics else []
    assert after == [*checks, "timing the methods", "measure_costs"]


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
    lines = lines.replace("\N{MINUS SIGN}", "-")
    rows = [line.strip("| ").split(" | ") for line in lines.splitlines() if line.startswith("|")]
    assert rows[0][1:4] == results["sanity"]["steps"][:3]
    for method, row in zip(names, rows[2:4], strict=True):
        found = results["sanity"]["methods"][method]
        assert row[0] == method
        assert float(row[-3]) == pytest.approx(found["other_class"], abs=0.005)
        assert float(row[1]) == pytest.approx(found["shuffled"][0], abs=0.005)
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert page.count(f">{results['sanity']['steps'][-1]}</th>") == 1
