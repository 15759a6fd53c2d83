"""An evaluation, from where it was to the end."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from normxlogit.attribution import Attribution
from normxlogit.corpus.fingerprint import model_of, versions
from normxlogit.corpus.progress import Meter
from normxlogit.corpus.rows import Columns, Row
from normxlogit.corpus.source import Given, open_source
from normxlogit.encode import Encoder
from normxlogit.errors import InputError, NormXLogitError, OptionError
from normxlogit.evaluate import orders
from normxlogit.evaluate.answers import Answers
from normxlogit.evaluate.candidates import RANDOM, Candidate
from normxlogit.evaluate.checkpoint import Checkpoint, parquet
from normxlogit.evaluate.costs import costs_of
from normxlogit.evaluate.faithfulness import (
    Ranked,
    curves,
    drop,
    erase,
    leave_one_out,
    said,
    tau,
)
from normxlogit.evaluate.operators import find_operator
from normxlogit.evaluate.plan import Plan
from normxlogit.evaluate.rankings import order_of, unit_scores
from normxlogit.evaluate.reading import Left, Reader
from normxlogit.evaluate.records import table_of
from normxlogit.evaluate.results import SCHEMA, figures_of, metrics_of
from normxlogit.evaluate.samples import Sample
from normxlogit.evaluate.sanity import sanity_of
from normxlogit.evaluate.statistics import Bootstrap
from normxlogit.files import write_whole
from normxlogit.methods import METHODS
from normxlogit.targets import Problem

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer

FEW = 30
AT_A_TIME = 32
"""How many rows are evaluated together, and saved."""

RESULTS, SCORES, COST = "results.json", "scores.parquet", "cost.json"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        results: settings, counts and the figures of each method, plain data for JSON; see
            docs/evaluate.md.
        scores: the records of each text, method and draw; see `records.SCHEMA`.
        costs: what each method costs, see `costs.costs_of`.
        folder: where all of it is written, if anywhere.
    """

    results: dict[str, Any]
    scores: pa.Table
    costs: dict[str, Any]
    folder: Path | None = None


def evaluate(
    explainer: "Explainer",
    encoder: Encoder,
    source: Any,
    columns: Columns,
    plan: Plan,
    *,
    name: str,
    output: Path | None,
    subset: str | None = None,
    split: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Hold methods against a classifier; see `Explainer.evaluate`."""
    operator, hide = find_operator(plan.operator, encoder)
    plan = replace(plan, operator=operator)
    rows, data = _rows(source, columns, plan.limit, subset, split)
    reader = Reader(explainer.model, encoder, plan.preset, plan.long)
    answers = Answers(explainer.model, encoder, reader.problem, hide)
    work = _Work(explainer, reader, answers, plan, rows)
    settings = {
        "model": model_of(explainer, name),
        "data": data,
        "columns": {"text": columns.text, "pair": columns.pair, "label": columns.label},
        **plan.to_dict(),
        "versions": versions(),
    }
    with ExitStack() as stack:
        checkpoint = None
        if output is not None:
            checkpoint = stack.enter_context(Checkpoint(output, settings))
            finished = _finished(output)
            if finished is not None:
                checkpoint.finish()
                return finished
        parts = []
        serving, failed = work.probe()
        meter = stack.enter_context(Meter(len(rows), 0, 0, shown=progress))
        for number, start in enumerate(range(0, len(rows), AT_A_TIME)):
            part = checkpoint.part(number) if checkpoint else None
            if part is None:
                part = work.part(rows[start : start + AT_A_TIME], serving)
                if checkpoint:
                    checkpoint.save(number, *part)
            parts.append(part)
            meter.show(min(start + AT_A_TIME, len(rows)), answers.tokens)
        scores = pa.concat_tables([table for table, _ in parts])
        results = _results(settings, reader, plan, len(rows), scores, [n for _, n in parts], failed)
        arguments, first = work.arguments(serving), work.explained(scores)
        if "sanity" in plan.further:
            results["sanity"] = sanity_of(
                explainer, arguments, first, plan.preset.scores, plan.seed
            )
        costs = costs_of(explainer, arguments, first)
        if output is not None and checkpoint is not None:
            _write(output, results, scores, costs)
            checkpoint.finish()
    return Evaluation(results, scores, costs, output)


class _Work:
    """What is done with each part of the rows."""

    def __init__(
        self,
        explainer: "Explainer",
        reader: Reader,
        answers: Answers,
        plan: Plan,
        rows: Sequence[Row],
    ) -> None:
        self._explainer, self._reader, self._answers = explainer, reader, answers
        self._plan, self._rows = plan, rows

    def probe(self) -> tuple[list[Candidate], dict[str, str]]:
        """The candidates that serve the model, by the first good text, and why the others do not.

        Raises:
            InputError: no row is good.
            OptionError: no candidate serves.
        """
        left = Left()
        sample = next(self._good(left), None)
        if sample is None:
            raise InputError(
                "no row can be evaluated: " + ("; ".join(left.first) or "there are none") + "."
            )
        serving, failed = list[Candidate](), dict[str, str]()
        for candidate in self._plan.candidates:
            try:
                for own in self.arguments([candidate]).values():
                    self._explainer.explain(sample.item, **own)
            except InputError:  # of this text alone
                serving.append(candidate)
            except NormXLogitError as error:
                failed[candidate.name] = str(error)
            else:
                serving.append(candidate)
        if not serving:
            raise OptionError(
                "none of the methods serves this model: "
                + " ".join(f"{name}: {why}" for name, why in failed.items())
            )
        return serving, failed

    def explained(self, scores: pa.Table) -> list[Sample]:
        """The first samples that every method has explained."""
        rows = set(scores["row"].to_pylist())
        known = (sample for sample in self._good(Left()) if sample.number in rows)
        return list(itertools.islice(known, AT_A_TIME))

    def _good(self, left: Left) -> Iterator[Sample]:
        for start in range(0, len(self._rows), AT_A_TIME):
            yield from self._reader.samples(self._rows[start : start + AT_A_TIME], left)

    def arguments(self, candidates: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
        """What `Explainer.explain` takes for each candidate but random, by name."""
        found = {}
        for candidate in candidates:
            if candidate.method == RANDOM:
                continue
            preset = dict(self._plan.preset.options(candidate.method))
            if candidate.method == "frequency":
                preset["counts"] = self._counts
            own = candidate.arguments(preset)
            if own.get("compat") == "paper":
                own["batch_size"] = 1
            found[candidate.name] = {**own, "long": self._plan.long}
        return found

    @cached_property
    def _counts(self) -> dict[int, int]:
        """How often each token occurs in the texts at hand."""
        texts = (text for row in self._rows if row.bad is None for text in _texts(row))
        return self._explainer.token_counts(texts)

    def part(
        self, rows: Sequence[Row], serving: Sequence[Candidate]
    ) -> tuple[pa.Table, dict[str, Any]]:
        """The records of some rows, and a note of what was left out and how much was run."""
        left, plan, answers = Left(), self._plan, self._answers
        asked, forwards, tokens = answers.asked, answers.forwards, answers.tokens
        samples = self._reader.samples(rows, left)
        scores = self._scores(samples, serving, left)
        samples = [sample for sample in samples if sample.number in scores]
        entries = [
            (sample, name, draw, own)
            for sample in samples
            for name, draws in scores[sample.number].items()
            for draw, own in enumerate(draws)
        ]
        rankings = [
            Ranked(sample, order_of(own), plan.preset.counts(sample, plan.ratios))
            for sample, _, _, own in entries
        ]
        records = [self._record(*entry) for entry in entries]
        for record, ranked, erased in zip(records, rankings, erase(answers, rankings), strict=True):
            for column, outputs in (
                ("comprehensiveness", erased.without_top),
                ("sufficiency", erased.top_alone),
            ):
                record[column] = drop(ranked.sample, outputs)
                record[f"{column}_said"] = said(outputs)
        self._add_further(records, rankings, samples)
        answers.forget()
        note = {
            "errors": left.errors,
            "first": left.first,
            "gold": {sample.number: sample.label for sample in samples if sample.label is not None},
            "asked": answers.asked - asked,
            "forwards": answers.forwards - forwards,
            "tokens": answers.tokens - tokens,
        }
        return table_of(records), note

    def _scores(
        self, samples: Sequence[Sample], serving: Sequence[Candidate], left: Left
    ) -> dict[int, dict[str, list[Any]]]:
        """The scores of units, for each draw, by row and candidate; rows that a candidate could not
        explain are left out.
        """
        plan = self._plan
        found: dict[int, dict[str, list[Any]]] = {sample.number: {} for sample in samples}
        arguments = self.arguments(serving)
        for candidate in serving:
            going = [sample for sample in samples if sample.number in found]
            if candidate.method == RANDOM:
                for sample in going:
                    draws = range(plan.preset.draws)
                    found[sample.number][candidate.name] = [
                        _scores_of(plan.preset.draw(sample, plan.seed, draw)) for draw in draws
                    ]
                continue
            items = [sample.item for sample in going]
            results = self._explainer.explain(items, **arguments[candidate.name])
            for sample, result in zip(going, results, strict=True):
                if isinstance(result, Attribution):
                    units = sample.units_in(result.tokens)
                    own = unit_scores(plan.preset.scores(result), units, sample.count)
                    found[sample.number][candidate.name] = [own]
                else:
                    left.add(f"row {sample.number}", "method", f"{candidate.name}: {result.error}")
                    del found[sample.number]
        return found

    def _record(self, sample: Sample, name: str, draw: int, scores: Any) -> dict[str, Any]:
        texts, labels = sample.encoded.texts, self._reader.labels
        label = sample.label
        if self._reader.problem is not Problem.REGRESSION and label is not None:
            said_of_it: str | None = labels[int(label)]
        else:
            said_of_it = None if label is None else str(label)
        return {
            "row": sample.number,
            "text": texts[0],
            "pair": texts[1] if len(texts) > 1 else None,
            "label": said_of_it,
            "prediction": labels[sample.said],
            "confidence": float(sample.output[sample.said]),
            "method": name,
            "draw": draw,
            "units": sample.names(),
            "scores": scores,
        }

    def _add_further(
        self,
        records: Sequence[dict[str, Any]],
        rankings: Sequence[Ranked],
        samples: Sequence[Sample],
    ) -> None:
        further, answers = self._plan.further, self._answers
        if "curves" in further or "naopc" in further:
            drawn = curves(answers, rankings)
            if "curves" in further:
                for record, own in zip(records, drawn, strict=True):
                    record["deletion"], record["insertion"] = own.areas
            if "naopc" in further:
                found = orders.bounds(answers, samples)
                by_row = {s.number: b for s, b in zip(samples, found, strict=True)}
                for record, own in zip(records, drawn, strict=True):
                    top, bottom = (by_row[record["row"]].normalised(a) for a in own.stepwise)
                    record["naopc_comprehensiveness"] = top
                    record["naopc_sufficiency"] = bottom
        if "loo_tau" in further:
            lost = leave_one_out(answers, samples)
            of_row = {s.number: own for s, own in zip(samples, lost, strict=True)}
            for record in records:
                record["loo_tau"] = tau(record["scores"], of_row[record["row"]])


def _rows(
    source: Any, columns: Columns, limit: int | None, subset: str | None, split: str | None
) -> tuple[list[Row], dict[str, Any]]:
    """The rows to evaluate, and what tells the data from other data."""
    rows: Iterator[Row]
    if isinstance(source, (str, Path)):
        found = open_source(source, subset=subset, split=split)
        found.check(columns, strict=True)
        rows, data = found.rows(columns, strict=True), found.fingerprint
    elif subset is not None or split is not None:
        raise OptionError("subset and split are for data sets of the Hub.")
    elif isinstance(source, Iterable):
        own = list(itertools.islice(Given(source).rows(columns), limit))
        return own, {"rows": "given", "sha256": hashlib.sha256(repr(own).encode()).hexdigest()}
    else:
        raise InputError(f"a source is a path or gives rows; got {type(source).__name__}.")
    return list(itertools.islice(rows, limit)), data


def _texts(row: Row) -> list[str]:
    return [text for text in (row.text, row.pair) if text]


def _scores_of(order: Any) -> Any:
    """Scores that rank units in this order."""
    scores = np.empty(len(order))
    scores[order] = np.arange(len(order), 0, -1)
    return scores


def _finished(folder: Path) -> Evaluation | None:
    """What an earlier run has written, if it came to its end."""
    import pyarrow.parquet as pq

    if not (folder / RESULTS).exists():
        return None
    results, costs = (json.loads((folder / file).read_text("utf-8")) for file in (RESULTS, COST))
    return Evaluation(results, pq.read_table(folder / SCORES), costs, folder)


def _write(
    folder: Path, results: Mapping[str, Any], scores: pa.Table, costs: Mapping[str, Any]
) -> None:
    """Write everything, what says that it is finished last."""
    from normxlogit.evaluate.report import write_report

    write_whole(folder / SCORES, parquet(scores))
    write_whole(folder / COST, json.dumps(costs, indent=2) + "\n")
    write_report(folder, results, scores, costs)
    write_whole(folder / RESULTS, json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def _results(
    settings: Mapping[str, Any],
    reader: Reader,
    plan: Plan,
    read: int,
    scores: pa.Table,
    notes: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """The content of results.json."""
    gold = {int(row): value for note in notes for row, value in note["gold"].items()}
    left = Left()
    for note in notes:
        for kind, count in note["errors"].items():
            left.errors[kind] = left.errors.get(kind, 0) + count
        left.first = (left.first + note["first"])[:5]
    if len(scores) == 0:
        raise InputError("no row could be explained by every method: " + "; ".join(left.first))
    is_regression = reader.problem is Problem.REGRESSION
    metrics = metrics_of(plan.further, is_regression=is_regression, labelled=bool(gold))
    figures = figures_of(scores, metrics, gold, plan.seed)
    examples = _examples(scores, gold, reader, read) | {
        "errors": dict(sorted(left.errors.items())),
        "first_errors": left.first,
    }
    versions = settings["versions"]
    return {
        "schema": SCHEMA,
        "settings": {key: value for key, value in settings.items() if key != "versions"},
        "versions": versions,
        "problem": reader.problem.value,
        "labels": list(reader.labels),
        "examples": examples,
        "forwards": {
            "asked": sum(note["asked"] for note in notes),
            "run": sum(note["forwards"] for note in notes),
            "tokens": sum(note["tokens"] for note in notes),
        },
        "metrics": {
            name: {
                "about": metric.about,
                "higher_is_better": metric.higher_is_better,
                "by_ratio": metric.has_shares,
            }
            for name, metric in metrics.items()
            if all(name in own for own in figures.values())
        },
        "methods": {
            candidate.name: {
                "method": candidate.method,
                "family": METHODS[candidate.method].family,
                "cost": METHODS[candidate.method].cost,
                "source": METHODS[candidate.method].source,
                "draws": plan.preset.draws if candidate.method == RANDOM else 1,
                "figures": figures[candidate.name],
            }
            for candidate in plan.candidates
            if candidate.name in figures
        },
        "failed": dict(failed),
        "notes": _notes(examples, settings["columns"]["label"]),
    }


def _examples(
    scores: pa.Table, gold: Mapping[int, float], reader: Reader, read: int
) -> dict[str, Any]:
    """How many rows there are, what their labels are, and how well the model does on them."""
    whole = {
        row: (prediction, value)
        for row, prediction, value in zip(
            *(scores[name].to_pylist() for name in ("row", "prediction", "confidence")), strict=True
        )
    }
    labelled = [row for row in whole if row in gold]
    found: dict[str, Any] = {"read": read, "evaluated": len(whole), "labelled": len(labelled)}
    given = np.array([gold[row] for row in labelled])
    if reader.problem is Problem.REGRESSION:
        values = np.array([[whole[row][1] for row in labelled]])
        correlation = (
            Bootstrap(len(given), 0, 0).correlation(values, given).value if labelled else None
        )
        return found | {"pearson": correlation}
    named = [reader.labels[int(label)] for label in given]
    right = [whole[row][0] == name for row, name in zip(labelled, named, strict=True)]
    return found | {
        "accuracy": sum(right) / len(right) if right else None,
        "labels": dict(sorted(Counter(named).items())),
    }


def _notes(examples: Mapping[str, Any], label: str | None) -> list[str]:
    """What a reader should know of the examples."""
    found = []
    if examples["evaluated"] < FEW:
        found.append(
            f"{examples['evaluated']} examples are few: the intervals are wide, and may be wrong."
        )
    if label is not None and not examples["labelled"]:
        found.append(f"no row has a label in {label}, so nothing is held against labels.")
    labels = examples.get("labels", {})
    if len(labels) == 1:
        found.append(f"every example has the label {next(iter(labels))}.")
    return found
