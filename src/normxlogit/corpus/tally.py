"""What is counted while the shards of a run are read, a batch of records at a time.

Nothing here grows with the number of rows: only with that of different words.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normxlogit.data.location import Location, open_parquet
from normxlogit.errors import InputError, OptionError
from normxlogit.model.targets import Problem, target_id
from normxlogit.tasks import Task

BATCH = 1024
"""How many records are in memory at a time."""

LABELS = 1000
"""How many different labels are counted one by one."""

BINS = 20

_COLUMNS = (
    *("row", "file", "id", "text", "text_sha256", "pair", "pair_sha256", "label"),
    *("prediction", "prediction_value", "target", "target_value", "words", "word_scores"),
    "error_kind",
)


def batches(paths: Sequence[Location]) -> Iterator[Any]:
    """The records of shards that were explained, as Arrow record batches of at most `BATCH`.

    Raises:
        InputError: a shard cannot be read.
    """
    for path in paths:
        try:
            with open_parquet(path) as file:
                for batch in file.iter_batches(BATCH, columns=list(_COLUMNS)):
                    yield batch.filter(pc.is_null(batch["error_kind"]))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {path}: {error}.") from error


def span_of(paths: Sequence[Location]) -> tuple[float, float] | None:
    """The smallest and the largest value that was explained, by the footers of the shards."""
    found: list[float] = []
    for path in paths:
        with open_parquet(path) as file:
            meta = file.metadata
        for group in map(meta.row_group, range(meta.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                known = column.statistics
                if column.path_in_schema == "target_value" and known and known.has_min_max:
                    found += [known.min, known.max]
    return (min(found), max(found)) if found else None


class WordTally:
    """Sums of scores by target and word.

    Attributes:
        records: how many records each target has; of None all, once there were too many targets.
        words: of each target and word, in lower case, how often it occurs with a score and the sum
            of these scores.
    """

    def __init__(self) -> None:
        self.records: Counter[str | None] = Counter()
        self.words: dict[str | None, dict[str, tuple[int, float]]] = {}

    def add(self, batch: Any) -> None:
        """Count a batch."""
        self.records.update(batch["target"].to_pylist())
        words = batch["words"]
        spelled = words.flatten().dictionary_encode()
        folded = pa.array([w.casefold() for w in spelled.dictionary.to_pylist()], pa.string())
        scores = batch["word_scores"].flatten()
        flat = pa.table(
            {
                "target": batch["target"].take(pc.list_parent_indices(words)),
                "word": folded.take(spelled.indices),
                "score": scores,
            }
        ).filter(pc.is_finite(scores))
        sums = flat.group_by(["target", "word"]).aggregate([("score", "count"), ("score", "sum")])
        for record in sums.to_pylist():
            self._count(
                record["target"], record["word"], record["score_count"], record["score_sum"]
            )
        if len(self.records) > LABELS or None in self.records:
            self._pool()

    def _count(self, target: str | None, word: str, count: int, total: float) -> None:
        of_target = self.words.setdefault(target, {})
        before = of_target.get(word, (0, 0.0))
        of_target[word] = (before[0] + count, before[1] + total)

    def _pool(self) -> None:
        """Put all targets together."""
        self.records = Counter({None: self.records.total()})
        holders = [(t, words) for t, words in self.words.items() if t is not None]
        for target, words in holders:
            del self.words[target]
            for word, (count, total) in words.items():
                self._count(None, word, count, total)


class LabelTally:
    """How often each label was predicted, and how often it is what the rows say.

    Attributes:
        predicted, given: these counts; None once there were too many labels.
    """

    def __init__(self) -> None:
        self.predicted: Counter[str] | None = Counter()
        self.given: Counter[str] | None = Counter()

    def add(self, predicted: str, given: str | None) -> None:
        """Count a row."""
        if self.predicted is None or self.given is None:
            return
        self.predicted[predicted] += 1
        if given is not None:
            self.given[given] += 1
        if max(len(self.predicted), len(self.given)) > LABELS:
            self.predicted = self.given = None


@dataclass
class ValueTally:
    """The values that a regression gave for one of its outputs.

    Attributes:
        count: how many.
        total: their sum.
        low, high: the smallest and the largest.
        bins: how many are in each of the equal parts of the span of all outputs' values.
    """

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: Any = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: Any, span: tuple[float, float] | None) -> None:
        """Count values, float64 [values]."""
        self.count += len(values)
        self.total += float(values.sum())
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        if span is not None:
            self.bins += np.histogram(values, BINS, span)[0]


class Comparer:
    """Says what a row's own label means, and how far the prediction is from it."""

    def __init__(self, problem: str, labels: Sequence[str] | None) -> None:
        self._is_number = problem == Problem.REGRESSION.value
        self._labels = labels
        self.known = lru_cache(maxsize=4 * LABELS)(self._known)

    def _known(self, given: str) -> str | float | None:
        """The model's own name of a label, or a regression's value; None if it has no such."""
        if self._is_number:
            try:
                value = float(given)
            except ValueError:
                return None
            return value if math.isfinite(value) else None
        if self._labels is None:
            return given.strip()
        try:
            return self._labels[target_id(given.strip(), self._labels)]
        except OptionError:
            return None

    def distance(self, given: str | float, value: float) -> float:
        """How much a prediction differs from a label, or would: of a regression by how far, of
        other models by how sure they are.
        """
        return abs(value - given) if isinstance(given, float) else value


@dataclass
class RowTally:
    """Rows with labels, and those of them that differ most from theirs.

    Attributes:
        top: how many are kept.
        compared: how many rows have a label that the model knows.
        differing: how many of these have another prediction.
        distance: the sum of the distances.
        unknown: labels that the model does not know, up to ten.
        unknown_rows: how many rows have such.
        kept: of each kept row its number, its distance, and the record of the target that was
            predicted, or else of the one that the model says most of.
    """

    top: int
    compared: int = 0
    differing: int = 0
    distance: float = 0.0
    unknown: list[str] = field(default_factory=list)
    unknown_rows: int = 0
    kept: dict[int, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def count(self, differs: bool, distance: float) -> None:
        """Count a row that has a label."""
        self.compared += 1
        self.differing += differs
        self.distance += distance

    def count_unknown(self, label: str) -> None:
        """Count a row that has a label which the model does not know."""
        self.unknown_rows += 1
        if len(self.unknown) < 10 and label not in self.unknown:
            self.unknown.append(label)

    def offer(self, distance: float, batch: Any, index: int) -> None:
        """Keep a record of a row that differs if it is one of those that differ most."""
        if not self.top:
            return
        row = batch["row"][index].as_py()
        if row in self.kept:
            record = _record(batch, index)
            if _rank(record) > _rank(self.kept[row][1]):
                self.kept[row] = (distance, record)
            return
        if len(self.kept) == self.top:
            least = min(self.kept, key=lambda number: (self.kept[number][0], -number))
            if self.kept[least][0] >= distance:
                return
            del self.kept[least]
        self.kept[row] = (distance, _record(batch, index))


def _record(batch: Any, index: int) -> dict[str, Any]:
    (record,) = batch.slice(index, 1).to_pylist()
    return dict(record)


def _rank(record: Mapping[str, Any]) -> tuple[bool, float]:
    return record["target"] == record["prediction"], record["target_value"]


class Tally:
    """All that is counted.

    Attributes:
        words, labels, rows: see these classes.
        values: of a regression, by output.
        explained: how many rows were explained.
    """

    def __init__(
        self, model: Mapping[str, Any], top: int, span: tuple[float, float] | None
    ) -> None:
        """Take what the manifest says of the model, and the span of a regression's values."""
        self.words, self.labels, self.rows = WordTally(), LabelTally(), RowTally(top)
        self.values: dict[str, ValueTally] = {}
        self.explained = 0
        self._is_regression = model["problem"] == Problem.REGRESSION.value
        self._is_tagger = model["task"] == Task.TOKENS.value
        self._compares = not self._is_tagger and (
            not self._is_regression or len(model["labels"]) == 1
        )
        self._comparer = Comparer(model["problem"], model["labels"])
        self._span = span
        self._row = -1

    def add(self, batch: Any) -> None:
        """Count a batch of records."""
        self.words.add(batch)
        if self._is_regression:
            self._add_values(batch)
        names = ("row", "label", "prediction", "prediction_value", "target")
        records = zip(*(batch[name].to_pylist() for name in names), strict=True)
        for index, (row, label, prediction, value, target) in enumerate(records):
            is_new, self._row = row != self._row, row
            self.explained += is_new
            if self._is_tagger:
                self.labels.add(target, None)
                continue
            known = None
            if label is not None and self._compares:
                known = self._comparer.known(label)
                if known is not None:
                    self._compare(batch, index, known, prediction, value, is_new)
                elif is_new:
                    self.rows.count_unknown(label)
            if is_new and not self._is_regression:
                self.labels.add(prediction, known if isinstance(known, str) else None)

    def name_of(self, label: str) -> str:
        """A row's own label by the model's name for it."""
        known = self._comparer.known(label)
        return known if isinstance(known, str) else label

    def _compare(
        self, batch: Any, index: int, known: Any, prediction: str, value: float, is_new: bool
    ) -> None:
        distance = self._comparer.distance(known, value)
        differs = distance > 0 if self._is_regression else known != prediction.strip()
        if is_new:
            self.rows.count(differs, distance)
        if differs:
            self.rows.offer(distance, batch, index)

    def _add_values(self, batch: Any) -> None:
        targets = np.array(batch["target"].to_pylist())
        values = batch["target_value"].to_numpy().astype(np.float64)
        for target in np.unique(targets):
            of_target = self.values.setdefault(str(target), ValueTally())
            of_target.add(values[targets == target], self._span)
