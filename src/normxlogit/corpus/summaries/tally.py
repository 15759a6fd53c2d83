"""Counts over the shards of a run, a batch of records at a time.

Memory does not grow with the number of rows, only with the number of different words.
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
from normxlogit.model.targets import Problem, gold_id
from normxlogit.tasks import Task

BATCH = 1024
"""How many records are in memory at a time."""

LABELS = 1000
"""How many different labels are counted one by one; with more, they are pooled or not counted."""

BINS = 20

_COLUMNS = (
    *("row", "file", "id", "text", "text_sha256", "pair", "pair_sha256", "label"),
    *("prediction", "prediction_value", "target", "target_value", "offsets", "segments"),
    *("words", "word_scores", "unlike", "error_kind"),
)
_GIVEN = (
    *("row", "prediction", "prediction_value", "target", "target_value", "words"),
    "word_scores",
)
"""The columns of which an explained record has every value."""


def read_batches(paths: Sequence[Location]) -> Iterator[Any]:
    """Read the explained records of shards, as Arrow record batches of at most `BATCH`.

    Raises:
        InputError: a shard cannot be read.
    """
    for path in paths:
        try:
            with open_parquet(path) as file:
                for batch in file.iter_batches(BATCH, columns=list(_COLUMNS)):
                    if "unlike" not in batch.schema.names:  # a shard of an earlier version
                        batch = batch.append_column("unlike", pa.nulls(len(batch), pa.bool_()))
                    explained = batch.filter(pc.is_null(batch["error_kind"]))
                    if not _is_whole(explained):
                        raise InputError(
                            f"cannot read {path}: a row that was explained lacks a value. Bring "
                            "the file back as it was written."
                        )
                    yield explained
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {path}: {error}.") from error


def _is_whole(batch: Any) -> bool:
    """Tell whether every record has its prediction, target and words, and each word a score."""
    words, scores = batch["words"], batch["word_scores"]
    columns = [*(batch[name] for name in _GIVEN), words.flatten()]
    return (
        not any(column.null_count for column in columns)
        and pc.all(
            pc.equal(pc.list_value_length(words), pc.list_value_length(scores)), min_count=0
        ).as_py()
    )


def value_range(paths: Sequence[Location]) -> tuple[float, float] | None:
    """Return the smallest and the largest explained value; None if there is none.

    They come from the footers of the shards, which hold statistics of each column. So the edges of
    the histograms are known before the first record is read, and one pass is enough.
    """
    extremes: list[float] = []
    for path in paths:
        with open_parquet(path) as file:
            meta = file.metadata
        for group in map(meta.row_group, range(meta.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                limits = column.statistics
                if column.path_in_schema == "target_value" and limits and limits.has_min_max:
                    extremes += [limits.min, limits.max]
    return (min(extremes), max(extremes)) if extremes else None


@dataclass
class Scores:
    """Scores of a word or of several: how many, their sum, and the sum of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, other: "Scores") -> None:
        """Add more scores."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        """Their mean."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The sum of their squared differences from their mean."""
        return max(0.0, self.squares - self.total * self.mean)


class WordTally:
    """Sums of scores by target and word.

    Attributes:
        records: the number of records by target; once there are too many targets, all of them
            under None.
        words: by target and word, in lower case, the scores of its occurrences.
        any_negative: whether any score is below zero.
    """

    def __init__(self) -> None:
        self.any_negative = False
        self.records: Counter[str | None] = Counter()
        self.words: dict[str | None, dict[str, Scores]] = {}

    def add(self, batch: Any) -> None:
        """Count a batch."""
        self.records.update(batch["target"].to_pylist())
        words = batch["words"]  # a list of words for each record
        # Arrow cannot fold case. With a dictionary, Python does it once for each different word.
        encoded = words.flatten().dictionary_encode()
        folded = pa.array([w.casefold() for w in encoded.dictionary.to_pylist()], pa.string())
        scores = batch["word_scores"].flatten()
        exact = pc.cast(scores, pa.float64())
        occurrences = pa.table(  # a row for each occurrence of a word
            {
                "target": batch["target"].take(pc.list_parent_indices(words)),
                "word": folded.take(encoded.indices),
                "score": exact,
                "square": pc.multiply(exact, exact),
            }
        ).filter(pc.is_finite(scores))
        self.any_negative |= bool(pc.any(pc.less(occurrences["score"], 0.0)).as_py())
        sums = occurrences.group_by(["target", "word"]).aggregate(
            [("score", "count"), ("score", "sum"), ("square", "sum")]
        )
        for record in sums.to_pylist():
            sums_of_word = (record[name] for name in ("score_count", "score_sum", "square_sum"))
            self._count(record["target"], record["word"], Scores(*sums_of_word))
        if len(self.records) > LABELS or None in self.records:
            self._pool()

    def _count(self, target: str | None, word: str, scores: Scores) -> None:
        self.words.setdefault(target, {}).setdefault(word, Scores()).add(scores)

    def _pool(self) -> None:
        """Put all targets together."""
        self.records = Counter({None: self.records.total()})
        pooled = [(t, words) for t, words in self.words.items() if t is not None]
        for target, words in pooled:
            del self.words[target]
            for word, scores in words.items():
                self._count(None, word, scores)


class LabelTally:
    """How often each label is predicted, and how often it is the rows' own label.

    Attributes:
        predicted, actual: these counts; None once there were too many labels.
    """

    def __init__(self) -> None:
        self.predicted: Counter[str] | None = Counter()
        self.actual: Counter[str] | None = Counter()

    def add(self, predicted: str, actual: str | None) -> None:
        """Count a row."""
        if self.predicted is None or self.actual is None:
            return
        self.predicted[predicted] += 1
        if actual is not None:
            self.actual[actual] += 1
        if max(len(self.predicted), len(self.actual)) > LABELS:
            self.predicted = self.actual = None


@dataclass
class ValueTally:
    """The values that a regression predicted for one of its outputs.

    Attributes:
        count: the number of values.
        total: their sum.
        low, high: the smallest and the largest.
        bins: a histogram over the range of all outputs' values, int64 [BINS].
    """

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: Any = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: Any, span: tuple[float, float] | None) -> None:
        """Count values, float64 [values]; `span` is the range of the histogram."""
        self.count += len(values)
        self.total += float(values.sum())
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        if span is not None:
            self.bins += np.histogram(values, BINS, span)[0]


class Comparer:
    """Compares the predictions of a model with the rows' own labels."""

    def __init__(self, problem: str, labels: Sequence[str] | None) -> None:
        self._is_number = problem == Problem.REGRESSION.value
        self._labels = labels
        # Rows are many and labels few, and some lookups go through all of the model's labels.
        self.resolve = lru_cache(maxsize=4 * LABELS)(self._resolve)

    def _resolve(self, text: str) -> str | float | None:
        """Return the model's name for a row's label, or for a regression its value; None if the
        model knows no such label.
        """
        if self._is_number:
            try:
                value = float(text)
            except ValueError:
                return None
            return value if math.isfinite(value) else None
        if self._labels is None:
            return text.strip()
        try:
            return self._labels[gold_id(text, self._labels)]
        except OptionError:
            return None

    def distance(self, label: str | float, value: float) -> float:
        """Return how far a regression is from a label; for other models, whose labels have no
        distance, how sure they are of the prediction.
        """
        return abs(value - label) if isinstance(label, float) else value


@dataclass
class RowTally:
    """Counts of rows with labels, and the rows whose predictions differ most from theirs.

    Attributes:
        top: how many of these rows are kept.
        compared: the number of rows with a label that the model knows.
        differing: how many of these have another prediction.
        distance: the sum of the distances.
        unknown: labels that the model does not know, up to ten.
        unknown_rows: how many rows have such a label.
        kept: by row number, the distance and one record of the row: that of the predicted target,
            or if that was not explained, of the target with the highest value.
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
        """Keep a record of a row that differs, if it is among those that differ most."""
        if not self.top:
            return
        row = batch["row"][index].as_py()
        if row in self.kept:
            record = _record(batch, index)
            if _rank(record) > _rank(self.kept[row][1]):
                self.kept[row] = (distance, record)
            return
        if len(self.kept) == self.top:
            # Among equals the later row gives way, so the result does not depend on the batches.
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
    """All counts over a run.

    Attributes:
        words, labels, rows: see these classes.
        values: the values of a regression, by output.
        explained: the number of rows that were explained.
        judged, unlike: of how many of them it is known whether the text is unlike those that the
            attribution head was fitted on, and of how many it is.
    """

    def __init__(
        self, model: Mapping[str, Any], top: int, span: tuple[float, float] | None
    ) -> None:
        """Prepare the counts.

        Args:
            model: the model's entry in the manifest.
            top: how many rows that differ to keep.
            span: the range of a regression's values.
        """
        self.words, self.labels, self.rows = WordTally(), LabelTally(), RowTally(top)
        self.values: dict[str, ValueTally] = {}
        self.explained = self.judged = self.unlike = 0
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
        names = ("row", "label", "prediction", "prediction_value", "target", "unlike")
        records = zip(*(batch[name].to_pylist() for name in names), strict=True)
        for index, (row, label, prediction, value, target, unlike) in enumerate(records):
            # The records of a row follow one another, but may be split between two batches.
            is_new, self._row = row != self._row, row
            self.explained += is_new
            self.judged += is_new and unlike is not None
            self.unlike += is_new and bool(unlike)
            if self._is_tagger:
                self.labels.add(target, None)
                continue
            actual = None
            if label is not None and self._compares:
                actual = self._comparer.resolve(label)
                if actual is not None:
                    self._compare(batch, index, actual, prediction, value, is_new)
                elif is_new:
                    self.rows.count_unknown(label)
            if is_new and not self._is_regression:
                self.labels.add(prediction, actual if isinstance(actual, str) else None)

    def label_name(self, label: str) -> str:
        """Return the model's name for a row's own label; the label itself if it has none."""
        name = self._comparer.resolve(label)
        return name if isinstance(name, str) else label

    def _compare(
        self, batch: Any, index: int, actual: Any, prediction: str, value: float, is_new: bool
    ) -> None:
        distance = self._comparer.distance(actual, value)
        differs = distance > 0 if self._is_regression else actual != prediction.strip()
        if is_new:
            self.rows.count(differs, distance)
        if differs:
            self.rows.offer(distance, batch, index)

    def _add_values(self, batch: Any) -> None:
        targets = np.array(batch["target"].to_pylist())
        values = batch["target_value"].to_numpy().astype(np.float64)
        for target in np.unique(targets):
            tally = self.values.setdefault(str(target), ValueTally())
            tally.add(values[targets == target], self._span)
