"""What a run over a corpus found, read back from its folder."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normxlogit.data.display import Displayed
from normxlogit.data.location import Location, location
from normxlogit.errors import InputError, OptionError
from normxlogit.extras import require

if TYPE_CHECKING:
    from normxlogit.corpus.folder import Run
    from normxlogit.corpus.tally import Tally, WordTally

SCHEMA = "normxlogit/summary/1"

STRONGEST = 5
"""How many words of a row are told."""


@dataclass(frozen=True)
class Label:
    """A label, and on how many rows it is.

    Attributes:
        label: its name.
        predicted: rows that the model says it of; of a tagger, words.
        given: rows whose own label it is.
    """

    label: str
    predicted: int
    given: int


@dataclass(frozen=True)
class Values:
    """What a regression said.

    Attributes:
        label: the name of the output.
        count: how many values.
        mean, low, high: of these values.
        edges: where `bins` begin and end.
        bins: how many values are in each of 20 equal parts between the edges.
    """

    label: str
    count: int
    mean: float
    low: float
    high: float
    edges: tuple[float, float]
    bins: tuple[int, ...]


@dataclass(frozen=True)
class Word:
    """A word in lower case, the mean of its scores, and how many these are."""

    word: str
    mean: float
    count: int


@dataclass(frozen=True)
class ClassWords:
    """The words with the highest mean attribution to a target.

    Attributes:
        target: the label; None for all together.
        records: how often it was explained.
        min_count: how often a word must occur to be among them.
        eligible: how many words do.
        words: the highest first.
    """

    target: str | None
    records: int
    min_count: int
    eligible: int
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Difference:
    """A row whose prediction is not its label.

    Attributes:
        row, file, id, text, text_sha256, pair, pair_sha256: as in the shards.
        label: the row's own, by the model's name for it.
        prediction, value: what the model says, and its probability or value.
        target: what the scores speak for: the prediction if it was explained.
        words: those with the largest scores by size, as they are in the text.
    """

    row: int
    file: str | None
    id: str | None
    text: str | None
    text_sha256: str | None
    pair: str | None
    pair_sha256: str | None
    label: str
    prediction: str
    value: float
    target: str
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Findings(Displayed):
    """What a run over a corpus found; docs/summary.md says how it is counted.

    Attributes:
        folder: where it is.
        finished: whether the run had come to its end.
        model, task, problem: the model's name, its task, and what its outputs mean.
        options: what was asked.
        rows, explained: rows of the source, and those of them that were explained.
        errors: how many were not, by kind.
        records, tokens, shards: what was written.
        broken: files that could not be read, and why.
        labels: the most frequent first; None of a regression, or if there are too many.
        values: of a regression, by output; else None.
        compared: rows with a label that the model knows.
        differing: those whose prediction is another.
        mean_difference: of a regression the mean of |prediction - label|; else None.
        unknown: labels that the model does not know, up to ten.
        unknown_rows: how many rows have such.
        words: by target, the most frequent first.
        differences: of rows that differ, those of which the model is surest; of a regression
            those that are farthest off.
    """

    display_name = "corpus"

    folder: str
    finished: bool
    model: str
    task: str
    problem: str
    options: Mapping[str, Any]
    rows: int
    explained: int
    errors: Mapping[str, int]
    records: int
    tokens: int
    shards: int
    broken: Mapping[str, str]
    labels: tuple[Label, ...] | None
    values: tuple[Values, ...] | None
    compared: int
    differing: int
    mean_difference: float | None
    unknown: tuple[str, ...]
    unknown_rows: int
    words: tuple[ClassWords, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}


def summary(folder: str | Path, *, top: int = 20, min_count: int | None = None) -> Findings:
    """Read back what `Explainer.corpus` or `normxlogit corpus` wrote.

    The shards are read in pieces; memory grows with the number of different words only.

    Args:
        folder: the run's output, a folder or its URI; it may be unfinished.
        top: how many words of each target, and how many rows that differ, are told at most.
        min_count: how often a word must occur with a target to be told. Without it 5, or once for
            every 1000 records of the target, if that is more.

    Raises:
        InputError: the folder holds no run, or a shard is lost or cannot be read.
        OptionError: a number is too small.
        MissingExtraError: pyarrow is not installed.
    """
    for name, number, least in (("top", top, 0), ("min_count", min_count, 1)):
        if number is not None and (type(number) is not int or number < least):
            raise OptionError(f"{name} must be a number from {least}, got {number!r}.")
    require("pyarrow")
    from normxlogit.corpus.folder import MANIFEST, run_in
    from normxlogit.corpus.tally import Tally, batches, span_of

    place = location(folder)
    if not (place / MANIFEST).is_file():
        raise InputError(
            f"{place} holds no run of normxlogit corpus: it has no {MANIFEST}. Give the folder "
            "that was its --output."
        )
    run = run_in(place)
    span = span_of(run.shards) if run.manifest["model"]["problem"] == "regression" else None
    tally = Tally(run.manifest["model"], top, span)
    for batch in batches(run.shards):
        tally.add(batch)
    return _findings(place, run, tally, min_count, span)


def _findings(
    folder: Location,
    run: "Run",
    tally: "Tally",
    min_count: int | None,
    span: tuple[float, float] | None,
) -> Findings:
    model, at, rows = run.manifest["model"], run.progress, tally.rows
    is_regression = model["problem"] == "regression"
    return Findings(
        folder=str(folder),
        finished=run.finished,
        model=model["name"],
        task=model["task"],
        problem=model["problem"],
        options=run.manifest["options"],
        rows=at.rows,
        explained=tally.explained,
        errors=dict(sorted(at.errors.items())),
        records=at.records,
        tokens=at.tokens,
        shards=len(run.shards),
        broken=dict(at.broken),
        labels=None if is_regression else _labels(tally, model["labels"] or []),
        values=_values(tally, span) if is_regression else None,
        compared=rows.compared,
        differing=rows.differing,
        mean_difference=rows.distance / rows.compared if is_regression and rows.compared else None,
        unknown=tuple(rows.unknown),
        unknown_rows=rows.unknown_rows,
        words=_words(tally.words, tally.rows.top, min_count),
        differences=_differences(tally),
    )


def _labels(tally: "Tally", known: list[str]) -> tuple[Label, ...] | None:
    predicted, given = tally.labels.predicted, tally.labels.given
    if predicted is None or given is None:
        return None
    named = dict.fromkeys([*known, *predicted, *given])
    found = [Label(name, predicted[name], given[name]) for name in named]
    return tuple(sorted(found, key=lambda label: (-label.predicted, -label.given)))


def _values(tally: "Tally", span: tuple[float, float] | None) -> tuple[Values, ...]:
    return tuple(
        Values(
            label,
            made.count,
            made.total / made.count,
            float(made.low),
            float(made.high),
            span or (float(made.low), float(made.high)),
            tuple(made.bins.tolist()),
        )
        for label, made in tally.values.items()
    )


def _words(tally: "WordTally", top: int, min_count: int | None) -> tuple[ClassWords, ...]:
    found = []
    for target, records in tally.records.most_common():
        least = min_count or max(5, math.ceil(records / 1000))
        words = [
            Word(word, total / count, count)
            for word, (count, total) in tally.words.get(target, {}).items()
            if count >= least
        ]
        words.sort(key=lambda word: (-word.mean, -word.count, word.word))
        found.append(ClassWords(target, records, least, len(words), tuple(words[:top])))
    return tuple(found)


def _differences(tally: "Tally") -> tuple[Difference, ...]:
    kept = sorted(tally.rows.kept.items(), key=lambda item: (-item[1][0], item[0]))
    found = []
    for _, (_, record) in kept:
        scored = zip(record["words"], record["word_scores"], strict=True)
        words = sorted((w for w in scored if math.isfinite(w[1])), key=lambda w: -abs(w[1]))
        as_they_are = ("row", "file", "id", "text", "text_sha256", "pair", "pair_sha256")
        found.append(
            Difference(
                **{name: record[name] for name in as_they_are},
                label=tally.name_of(record["label"]),
                prediction=record["prediction"],
                value=record["prediction_value"],
                target=record["target"],
                words=tuple(words[:STRONGEST]),
            )
        )
    return tuple(found)
