"""What `evaluate` finds beside a slow, plain computation: one text, one variant at a time."""

import contextlib
import copy
import csv
import functools
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput
from typer.testing import CliRunner, Result

from normxlogit import Explainer, InputError, ModelError, OptionError, cli
from normxlogit.data.files import write_whole
from normxlogit.data.progress import Meter
from normxlogit.evaluation import checkpoint, run
from normxlogit.evaluation.batch_evaluator import BatchEvaluator
from normxlogit.evaluation.metrics import aopc_bounds
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.methods import METHODS, register
from normxlogit.methods.context import MethodContext
from normxlogit.tasks.padding import Padding
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.killed import run_killed
from tests.tasks.test_heads import tagger, writer

Data = dict[str, Any]
Drops = list[list[float]]
RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
TEXTS = [
    "a great movie with poor performers",
    "the plot is not bad",
    "one unbelievably two three",
    "three mess five",
    "a mess",
]
LABELS = [0, 1, 2, 0, 1]
ROWS = [
    {"text": text, "second": other, "label": label, "value": value}
    for text, other, label, value in zip(
        TEXTS,
        ["one two bad", "a plot", "one", "two", "bad plot"],
        LABELS,
        [0.5, 2, -1, 0, 0.25],
        strict=True,
    )
]


def explainer_of(model_type: str = "bert", num_labels: int = 3, **options: Any) -> Explainer:
    words = tokenizer(**{"mask_token": "<mask>", **options})
    return Explainer(classifier(words, model_type, num_labels), words)


@pytest.fixture(scope="module")
def bert() -> Explainer:
    """A random three-class BERT whose tokenizer has a mask token."""
    return explainer_of()


class Plain:
    """A text and what a model says of it, every set of its units hidden by itself."""

    def __init__(
        self, explainer: Explainer, item: Any, operator: str, unit: str, *, reads_last: bool
    ) -> None:
        self.model, self.tokenizer, self.operator = explainer.model, explainer.tokenizer, operator
        self.parts: tuple[str, ...] = item if isinstance(item, tuple) else (item,)
        words: Any = self.tokenizer
        encoded = words(*self.parts, return_offsets_mapping=True)
        owners: dict[Any, list[int]] = {}
        self.words: dict[Any, str] = {}
        for token, (start, end) in enumerate(encoded["offset_mapping"]):
            segment = encoded.sequence_ids(0)[token]
            if segment is None:
                continue
            text = self.parts[segment]
            while text[start] == " ":
                start += 1
            before = text[:start]
            number = {"word": before.count(" "), "sentence": before.count("."), "token": token}
            owner = (segment, number[unit])
            owners.setdefault(owner, []).append(token)
            pieces = {
                "word": text.split(" "),
                "sentence": [p.strip() + "." for p in text.split(".")],
            }
            self.words[owner] = text[start:end] if unit == "token" else pieces[unit][owner[1]]
        read = len(encoded["input_ids"]) - 1 if reads_last else -1
        owners = {owner: tokens for owner, tokens in owners.items() if read not in tokens}
        self.owners, self.units = list(owners), list(owners.values())
        self.said: dict[frozenset[int], NDArray[Any]] = {}
        self.whole = self.output(())
        self.target = int(self.whole.argmax())
        assert len(self.units) <= 7
        self.every = [self.aopc(order) for order in itertools.permutations(range(len(self.units)))]

    def output(self, hidden: Any) -> NDArray[Any]:
        """Probabilities, or the value, with these units hidden."""
        key = frozenset(hidden)
        if key not in self.said:
            with torch.no_grad():
                logits = self.model(**self.inputs(key)).logits[0].double()
            self.said[key] = (logits if len(logits) == 1 else torch.softmax(logits, 0)).numpy()
        return self.said[key]

    def inputs(self, hidden: frozenset[int]) -> dict[str, Tensor]:
        words: Any = self.tokenizer
        if self.operator == "delete":
            gone = {self.owners[unit] for unit in hidden}
            kept = [
                " ".join(
                    word
                    for number, word in enumerate(text.split(" "))
                    if (segment, number) not in gone
                )
                for segment, text in enumerate(self.parts)
            ]
            return dict(words(*([text] for text in kept), return_tensors="pt"))
        inputs = dict(words(*self.parts, return_tensors="pt"))
        for unit in hidden:
            for token in self.units[unit]:
                if self.operator == "remove":
                    inputs["attention_mask"][0, token] = 0
                else:
                    ids = {"mask": words.mask_token_id, "unk": words.unk_token_id}
                    inputs["input_ids"][0, token] = ids[self.operator]
        return inputs

    def lost(self, hidden: Any) -> float:
        difference = float(self.whole[self.target] - self.output(hidden)[self.target])
        return abs(difference) if len(self.whole) == 1 else difference

    def says(self, hidden: Any) -> float:
        output = self.output(hidden)
        return float(output[0]) if len(output) == 1 else float(output.argmax())

    @property
    def everything(self) -> list[int]:
        return list(range(len(self.units)))

    def aopc(self, order: Sequence[int]) -> float:
        """The mean of what is lost as one unit after the other is hidden."""
        return math.fsum(self.lost(order[: n + 1]) for n in range(len(order))) / len(order)

    def normalised(self, order: Sequence[int]) -> float:
        room = max(self.every) - min(self.every)
        return (self.aopc(order) - min(self.every)) / room if room > 1e-9 else math.nan

    def kept(self, sets: Sequence[Any]) -> list[float]:
        return [float(self.whole[self.target]) - self.lost(hidden) for hidden in sets]

    def record(self, scores: Sequence[float]) -> Data:
        """What is to be found of a text whose units have these scores."""
        order = sorted(self.everything, key=lambda unit: (-scores[unit], unit))
        size = len(order)
        counts = [math.floor(Fraction(str(ratio)) * size + Fraction(1, 2)) for ratio in RATIOS]
        steps = range(size + 1)
        losses = [self.lost([unit]) for unit in self.everything]
        return {
            "comprehensiveness": [self.lost(order[:count]) for count in counts],
            "comprehensiveness_said": [self.says(order[:count]) for count in counts],
            "sufficiency": [self.lost(order[count:]) for count in counts],
            "sufficiency_said": [self.says(order[count:]) for count in counts],
            "deletion": np.trapezoid(self.kept([order[:n] for n in steps]), dx=1 / size),
            "insertion": np.trapezoid(self.kept([order[n:] for n in steps]), dx=1 / size),
            "naopc_comprehensiveness": self.normalised(order),
            "naopc_sufficiency": self.normalised(order[::-1]),
            "loo_tau": tau_b(list(scores), losses),
        }


def tau_b(x: list[float], y: list[float]) -> float:
    """Kendall's tau-b pair by pair."""
    both, only_x, only_y = 0.0, 0, 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        both += a * b
        only_x += a != 0
        only_y += b != 0
    if not only_y:
        return math.nan
    return float(both / math.sqrt(only_x * only_y)) if only_x else 0.0


CASES: dict[str, tuple[Callable[[], Explainer], Data]] = {
    "words": (explainer_of, {}),
    "no padding": (lambda: explainer_of(pad_token=None), {}),
    "tokens": (explainer_of, {"unit": "token", "operator": "unk"}),
    "sentences": (explainer_of, {"unit": "sentence"}),
    "removed": (explainer_of, {"operator": "remove"}),
    "pairs": (explainer_of, {"operator": "delete", "pair": "second"}),
    "a value": (lambda: explainer_of(num_labels=1), {"label": "value"}),
    "relative positions": (lambda: explainer_of("deberta-v2"), {"operator": "unk"}),
    "encoder and decoder": (lambda: explainer_of("bart"), {}),
    **{
        f"Llama, {operator}": (
            lambda: explainer_of("llama", kind="bpe", add_eos=False, padding_side="left"),
            {"operator": operator},
        )
        for operator in ("remove", "delete", "unk")
    },
    "GPT-2, no padding": (
        lambda: explainer_of("gpt2", kind="bpe", add_eos=False, pad_token=None),
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
    plains: dict[int, Plain] = {}
    for record in found.scores.to_pylist():
        row = rows[record["row"]]
        item = (row["text"], row["second"]) if "pair" in options else row["text"]
        if record["row"] not in plains:
            plains[record["row"]] = Plain(explainer, item, operator, unit, reads_last=is_decoder)
        plain = plains[record["row"]]
        behind = int(case == "encoder and decoder")  # the token that a decoder starts with
        expected.append(assert_record(record, explainer, plain, behind))
    assert len(plains) == len(rows)
    assert len(expected) == 5 * len(rows)
    assert_figures(found.results, expected, [row[options.get("label", "label")] for row in rows])


def assert_record(record: Data, explainer: Explainer, plain: Plain, behind: int = 0) -> Data:
    """A record is what is plainly found of its text, which it gives."""
    text, *second = plain.parts
    assert (record["text"], record["pair"]) == (text, second[0] if second else None)
    assert record["units"] == [plain.words[owner] for owner in plain.owners]
    assert record["confidence"] == pytest.approx(plain.whole[plain.target], abs=1e-5)
    if record["method"] != "random":
        item = plain.parts if second else text
        scores = explainer.explain(item, method=record["method"]).scores
        sums = [sum(float(scores[token + behind]) for token in own) for own in plain.units]
        np.testing.assert_allclose(record["scores"], sums, rtol=1e-4, atol=1e-5)
    again = plain.record(record["scores"])
    for name, value in again.items():
        np.testing.assert_allclose(record[name], value, atol=room_for(name), err_msg=name)
    return {**again, "row": record["row"], "method": record["method"]}


def assert_figures(results: Data, expected: list[Data], gold: list[Any]) -> None:
    """Every figure is the plain mean over texts, or correlation of them, over draws and shares."""
    is_regression = results["problem"] == "regression"
    agreement = "pearson" if is_regression else "accuracy"
    columns = {
        "comprehensiveness": "comprehensiveness",
        "sufficiency": "sufficiency",
        f"comprehensiveness_{agreement}": "comprehensiveness_said",
        f"sufficiency_{agreement}": "sufficiency_said",
    }
    columns = {name: columns.get(name, name) for name in results["metrics"]}
    assert len(columns) >= 7
    labels = np.array(gold, np.float64)
    for name, column in columns.items():
        per_text: dict[str, NDArray[Any]] = {}
        for method, own in results["methods"].items():
            records = [record for record in expected if record["method"] == method]
            values = np.stack(
                [
                    [record[column] for record in records if record["row"] == row]
                    for row in range(len(gold))
                ]
            )
            if name.endswith("accuracy"):
                values = values == labels[:, None, None]
            per_text[method] = values.reshape(len(gold), -1)
            by_ratio = own["figures"][name]["by_ratio"]
            assert (by_ratio is None) == (values.ndim == 2)
            if by_ratio is not None:
                if name.endswith("pearson"):
                    each = pearson(per_text[method], labels).reshape(values.shape[1:])
                else:
                    each = values.mean(0)
                np.testing.assert_allclose(by_ratio, each.mean(0), atol=room_for(name))
        assert_intervals(results, name, per_text, labels)


def pearson(found: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
    """Pearson's correlation of each column with what is given; 0 where one is constant."""
    with np.errstate(invalid="ignore"):
        each = np.corrcoef(found.T, given)[-1, :-1]
    return np.where(np.ptp(found, 0) * np.ptp(given) > 0, each, 0.0)


def assert_intervals(
    results: Data, name: str, per_text: dict[str, NDArray[Any]], labels: NDArray[Any]
) -> None:
    """Intervals are those of resamples that are written out, text by text."""

    def figure_of(values: NDArray[Any], rows: Any) -> float:
        if name.endswith("pearson"):
            return float(pearson(values[rows], labels[rows]).mean())
        return float(values[rows].mean())

    known = np.flatnonzero(~np.isnan(np.hstack(list(per_text.values()))).any(1)).tolist()
    size = len(known)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(size, [1 / size] * size, 2000)
    resamples = [np.repeat(known, counts) for counts in drawn]
    means = {method: figure_of(own, known) for method, own in per_text.items()}
    many = {
        method: np.array([figure_of(own, rows) for rows in resamples])
        for method, own in per_text.items()
    }
    sign = 1 if results["metrics"][name]["higher_is_better"] else -1
    best = max((m for m in means if m != "random"), key=lambda m: sign * means[m])
    for method, own in results["methods"].items():
        figure = own["figures"][name]
        assert figure["examples"] == size
        close(figure, means[method], many[method], room_for(name))
        beside = figure["beside_best"]
        if beside is None:
            assert means[method] == pytest.approx(means[best], abs=room_for(name))
            continue
        paired = many[method] - many[beside["best"]]
        close(beside, means[method] - means[beside["best"]], paired, room_for(name))
        assert beside["differs"] == (beside["low"] > 0 or beside["high"] < 0)


def room_for(name: str) -> float:
    """What batches may change; normalised figures are divided by as little as 0.01, and
    correlations by as little spread.
    """
    if name.endswith("pearson"):
        return 1e-3
    return 5e-4 if name.startswith("naopc") else 2e-5


def close(figure: Data, value: float, resampled: NDArray[Any], room: float) -> None:
    low, high = np.quantile(resampled, [0.025, 0.975])
    found = [figure["value"], figure["low"], figure["high"]]
    np.testing.assert_allclose(found, [value, low, high], atol=room)


@contextlib.contextmanager
def rows_reaching(model: PreTrainedModel) -> Iterator[list[tuple[int, ...]]]:
    """The ids of every row that reaches a model, without padding, but those that it is tried on."""
    kind, rows = type(model), list[tuple[int, ...]]()
    forward, find_side = kind.forward, Padding.side

    @functools.wraps(forward)
    def noted(self: Any, **given: Any) -> Any:
        for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True):
            rows.append(tuple(ids[mask.bool()].tolist()))
        return forward(self, **given)

    def side(*given: Any) -> str | None:
        before = len(rows)
        found = find_side(*given)
        del rows[before:]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", noted)
        patch.setattr(Padding, "side", side)
        yield rows


@pytest.mark.parametrize("metrics", ["", "curves", "loo_tau", "naopc", "curves naopc loo_tau"])
def test_a_variant_reaches_the_model_once_and_is_counted(
    bert: Explainer, monkeypatch: pytest.MonkeyPatch, metrics: str
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 2)
    further = metrics.split()
    with rows_reaching(bert.model) as rows:
        found = bert.evaluate(TEXTS, methods=["norm", "random"], metrics=further, draws=3)
    asked: list[tuple[int, list[int]]] = []
    for record in found.scores.to_pylist():
        row, scores = record["row"], record["scores"]
        order = sorted(range(len(scores)), key=lambda unit: (-scores[unit], unit))
        counts = [math.floor(Fraction(str(k)) * len(order) + Fraction(1, 2)) for k in RATIOS]
        if "curves" in further or "naopc" in further:
            counts += range(len(order) + 1)
        asked += [(row, own) for n in counts for own in (order[:n], order[n:])]
    plains = [Plain(bert, text, "mask", "word", reads_last=False) for text in TEXTS]
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


class Trunk(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Word embeddings, and nothing that mixes them."""

    config_class = BertConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, 4)
        self.layers = nn.ModuleList([nn.Identity()])
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **_: Any) -> Any:
        first = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        last: Any = self.layers[0](first)
        return BaseModelOutput(last_hidden_state=last, hidden_states=(first, last))


class BagForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A linear model of a bag of words."""

    config_class = BertConfig
    base_model_prefix = "bag"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bag, self.classifier = Trunk(config), nn.Linear(4, 2)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.bag.embeddings

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None, **_: Any
    ) -> SequenceClassifierOutput:
        states = self.bag(input_ids, inputs_embeds).last_hidden_state
        return SequenceClassifierOutput(
            logits=self.classifier((states * attention_mask[..., None]).sum(1))
        )


@pytest.fixture
def reverse() -> Iterator[str]:
    """A method that ranks tokens as occlusion does, the last first."""

    @register("reverse", family="test", source="-", of_output=True)
    def reversed_occlusion(context: MethodContext) -> Tensor:
        return -METHODS["occlusion"](context)

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
        plain = Plain(explainer, record["text"], "mask", "word", reads_last=False)
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


class Table:
    """Says of every set of hidden units a random number of its own."""

    def predict(self, requests: Any) -> list[NDArray[Any]]:
        return [np.array([[self.value(row)] for row in hidden]) for _, hidden in requests]

    @staticmethod
    def value(hidden: NDArray[np.bool_]) -> float:
        return random.Random(hidden.tobytes()).random()


def test_bounds_are_those_of_all_orders_and_a_beam_stays_within_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = (1, 2, 6)
    samples: list[Any] = [
        SimpleNamespace(count=size, target=0, output=np.array([1.5, 0.0])) for size in sizes
    ]
    table: Any = Table()
    found = aopc_bounds.bounds(table, samples)
    for size, own in zip(sizes, found, strict=True):
        every = []
        for order in itertools.permutations(range(size)):
            lost = [
                1.5 - table.value(np.isin(np.arange(size), order[: n + 1])) for n in range(size)
            ]
            every.append(sum(lost) / size)
        assert (own.upper, own.lower) == pytest.approx((max(every), min(every)))
    monkeypatch.setattr(aopc_bounds, "EXACT", 5)
    narrow = aopc_bounds.bounds(table, samples, 1)[2]
    assert found[2].lower <= narrow.lower <= narrow.upper < found[2].upper
    assert narrow.normalised(found[2].upper) == 1
    assert narrow.normalised(found[2].lower - 1) == 0


def plain_beam(size: int, lost: Callable[[Sequence[int]], float], beam: int) -> float:
    """The largest mean loss, going on from the best orders of each length, of different units."""

    def total(order: Sequence[int]) -> float:
        return sum(lost(order[: n + 1]) for n in range(len(order)))

    best: list[list[int]] = [[]]
    for _ in range(size):
        longer = [[*order, unit] for order in best for unit in range(size) if unit not in order]
        best = []
        for order in sorted(longer, key=total, reverse=True):
            if len(best) < beam and all(set(order) != set(other) for other in best):
                best.append(order)
    return total(best[0]) / size


def test_bounds_of_long_texts_are_those_of_a_beam_of_five() -> None:
    sizes = (10, 12, 14)
    samples: list[Any] = [
        SimpleNamespace(count=size, target=0, output=np.array([1.5, 0.0])) for size in sizes
    ]
    table: Any = Table()

    def plainly(beam: int) -> list[float]:
        found = []
        for size, sign in itertools.product(sizes, (1, -1)):

            def lost(hidden: Sequence[int], size: int = size, sign: int = sign) -> float:
                value: float = table.value(np.isin(np.arange(size), hidden))
                return sign * (1.5 - value)

            found.append(sign * plain_beam(size, lost, beam))
        return found

    found = [
        bound for own in aopc_bounds.bounds(table, samples) for bound in (own.upper, own.lower)
    ]
    assert found == pytest.approx(plainly(5), abs=1e-12)
    for beam in (4, 6, 20):
        assert found != pytest.approx(plainly(beam), abs=1e-4)


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
    explainer = explainer_of()
    methods = ["normxlogit", "norm", "occlusion"]
    found = explainer.evaluate(TEXTS, methods=methods, metrics=["sanity"], seed=3).results["sanity"]
    plains = [Plain(explainer, text, "mask", "word", reads_last=False) for text in TEXTS]

    def scores(of: Explainer, method: str, plain: Plain, target: int) -> list[float]:
        own = of.explain(plain.parts[0], method=method, target=target).scores
        return [sum(float(own[token]) for token in tokens) for tokens in plain.units]

    def correlation(method: str, plain: Plain, changed: list[float]) -> float:
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
    explainer = explainer_of(max_position_embeddings=128, model_max_length=128)
    (record,) = explainer.evaluate(
        ["a " * 45], methods=["position"], ratios=[0.7], metrics=["curves"]
    ).scores.to_pylist()
    plain = Plain.__new__(Plain)
    plain.model, plain.tokenizer, plain.operator = explainer.model, explainer.tokenizer, "mask"
    plain.parts, plain.units, plain.said = ("a " * 45,), [[n] for n in range(1, 46)], {}
    plain.whole = plain.output(())
    plain.target = int(plain.whole.argmax())
    assert record["comprehensiveness"] == pytest.approx([plain.lost(range(13, 45))], abs=1e-6)


def test_rows_that_cannot_be_used_are_left_out_and_the_others_are_not(bert: Explainer) -> None:
    rows: list[Any] = [
        {"text": "a mess", "label": "LABEL_1"},
        {"text": "a mess", "label": "solid"},
        {"text": "one two three " * 40, "label": 0},
        {"text": " ", "label": 0},
        {"text": None, "label": 0},
        {"text": 5, "label": 0},
        {"label": 0},
        {"text": "bad plot", "label": "2"},
        {"text": "not bad", "label": 2.0},
        {"text": "one two", "label": None},
    ]
    found = bert.evaluate(rows, label="label", methods=["norm", "progressive_inference"])
    examples = found.results["examples"]
    assert examples["read"] == 10
    assert (examples["evaluated"], examples["labelled"]) == (4, 3)
    kinds = ("blank", "label", "missing_column", "not_text", "null", "too_long")
    assert examples["errors"] == dict.fromkeys(kinds, 1)
    assert "no label 'solid'" in examples["first_errors"][0]
    assert "122 tokens, over the limit of 64" in examples["first_errors"][1]
    assert examples["labels"] == {"LABEL_1": 1, "LABEL_2": 2}
    assert found.scores["row"].to_pylist() == [0, 7, 8, 9]
    assert found.scores["label"].to_pylist() == ["LABEL_1", "LABEL_2", "LABEL_2", None]
    assert list(found.results["methods"]) == ["norm"]
    assert "causal" in found.results["failed"]["progressive_inference"]
    assert any("4 examples are few" in note for note in found.results["notes"])
    alone = bert.evaluate([rows[n] for n in (0, 7, 8, 9)], label="label", methods=["norm"])
    assert found.results["methods"] == alone.results["methods"]


@pytest.mark.parametrize(
    ("rows", "cut", "pair"),
    [
        (["one two three mess plot good", "bad"], ["one two three mess", "bad"], None),
        (
            [{"text": "a good plot", "pair": "one"}, {"text": "bad", "pair": "a"}],
            [{"text": "a good", "pair": "one"}, {"text": "bad", "pair": "a"}],
            "pair",
        ),
    ],
)
def test_a_limit_below_the_models(bert: Explainer, rows: Any, cut: Any, pair: str | None) -> None:
    """Six tokens are four of a text, or three of a pair, and special ones."""
    usual: Data = {"methods": ["norm", "occlusion"], "pair": pair}
    found = bert.evaluate(rows, long="truncate", max_length=6, **usual)
    expected = bert.evaluate(cut, **usual)
    texts = ["text", "pair"]
    assert found.scores["row"].to_pylist() == [0, 0, 1, 1]
    assert found.scores.drop_columns(texts).equals(expected.scores.drop_columns(texts))
    assert found.results["methods"] == expected.results["methods"]
    assert found.results["settings"]["max_length"] == 6
    whole, above = (
        bert.evaluate(rows, max_length=tokens, long="truncate", **usual) for tokens in (None, 1000)
    )
    assert whole.scores.equals(above.scores)
    assert not whole.scores.equals(found.scores)
    left = bert.evaluate(rows, max_length=6, **usual)
    assert left.scores["row"].to_pylist() == [1, 1]
    assert left.results["examples"]["errors"] == {"too_long": 1}
    assert "tokens, over the limit of 6." in left.results["examples"]["first_errors"][0]
    assert bert.tokenizer.model_max_length == 64


def test_a_limit_above_the_tokenizers_is_none() -> None:
    explainer = explainer_of(model_max_length=8)
    found = explainer.evaluate(
        ["bad", "one two three mess plot good a"], methods=["norm"], max_length=20
    )
    assert found.results["examples"]["errors"] == {"too_long": 1}
    assert "9 tokens, over the limit of 8." in found.results["examples"]["first_errors"][0]


def test_one_class_only_is_said(bert: Explainer) -> None:
    rows = [{"text": text, "label": 1} for text in TEXTS[:3]]
    notes = bert.evaluate(rows, label="label", methods=["norm"]).results["notes"]
    assert notes[1] == "every example has the label LABEL_1."
    assert notes[0].startswith("3 examples are few")


def test_labels_by_name_that_look_like_numbers() -> None:
    explainer = explainer_of()
    explainer.model.config.id2label = {0: "2", 1: "1", 2: "0"}
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, "20102", strict=True)]
    found = explainer.evaluate(rows, label="label", methods=["norm"])
    assert found.scores["label"].to_pylist() == list("20102")


REFUSED: list[tuple[Data, str]] = [
    ({"methods": []}, "methods must be a list"),
    ({"methods": "norm"}, "methods must be a list"),
    ({"methods": 5}, "methods must be a list"),
    ({"methods": {"method": "norm"}}, "methods must be a list"),
    ({"methods": ["norm", "norm"]}, "'norm' is given twice"),
    ({"methods": ["nom"]}, "there is no method 'nom'"),
    ({"methods": ["norm:layer"]}, "NAME:OPTION=VALUE"),
    ({"methods": ["norm:x=1"]}, "has no option 'x'"),
    ({"methods": ["logat:layer=all"]}, "Give a method for each"),
    ({"methods": ["logat:layer=99"]}, "there is no layer 99"),
    ({"methods": ["random:seed=1"]}, "random takes no options here"),
    ({"methods": [{"method": "random", "name": "chance"}]}, "another name for 'random'"),
    ({"methods": [{"method": "norm", "name": "random"}]}, "another name for 'norm'"),
    ({"methods": [{"method": "norm", "name": 5}]}, "must be text, got 5"),
    ({"methods": [{"method": "norm", "options": 5}]}, "plain data by name"),
    ({"methods": [{"method": "norm", "options": {"norm": object()}}]}, "plain data by name"),
    ({"methods": [{"name": "x"}]}, "a method is a name"),
    ({"preset": "Paper"}, "preset must be"),
    ({"preset": "paper", "draws": 3}, "Leave out unit and draws"),
    ({"unit": "letter"}, "unit must be one of"),
    ({"operator": "great movie"}, "is 2 tokens"),
    ({"operator": 5}, "operator must be"),
    ({"ratios": []}, "ratios must be a list"),
    ({"ratios": 0.5}, "ratios must be a list"),
    ({"ratios": [1.5]}, "ratios must be a list"),
    ({"ratios": None}, "ratios must be a list"),
    ({"metrics": "curves"}, "metrics must be a list"),
    ({"metrics": 5}, "metrics must be a list"),
    ({"metrics": ["x"]}, "metrics must be a list"),
    ({"draws": 0}, "draws must be a whole number from 1"),
    ({"seed": None}, "seed must be a whole number from 0"),
    ({"limit": 0}, "limit must be a whole number from 1"),
    ({"long": "window"}, "long must be"),
    ({"max_length": 0}, "max_length must be a whole number from 1"),
    ({"max_length": "90"}, "max_length must be a whole number from 1"),
    ({"max_length": 2}, "max_length must leave room for a word: at least 3 tokens"),
    ({"split": "train"}, "data sets of the Hub"),
    ({"target": 1}, "no option 'target'"),
]


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_options_that_do_not_fit(bert: Explainer, options: Data, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as error:
        bert.evaluate(TEXTS, **{"methods": ["norm"], **options})
    assert "\n" not in str(error.value)


def test_sources_that_do_not_fit(bert: Explainer, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "other.csv").write_text("review,label\na mess,1\n")
    cases: list[tuple[Any, str]] = [
        (5, "got int"),
        ([], "there are none"),
        (["", " "], "text is blank"),
        (tmp_path / "none.csv", "there is no file"),
        (tmp_path / "empty.csv", "there are none"),
        (tmp_path / "header.csv", "there are none"),
        (tmp_path / "other.csv", "has no column 'text'"),
    ]
    for source, reason in cases:
        with pytest.raises(InputError, match=reason):
            bert.evaluate(source, methods=["norm"])


def test_models_that_cannot_be_evaluated() -> None:
    several = Explainer(
        classifier(words := tokenizer(), problem_type="multi_label_classification"), words
    )
    for explainer in (several, tagger(), writer()):
        with pytest.raises(ModelError, match="evaluate is for"):
            explainer.evaluate(TEXTS, operator="delete")
    with pytest.raises(OptionError, match="has no mask token, so say how"):
        Explainer(classifier(words), words).evaluate(TEXTS)
    with pytest.raises(ModelError, match=r"same number of <eos> tokens\. Choose another operator"):
        explainer_of("bart").evaluate(TEXTS, methods=["norm"], operator="eos")


@pytest.mark.parametrize("operator", ["mask", "eos"])
def test_the_model_is_as_it_was(operator: str) -> None:
    explainer = explainer_of("bart")
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
    explainer = explainer_of("bert", kind="bpe")
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


FILES = ("results.json", "scores.parquet")


def content(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)


@pytest.mark.usefixtures("no_report")
def test_stopped_before_any_write(
    bert: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 2)
    options: Data = {"methods": ["norm", "random"], "metrics": ["curves", "loo_tau"], "draws": 2}
    bert.evaluate([*TEXTS, ""], tmp_path / "whole", **options)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        ".lock",
        "cost.json",
        "results.json",
        "scores.parquet",
        "settings.json",
    ]
    write, stopped = write_whole, 0
    for stop in itertools.count():
        left = stop

        def writes(path: Path, text: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            write(path, text)

        folder = tmp_path / str(stop)
        for module in (run, checkpoint):
            monkeypatch.setattr(module, "write_whole", writes)
        try:
            bert.evaluate([*TEXTS, ""], folder, **options)
        except KeyboardInterrupt:
            stopped += 1
        for module in (run, checkpoint):
            monkeypatch.setattr(module, "write_whole", write)
        bert.evaluate([*TEXTS, ""], folder, **options)
        assert content(folder) == content(tmp_path / "whole")
        if stopped <= stop:
            break
    assert stopped == 7


@pytest.mark.usefixtures("no_report")
def test_progress_within_parts_and_after_a_stop(
    bert: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 3)
    shown = list[list[float]]()

    class Seen(Meter):
        def __init__(self, total: int | None, rows: int, tokens: int, *, shown: bool) -> None:
            super().__init__(total, rows, tokens, shown=shown)
            seen.append(rows)

        def show(self, rows: float, tokens: int) -> None:
            super().show(rows, tokens)
            seen.append(rows)
            if len(shown) == 1 and rows == 4.5:
                raise KeyboardInterrupt

    monkeypatch.setattr(run, "Meter", Seen)
    for stopped in (True, False):
        seen = list[float]()
        shown.append(seen)
        with contextlib.suppress(KeyboardInterrupt):
            bert.evaluate(TEXTS, tmp_path / "out", methods=["norm", "logat"])
        assert (tmp_path / "out" / "results.json").exists() is not stopped
    assert len(TEXTS) == 5
    assert shown[0] == [0, 0, 0.75, 2.25, 3, 3, 3.5, 4.5]
    assert shown[1] == [3, 3, 3.5, 4.5, 5]


@pytest.mark.usefixtures("no_report")
def test_a_folder_belongs_to_one_run(bert: Explainer, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    bert.evaluate(TEXTS, folder, methods=["norm"])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    again = bert.evaluate(TEXTS, folder, methods=["norm"])
    assert again.results == json.loads((folder / "results.json").read_text("utf-8"))
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    before.pop(folder / ".lock")
    after.pop(folder / ".lock")
    assert after == before
    for changed, reason in (
        ({"methods": ["logat"]}, "candidates was .*norm.* and is .*logat"),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"operator": "unk"}, 'operator was "mask" and is "unk"'),
        ({"source": TEXTS[1:]}, "data.sha256 was"),
    ):
        options: Data = {"source": TEXTS, "methods": ["norm"], **changed}
        with pytest.raises(InputError, match=f"other settings: .*{reason}"):
            bert.evaluate(options.pop("source"), folder, **options)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds something else \(thesis\.tex\)"):
        bert.evaluate(TEXTS, tmp_path / "taken", methods=["norm"])
    with pytest.raises(InputError, match=r"cannot write|holds something else"):
        bert.evaluate(TEXTS, tmp_path / "taken" / "thesis.tex", methods=["norm"])


@pytest.mark.usefixtures("no_report")
def test_two_runs_at_once(bert: Explainer, tmp_path: Path) -> None:
    seen: list[bool] = []

    def rows() -> Iterator[str]:
        yield from TEXTS

    probe = BatchEvaluator.probe

    def meanwhile(self: Any) -> Any:
        if not seen:
            seen.append(True)
            with pytest.raises(InputError, match="is being written to by another run"):
                bert.evaluate(TEXTS, tmp_path / "out", methods=["norm"])
        return probe(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchEvaluator, "probe", meanwhile)
        found = bert.evaluate(rows(), tmp_path / "out", methods=["norm"])
    assert seen
    assert len(found.scores) == 5


def called(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])


def reviews(path: Path, rows: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for n in range(rows):
            writer.writerow([f"{TEXTS[n % 5]} {'one two'[: n % 8]}", ("NEGATIVE", "1")[n % 2]])
    return path


def test_one_line_on_the_command_line(model: Path, tmp_path: Path) -> None:
    data, out = reviews(tmp_path / "reviews.csv", 3), tmp_path / "out"
    usual = ["--model", model, "--data", data, "-o", out, "--operator", "unk", "--methods", "norm"]
    configs = {
        "unknown": "colour: red",
        "list": "- norm",
        "broken": "a: [",
        "ratios": "ratios: 0.5",
        "methods": "methods: 5",
    }
    for name, text in configs.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    cases: list[tuple[list[object], int, str]] = [
        (["--limit", 0], 1, "limit must be"),
        (["--methods", "norm,norm"], 1, "given twice"),
        (["--text", "review"], 1, "has no column 'review'"),
        (["--operator", "mask"], 1, "has no mask token"),
        (["--output", data], 1, "reviews.csv"),
        (["--output", tmp_path], 1, "holds something else"),
        (["--draws", "many"], 2, "Invalid value"),
        (["--config", tmp_path / "unknown.yaml"], 2, "colour"),
        (["--config", tmp_path / "list.yaml"], 2, "must have options by name"),
        (["--config", tmp_path / "broken.yaml"], 2, "is no YAML"),
        (["--config", tmp_path / "none.yaml"], 1, "none.yaml"),
        (["--config", tmp_path / "ratios.yaml"], 1, "ratios must be a list"),
    ]
    for arguments, code, reason in cases:
        result = called(*usual, *arguments)
        said = " ".join(result.stderr.replace("│", " ").split())
        assert (result.exit_code, reason in said) == (code, True), (arguments, result.output)
        assert "Traceback" not in result.output
        assert code == 2 or result.stderr.count("\n") == 1
    result = called("--model", model, "-o", out, "--config", tmp_path / "methods.yaml")
    assert (result.exit_code, "no data" in result.stderr) == (2, True)
    assert not out.exists()


IN_SMALL_PARTS = """
from normxlogit.evaluation import report
from normxlogit.evaluation import run

run.AT_A_TIME = 4
report.write_report = lambda *_: None
"""


def test_killed_at_random_ten_times(model: Path, tmp_path: Path) -> None:
    data = reviews(tmp_path / "reviews.csv", 160)

    def parts(folder: Path, times: int, seed: int) -> int:
        """How many parts there are after so many kills; without any it comes to its end."""
        options = ["--model", model, "--data", data, "--label", "label", "-o", folder]
        options += ["--operator", "unk", "--methods", "norm,logat,random", "--metrics", "curves"]
        found = folder / ".parts" / "0*.parquet"
        arguments = ["evaluate", *options]
        return run_killed(arguments, found, times=times, seed=seed, patch=IN_SMALL_PARTS)

    out, whole = tmp_path / "out", tmp_path / "whole"
    assert 0 < parts(out, 10, 2) < 40
    assert not (out / "results.json").exists()
    assert parts(out, 0, 3) == parts(whole, 0, 1) == 0
    assert content(out) == content(whole)
    assert pq.read_metadata(out / "scores.parquet").num_rows == 160 * 22
