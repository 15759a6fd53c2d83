"""Reads the findings of a run back from its folder."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from normxlogit.corpus.summaries.findings import Difference, Findings, Label, Values
from normxlogit.corpus.summaries.marks import find_marks
from normxlogit.data.location import Location, locate
from normxlogit.data.option_checks import whole_number
from normxlogit.errors import InputError
from normxlogit.extras import require

if TYPE_CHECKING:
    from normxlogit.corpus.progress import Run
    from normxlogit.corpus.summaries.tally import Tally

STRONGEST = 5
"""How many words of a row are listed."""


def summary(folder: str | Path, *, top: int = 20, min_count: int | None = None) -> Findings:
    """Read back what `Explainer.corpus` or `normxlogit corpus` wrote.

    The shards are read in pieces; memory grows with the number of different words only.

    Args:
        folder: the run's output, a folder or its URI; it may be unfinished.
        top: how many words of each target, and how many rows that differ, are listed at most.
        min_count: how often a word must occur with a target to be listed. Without it 5, or once for
            every 1000 records of the target, if that is more.

    Raises:
        InputError: the folder holds no run, or a shard is lost or cannot be read.
        OptionError: a number is too small.
        MissingExtraError: pyarrow is not installed.
    """
    for name, number, least in (("top", top, 0), ("min_count", min_count, 1)):
        if number is not None:
            whole_number(name, number, least=least)
    require("pyarrow")
    from normxlogit.corpus.progress import MANIFEST, read_manifest, read_run
    from normxlogit.corpus.summaries.tally import Tally, read_batches, value_range

    place = locate(folder)
    if not (place / MANIFEST).is_file():
        raise InputError(
            f"{place} holds no run of normxlogit corpus: it has no {MANIFEST}. Give the folder "
            "that was its --output."
        )
    run = read_run(place, read_manifest(place))
    is_regression = run.manifest["model"]["problem"] == "regression"
    span = value_range(run.shards) if is_regression else None
    tally = Tally(run.manifest["model"], top, span)
    for batch in read_batches(run.shards):
        tally.add(batch)
    return _findings(place, run, tally, min_count, span)


def _findings(
    folder: Location,
    run: "Run",
    tally: "Tally",
    min_count: int | None,
    span: tuple[float, float] | None,
) -> Findings:
    from normxlogit.corpus.summaries.leading_words import leading_words

    model, progress, rows = run.manifest["model"], run.progress, tally.rows
    is_regression = model["problem"] == "regression"
    return Findings(
        folder=str(folder),
        finished=run.finished,
        model=model["name"],
        task=model["task"],
        problem=model["problem"],
        options=run.manifest["options"],
        rows=progress.rows,
        explained=tally.explained,
        judged=tally.judged,
        unlike=tally.unlike,
        signed=tally.words.any_negative,
        errors=dict(sorted(progress.errors.items())),
        records=progress.records,
        tokens=progress.tokens,
        shards=len(run.shards),
        broken=dict(progress.broken),
        labels=None if is_regression else _labels(tally, model["labels"] or []),
        values=_values(tally, span) if is_regression else None,
        compared=rows.compared,
        differing=rows.differing,
        mean_difference=rows.distance / rows.compared if is_regression and rows.compared else None,
        unknown=tuple(rows.unknown),
        unknown_rows=rows.unknown_rows,
        words=leading_words(tally.words, tally.explained, tally.rows.top, min_count),
        differences=_differences(tally),
    )


def _labels(tally: "Tally", model_labels: list[str]) -> tuple[Label, ...] | None:
    predicted, actual = tally.labels.predicted, tally.labels.actual
    if predicted is None or actual is None:
        return None
    names = dict.fromkeys([*model_labels, *predicted, *actual])
    labels = [Label(name, predicted[name], actual[name]) for name in names]
    return tuple(sorted(labels, key=lambda label: (-label.predicted, -label.given)))


def _values(tally: "Tally", span: tuple[float, float] | None) -> tuple[Values, ...]:
    return tuple(
        Values(
            label,
            values.count,
            values.total / values.count,
            float(values.low),
            float(values.high),
            span or (float(values.low), float(values.high)),
            tuple(values.bins.tolist()),
        )
        for label, values in tally.values.items()
    )


def _differences(tally: "Tally") -> tuple[Difference, ...]:
    by_distance = sorted(tally.rows.kept.items(), key=lambda item: (-item[1][0], item[0]))
    copied = ("row", "file", "id", "text", "text_sha256", "pair", "pair_sha256")
    differences = []
    for _, (_, record) in by_distance:
        scored = zip(record["words"], record["word_scores"], strict=True)
        words = sorted((w for w in scored if math.isfinite(w[1])), key=lambda w: -abs(w[1]))
        differences.append(
            Difference(
                **{name: record[name] for name in copied},
                label=tally.label_name(record["label"]),
                prediction=record["prediction"],
                value=record["prediction_value"],
                target=record["target"],
                words=tuple(words[:STRONGEST]),
                marks=find_marks(record),
            )
        )
    return tuple(differences)
