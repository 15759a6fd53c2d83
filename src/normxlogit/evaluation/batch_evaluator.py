"""What is done with each part of the rows: every method's ranking, and what hiding does."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from normxlogit.data.rows import Row
from normxlogit.errors import InputError, NormXLogitError, OptionError
from normxlogit.evaluation.method_specs import RANDOM, Candidate
from normxlogit.evaluation.metrics import aopc_bounds
from normxlogit.evaluation.metrics.faithfulness import (
    Ranked,
    curves,
    drop,
    erase,
    leave_one_out,
    said,
    tau,
)
from normxlogit.evaluation.metrics.soft import Soft
from normxlogit.evaluation.perturb.predictions import Answers
from normxlogit.evaluation.perturb.rankings import order_of, unit_scores
from normxlogit.evaluation.perturb.sample_reader import Left, Reader
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.evaluation.plan import Plan
from normxlogit.evaluation.records import table_of
from normxlogit.model.targets import Problem
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

AT_A_TIME = 32
"""How many rows are evaluated together, and saved."""


class Work:
    """What is done with each part of the rows."""

    def __init__(
        self,
        explainer: ModelExplainer,
        reader: Reader,
        answers: Answers,
        plan: Plan,
        rows: Sequence[Row],
    ) -> None:
        self._explainer, self._reader, self._answers = explainer, reader, answers
        self._plan, self._rows = plan, rows
        self._soft = Soft(explainer.model, reader.problem, plan.ratios, plan.seed)

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
        self,
        rows: Sequence[Row],
        serving: Sequence[Candidate],
        show: Callable[[float, int], None],
    ) -> tuple[pa.Table, dict[str, Any]]:
        """The records of some rows, and a note of what was left out and how much was run.

        Meanwhile `show` is told to how many rows, counted in parts, and to how many tokens of
        variants the work done so far amounts.
        """
        left, plan, answers = Left(), self._plan, self._answers
        before = self._spent()
        samples = self._reader.samples(rows, left)
        step = len(rows) / (len(serving) + 2)
        scores = self._scores(
            samples, serving, left, lambda done: show(done * step, answers.tokens)
        )
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
        show((len(serving) + 1) * step, answers.tokens)
        self._add_further(records, rankings, samples)
        show(len(rows), answers.tokens)
        answers.forget()
        note = {
            "errors": left.errors,
            "first": left.first,
            "gold": {sample.number: sample.label for sample in samples if sample.label is not None},
            **{name: count - before[name] for name, count in self._spent().items()},
        }
        return table_of(records), note

    def _spent(self) -> dict[str, int]:
        """How much was asked and run so far."""
        return {
            name: getattr(self._answers, name) + getattr(self._soft, name)
            for name in ("asked", "forwards", "tokens")
        }

    def _scores(
        self,
        samples: Sequence[Sample],
        serving: Sequence[Candidate],
        left: Left,
        show: Callable[[int], None],
    ) -> dict[int, dict[str, list[Any]]]:
        """The scores of units, for each draw, by row and candidate; rows that a candidate could not
        explain are left out. `show` is told how many candidates are done.
        """
        plan = self._plan
        found: dict[int, dict[str, list[Any]]] = {sample.number: {} for sample in samples}
        arguments = self.arguments(serving)
        for number, candidate in enumerate(serving):
            show(number)
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
                found = aopc_bounds.bounds(answers, samples)
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
        if "soft" in further:
            for sample in samples:
                self._add_soft([one for one in records if one["row"] == sample.number], sample)

    def _add_soft(self, records: Sequence[dict[str, Any]], sample: Sample) -> None:
        """To the records of one text."""
        found = self._soft.of(sample, [record["scores"] for record in records])
        for record, (nc, ns) in zip(records, found, strict=True):
            record["pi_soft_nc"], record["pi_soft_ns"] = nc, ns


def _texts(row: Row) -> list[str]:
    return [text for text in (row.text, row.pair) if text]


def _scores_of(order: Any) -> Any:
    """Scores that rank units in this order."""
    scores = np.empty(len(order))
    scores[order] = np.arange(len(order), 0, -1)
    return scores
