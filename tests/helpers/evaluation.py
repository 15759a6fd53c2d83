"""Texts to evaluate on, and a slow, plain evaluation of them to compare with."""

import contextlib
import csv
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from typer.testing import CliRunner, Result

from normxlogit import Explainer, cli
from normxlogit.tasks.padding import Padding

Data = dict[str, Any]
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


class PlainEvaluation:
    """The outputs of a model for a text, every set of its units hidden by itself.

    Args:
        item: a text or a pair.
        operator: how units are hidden.
        unit: "word", "sentence" or "token".
        reads_last: whether the head reads the last token, which then is never hidden.
    """

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
        self.outputs: dict[frozenset[int], NDArray[Any]] = {}
        self.whole = self.output(())
        self.target = int(self.whole.argmax())
        assert len(self.units) <= 7
        self.every = [self.aopc(order) for order in itertools.permutations(range(len(self.units)))]

    def output(self, hidden: Any) -> NDArray[Any]:
        """Probabilities, or the value, with these units hidden."""
        key = frozenset(hidden)
        if key not in self.outputs:
            with torch.no_grad():
                logits = self.model(**self.inputs(key)).logits[0].double()
            self.outputs[key] = (logits if len(logits) == 1 else torch.softmax(logits, 0)).numpy()
        return self.outputs[key]

    def inputs(self, hidden: frozenset[int]) -> dict[str, Tensor]:
        """The model's inputs with these units hidden."""
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
        """How much of the prediction is lost with these units hidden."""
        difference = float(self.whole[self.target] - self.output(hidden)[self.target])
        return abs(difference) if len(self.whole) == 1 else difference

    def says(self, hidden: Any) -> float:
        """The predicted class, or the value, with these units hidden."""
        output = self.output(hidden)
        return float(output[0]) if len(output) == 1 else float(output.argmax())

    @property
    def everything(self) -> list[int]:
        return list(range(len(self.units)))

    def aopc(self, order: Sequence[int]) -> float:
        """The mean of what is lost as one unit after the other is hidden."""
        return math.fsum(self.lost(order[: n + 1]) for n in range(len(order))) / len(order)

    def normalised(self, order: Sequence[int]) -> float:
        """The AOPC of an order between the worst order, 0, and the best, 1."""
        room = max(self.every) - min(self.every)
        return (self.aopc(order) - min(self.every)) / room if room > 1e-9 else math.nan

    def kept(self, sets: Sequence[Any]) -> list[float]:
        """How much of the prediction is left with each of these sets hidden."""
        return [float(self.whole[self.target]) - self.lost(hidden) for hidden in sets]

    def record(self, scores: Sequence[float]) -> Data:
        """The record that `evaluate` should write for units with these scores."""
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


def assert_record(
    record: Data, explainer: Explainer, plain: PlainEvaluation, behind: int = 0
) -> Data:
    """Assert that a record is the plain one of its text; return that."""
    text, *second = plain.parts
    assert (record["text"], record["pair"]) == (text, second[0] if second else None)
    assert record["units"] == [plain.words[owner] for owner in plain.owners]
    assert record["confidence"] == pytest.approx(plain.whole[plain.target], abs=1e-5)
    if record["method"] != "random":
        item = (text, second[0]) if second else text
        scores = explainer.explain(item, method=record["method"]).scores
        sums = [sum(float(scores[token + behind]) for token in unit) for unit in plain.units]
        np.testing.assert_allclose(record["scores"], sums, rtol=1e-4, atol=1e-5)
    again = plain.record(record["scores"])
    for name, value in again.items():
        np.testing.assert_allclose(record[name], value, atol=tolerance_for(name), err_msg=name)
    return {**again, "row": record["row"], "method": record["method"]}


def assert_figures(results: Data, expected: list[Data], gold: list[Any]) -> None:
    """Assert that every figure is the plain mean or correlation over texts, draws and shares."""
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
        for method, summary in results["methods"].items():
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
            by_ratio = summary["figures"][name]["by_ratio"]
            assert (by_ratio is None) == (values.ndim == 2)
            if by_ratio is not None:
                if name.endswith("pearson"):
                    each = pearson(per_text[method], labels).reshape(values.shape[1:])
                else:
                    each = values.mean(0)
                np.testing.assert_allclose(by_ratio, each.mean(0), atol=tolerance_for(name))
        assert_intervals(results, name, per_text, labels)


def pearson(columns: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Pearson's correlation of each column with `values`; 0 where one is constant."""
    with np.errstate(invalid="ignore"):
        each = np.corrcoef(columns.T, values)[-1, :-1]
    return np.where(np.ptp(columns, 0) * np.ptp(values) > 0, each, 0.0)


def assert_intervals(
    results: Data, name: str, per_text: dict[str, NDArray[Any]], labels: NDArray[Any]
) -> None:
    """Assert that intervals are those of resamples that are written out, text by text."""

    def figure_of(values: NDArray[Any], rows: Any) -> float:
        if name.endswith("pearson"):
            return float(pearson(values[rows], labels[rows]).mean())
        return float(values[rows].mean())

    complete = np.flatnonzero(~np.isnan(np.hstack(list(per_text.values()))).any(1)).tolist()
    size = len(complete)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(size, [1 / size] * size, 2000)
    resamples = [np.repeat(complete, counts) for counts in drawn]
    means = {method: figure_of(values, complete) for method, values in per_text.items()}
    many = {
        method: np.array([figure_of(values, rows) for rows in resamples])
        for method, values in per_text.items()
    }
    sign = 1 if results["metrics"][name]["higher_is_better"] else -1
    best = max((m for m in means if m != "random"), key=lambda m: sign * means[m])
    for method, summary in results["methods"].items():
        figure = summary["figures"][name]
        assert figure["examples"] == size
        assert_interval(figure, means[method], many[method], tolerance_for(name))
        beside = figure["beside_best"]
        if beside is None:
            assert means[method] == pytest.approx(means[best], abs=tolerance_for(name))
            continue
        paired = many[method] - many[beside["best"]]
        assert_interval(beside, means[method] - means[beside["best"]], paired, tolerance_for(name))
        assert beside["differs"] == (beside["low"] > 0 or beside["high"] < 0)


def tolerance_for(name: str) -> float:
    """How much batching may change a figure.

    Normalised figures are divided by as little as 0.01, and correlations by as little spread.
    """
    if name.endswith("pearson"):
        return 1e-3
    return 5e-4 if name.startswith("naopc") else 2e-5


def assert_interval(figure: Data, value: float, resampled: NDArray[Any], room: float) -> None:
    low, high = np.quantile(resampled, [0.025, 0.975])
    interval = [figure["value"], figure["low"], figure["high"]]
    np.testing.assert_allclose(interval, [value, low, high], atol=room)


@contextlib.contextmanager
def rows_reaching_model(model: PreTrainedModel) -> Iterator[list[tuple[int, ...]]]:
    """The ids, without padding, of every row that reaches a model, but for trials of padding."""
    kind, rows = type(model), list[tuple[int, ...]]()
    forward, find_side = kind.forward, Padding.side

    @functools.wraps(forward)
    def recording(self: Any, **inputs: Any) -> Any:
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            rows.append(tuple(ids[mask.bool()].tolist()))
        return forward(self, **inputs)

    def side(*arguments: Any) -> str | None:
        before = len(rows)
        padding_side = find_side(*arguments)
        del rows[before:]
        return padding_side

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", recording)
        patch.setattr(Padding, "side", side)
        yield rows


OUTPUT_FILES = ("results.json", "scores.parquet")


def output_bytes(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUT_FILES]


def run_evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])


def write_reviews(path: Path, rows: int) -> Path:
    """A CSV of reviews with labels in turn."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for n in range(rows):
            writer.writerow([f"{TEXTS[n % 5]} {'one two'[: n % 8]}", ("NEGATIVE", "1")[n % 2]])
    return path
