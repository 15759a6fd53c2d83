"""Figures of `evaluate` against a slow, plain computation: one text, one variant at a time."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig

from normxlogit import Explainer, ModelError
from normxlogit.evaluation import run
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.methods import METHODS, register
from normxlogit.methods.context import MethodContext
from tests.helpers.builders import tokenizer
from tests.helpers.evaluation import (
    RATIOS,
    ROWS,
    TEXTS,
    Data,
    PlainEvaluation,
    assert_figures,
    assert_record,
    rows_reaching_model,
)
from tests.helpers.models import (
    BagForSequenceClassification,
    classifier_explainer,
)

Drops = list[list[float]]

CASES: dict[str, tuple[Callable[[], Explainer], Data]] = {
    "words": (classifier_explainer, {}),
    "no padding": (lambda: classifier_explainer(pad_token=None), {}),
    "tokens": (classifier_explainer, {"unit": "token", "operator": "unk"}),
    "sentences": (classifier_explainer, {"unit": "sentence"}),
    "removed": (classifier_explainer, {"operator": "remove"}),
    "pairs": (classifier_explainer, {"operator": "delete", "pair": "second"}),
    "a value": (lambda: classifier_explainer(num_labels=1), {"label": "value"}),
    "relative positions": (lambda: classifier_explainer("deberta-v2"), {"operator": "unk"}),
    "encoder and decoder": (lambda: classifier_explainer("bart"), {}),
    **{
        f"Llama, {operator}": (
            lambda: classifier_explainer("llama", kind="bpe", add_eos=False, padding_side="left"),
            {"operator": operator},
        )
        for operator in ("remove", "delete", "unk")
    },
    "GPT-2, no padding": (
        lambda: classifier_explainer("gpt2", kind="bpe", add_eos=False, pad_token=None),
        {"operator": "delete"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_metric_of_every_text(case: str) -> None:
    make, options = CASES[case]
    explainer, is_decoder = make(), case.startswith(("Llama", "GPT"))
    rows: list[Data] = list(ROWS)
    if case == "sentences":
        rows = [{**row, "text": f"{row['text']}. {row['second']}. good."} for row in rows]
    if case == "tokens":
        rows = [{**row, "text": f"{row['second']} bel"} for row in rows[1:]]
    if case == "pairs":
        rows = rows[2:]
    found = explainer.evaluate(
        rows,
        **{"label": "label", **options},
        methods=["normxlogit", "norm", "random"],
        metrics=["curves", "naopc", "loo_tau"],
        draws=3,
    )
    unit, operator = options.get("unit", "word"), options.get("operator", "mask")
    expected: list[Data] = []
    plains: dict[int, PlainEvaluation] = {}
    for record in found.scores.to_pylist():
        row = rows[record["row"]]
        item = (row["text"], row["second"]) if "pair" in options else row["text"]
        if record["row"] not in plains:
            plains[record["row"]] = PlainEvaluation(
                explainer, item, operator, unit, reads_last=is_decoder
            )
        plain = plains[record["row"]]
        behind = int(case == "encoder and decoder")  # the token that a decoder starts with
        expected.append(assert_record(record, explainer, plain, behind))
    assert len(plains) == len(rows)
    assert len(expected) == 5 * len(rows)
    assert_figures(found.results, expected, [row[options.get("label", "label")] for row in rows])


@pytest.mark.parametrize("metrics", ["", "curves", "loo_tau", "naopc", "curves naopc loo_tau"])
def test_a_variant_reaches_the_model_once_and_is_counted(
    bert: Explainer, monkeypatch: pytest.MonkeyPatch, metrics: str
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 2)
    further = metrics.split()
    with rows_reaching_model(bert.model) as rows:
        found = bert.evaluate(TEXTS, methods=["norm", "random"], metrics=further, draws=3)
    asked: list[tuple[int, list[int]]] = []
    for record in found.scores.to_pylist():
        row, scores = record["row"], record["scores"]
        order = sorted(range(len(scores)), key=lambda unit: (-scores[unit], unit))
        counts = [math.floor(Fraction(str(k)) * len(order) + Fraction(1, 2)) for k in RATIOS]
        if "curves" in further or "naopc" in further:
            counts += range(len(order) + 1)
        asked += [(row, own) for n in counts for own in (order[:n], order[n:])]
    plains = [PlainEvaluation(bert, text, "mask", "word", reads_last=False) for text in TEXTS]
    for row, plain in enumerate(plains):
        if "loo_tau" in further:
            asked += [(row, [unit]) for unit in plain.everything]
        if "naopc" in further:
            for size in range(1, len(plain.units) + 1):
                asked += 2 * [
                    (row, [*own]) for own in itertools.combinations(plain.everything, size)
                ]
    expected: list[tuple[int, ...]] = []
    for row, hidden in {(row, frozenset(own)) for row, own in asked if own}:
        expected.append(tuple(plains[row].inputs(hidden)["input_ids"][0].tolist()))
    tokens: Any = bert.tokenizer
    masked = [ids for ids in rows if tokens.mask_token_id in ids]
    assert sorted(masked) == sorted(expected)
    assert len(masked) < len(asked) / 2
    assert found.results["forwards"] == {
        "asked": len(asked),
        "run": len(masked),
        "tokens": sum(map(len, masked)),
    }


@pytest.fixture
def reverse() -> Iterator[str]:
    """A method that ranks tokens as occlusion does, the last first."""

    @register("reverse", family="test", source="-", of_output=True)
    def reversed_occlusion(context: MethodContext) -> Tensor:
        return -METHODS["occlusion"](context).scores

    yield "reverse"
    del METHODS["reverse"]


def test_the_oracle_of_a_linear_model_is_the_best_order_and_its_reverse_the_worst(
    reverse: str,
) -> None:
    words = tokenizer(mask_token="<mask>")
    config: Any = BertConfig
    model: Any = BagForSequenceClassification(config(vocab_size=len(words), num_labels=2))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.bag.embeddings.weight.normal_(generator=generator)
        model.classifier.weight.normal_(generator=generator)
        model.classifier.weight[0] = -model.classifier.weight[1]
        model.classifier.bias.copy_(torch.tensor([0.1, -0.1]))
    explainer = Explainer(model.eval(), words)
    texts = ["a great plot with bad", "the plot is not bad", "one two three"]
    found = explainer.evaluate(texts, methods=["occlusion", reverse], metrics=["naopc"])
    for record in found.scores.to_pylist():
        plain = PlainEvaluation(explainer, record["text"], "mask", "word", reads_last=False)
        is_best = record["method"] == "occlusion"
        best, worst = (max, min) if is_best else (min, max)
        size = len(plain.units)
        for k, ratio in enumerate(RATIOS):
            count = math.floor(Fraction(str(ratio)) * size + Fraction(1, 2))
            sets = list(itertools.combinations(range(size), count))
            top = best(plain.lost(own) for own in sets)
            others = worst(plain.lost(set(range(size)) - set(own)) for own in sets)
            assert record["comprehensiveness"][k] == pytest.approx(top, abs=1e-6)
            assert record["sufficiency"][k] == pytest.approx(others, abs=1e-6)
        assert record["naopc_comprehensiveness"] == pytest.approx(float(is_best), abs=1e-5)
        assert record["naopc_sufficiency"] == pytest.approx(float(not is_best), abs=1e-5)
    figures = {name: own["figures"] for name, own in found.results["methods"].items()}
    assert figures["occlusion"]["comprehensiveness"]["beside_best"] is None
    assert figures[reverse]["sufficiency"]["beside_best"]["value"] > 0


def test_the_bootstrap_of_a_correlation() -> None:
    generator = np.random.default_rng(5)
    given, found = generator.normal(size=12), generator.normal(size=(3, 12))
    found[2] = 4.0
    estimate = Bootstrap(12, 7, 50).correlation(found, given)
    drawn = np.random.default_rng(7).multinomial(12, [1 / 12] * 12, 50)
    values = [estimate.value, *estimate.resampled]
    for counts, value in zip([np.ones(12, int), *drawn], values, strict=True):
        own = np.repeat(np.arange(12), counts)
        each = [np.corrcoef(row[own], given[own])[0, 1] for row in found[:2]]
        assert value == pytest.approx(sum(each) / 3, abs=1e-9)


def test_what_shuffled_weights_and_another_class_leave_of_scores() -> None:
    explainer = classifier_explainer()
    methods = ["normxlogit", "norm", "occlusion"]
    found = explainer.evaluate(TEXTS, methods=methods, metrics=["sanity"], seed=3).results["sanity"]
    plains = [PlainEvaluation(explainer, text, "mask", "word", reads_last=False) for text in TEXTS]

    def scores(of: Explainer, method: str, plain: PlainEvaluation, target: int) -> list[float]:
        own = of.explain(plain.parts[0], method=method, target=target).scores
        return [sum(float(own[token]) for token in tokens) for tokens in plain.units]

    def correlation(method: str, plain: PlainEvaluation, changed: list[float]) -> float:
        whole = scores(explainer, method, plain, plain.target)
        return float(np.corrcoef(ranks(whole), ranks(changed))[0, 1])

    model = copy.deepcopy(explainer.model)
    named = dict(model.named_parameters())
    depth = model.config.num_hidden_layers
    layers = [(f"bert.encoder.layer.{n}.",) for n in reversed(range(depth))]
    generator = torch.Generator().manual_seed(3)
    long = [plain for plain in plains if len(plain.units) > 2]
    assert 0 < len(long) < len(plains)
    head, embeddings = ("bert.pooler.", "classifier."), ("bert.embeddings.",)
    for step, part in enumerate([head, *layers, embeddings]):
        for name, weight in named.items():
            if name.startswith(part):
                order = torch.randperm(weight.numel(), generator=generator)
                weight.data = weight.data.flatten()[order].reshape(weight.shape)
        shuffled = Explainer(model, explainer.tokenizer)
        for method in methods:
            each = [correlation(method, p, scores(shuffled, method, p, p.target)) for p in long]
            value = found["methods"][method]["shuffled"][step]
            assert value == pytest.approx(np.mean(each), abs=1e-6)
    for method in methods:
        own = [scores(explainer, method, plain, int(plain.whole.argmin())) for plain in long]
        each = [correlation(method, plain, other) for plain, other in zip(long, own, strict=True)]
        assert found["methods"][method]["other_class"] == pytest.approx(np.mean(each), abs=1e-6)
    steps = depth + 2
    assert [len(found["methods"][method]["shuffled"]) for method in methods] == [steps] * 3
    assert min(np.ptp(found["methods"][method]["shuffled"]) for method in methods) > 0.1


def ranks(values: Sequence[float]) -> list[float]:
    """How many are smaller, and half of the others that are the same."""
    return [sum((other < own) + (other == own) / 2 for other in values) - 0.5 for own in values]


def test_random_orders_depend_on_the_seed_alone(bert: Explainer) -> None:
    def drawn(**options: Any) -> list[list[float]]:
        found = bert.evaluate(TEXTS, methods=["random"], draws=4, **options).scores
        own: list[list[float]] = found["scores"].to_pylist()
        return own

    first = drawn()
    assert first == drawn() == drawn(ratios=[0.5])
    assert first != drawn(seed=1)
    assert drawn(limit=2) == first[:8]
    assert len({tuple(own) for own in first[:4]}) > 1


def test_half_a_unit_is_a_whole_one() -> None:
    explainer = classifier_explainer(max_position_embeddings=128, model_max_length=128)
    (record,) = explainer.evaluate(
        ["a " * 45], methods=["position"], ratios=[0.7], metrics=["curves"]
    ).scores.to_pylist()
    plain = PlainEvaluation.__new__(PlainEvaluation)
    plain.model, plain.tokenizer, plain.operator = explainer.model, explainer.tokenizer, "mask"
    plain.parts, plain.units, plain.outputs = ("a " * 45,), [[n] for n in range(1, 46)], {}
    plain.whole = plain.output(())
    plain.target = int(plain.whole.argmax())
    assert record["comprehensiveness"] == pytest.approx([plain.lost(range(13, 45))], abs=1e-6)


@pytest.mark.parametrize("operator", ["mask", "eos"])
def test_the_model_is_as_it_was(operator: str) -> None:
    explainer = classifier_explainer("bart")
    model = explainer.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config, gradients = model.config.to_dict(), [p.requires_grad for p in model.parameters()]
    how: Data = {"methods": ["norm", "gradient_norm"], "operator": operator, "metrics": ["curves"]}
    if operator == "eos":
        with pytest.raises(ModelError):
            explainer.evaluate(TEXTS, **how)
    else:
        explainer.evaluate(TEXTS, **how)
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.config.to_dict() == config
    assert [p.requires_grad for p in model.parameters()] == gradients
    assert all(p.grad is None for p in model.parameters())


def test_parts_of_one_character_are_deleted_once() -> None:
    explainer = classifier_explainer("bert", kind="bpe")
    found = explainer.evaluate(
        ["👍 abc"], methods=["position"], unit="token", operator="delete", ratios=[1]
    )
    words: Any = explainer.tokenizer
    with torch.no_grad():
        nothing = torch.softmax(explainer.model(**words("", return_tensors="pt")).logits[0], 0)
    (record,) = found.scores.to_pylist()
    said = int(np.argmax([record["prediction"] == f"LABEL_{n}" for n in range(3)]))
    expected = record["confidence"] - float(nothing[said])
    assert record["comprehensiveness"] == pytest.approx([expected], abs=1e-6)
