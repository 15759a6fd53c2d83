"""What is done with each part of the rows: every method's ranking, and what hiding does."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from normxlogit.data.rows import Row
from normxlogit.errors import InputError, NormXLogitError, OptionError
from normxlogit.evaluation.method_specs import RANDOM, MethodSpec
from normxlogit.evaluation.metrics import aopc_bounds
from normxlogit.evaluation.metrics.faithfulness import (
    Ranked,
    curves,
    drop,
    erase,
    leave_one_out,
    predicted,
    tau,
)
from normxlogit.evaluation.metrics.soft import SoftMetrics
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.rankings import rank_units, unit_scores
from normxlogit.evaluation.perturb.sample_reader import SampleReader, Skipped
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.evaluation.plan import Plan
from normxlogit.evaluation.records import records_table
from normxlogit.model.targets import Problem
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

AT_A_TIME = 32
"""How many rows are evaluated together, and saved."""


class BatchEvaluator:
    """What is done with each part of the rows."""

    def __init__(
        self,
        explainer: ModelExplainer,
        reader: SampleReader,
        cache: PredictionCache,
        plan: Plan,
        rows: Sequence[Row],
    ) -> None:
        self._explainer, self._reader, self._cache = explainer, reader, cache
        self._plan, self._rows = plan, rows
        self._soft = SoftMetrics(explainer.model, reader.problem, plan.ratios, plan.seed)

    def probe(self) -> tuple[list[MethodSpec], dict[str, str]]:
        """The candidates that serve the model, by the first good text, and why the others do not.

        Raises:
            InputError: no row is good.
            OptionError: no candidate serves.
        """
        skipped = Skipped()
        sample = next(self._good(skipped), None)
        if sample is None:
            raise InputError(
                "no row can be evaluated: " + ("; ".join(skipped.first) or "there are none") + "."
            )
        serving, failed = list[MethodSpec](), dict[str, str]()
        for spec in self._plan.method_specs:
            try:
                for own in self.arguments([spec]).values():
                    self._explainer.explain(sample.item, **own)
            except InputError:  # of this text alone
                serving.append(spec)
            except NormXLogitError as error:
                failed[spec.name] = str(error)
            else:
                serving.append(spec)
        if not serving:
            raise OptionError(
                "none of the methods serves this model: "
                + " ".join(f"{name}: {why}" for name, why in failed.items())
            )
        return serving, failed

    def explained(self, scores: pa.Table) -> list[Sample]:
        """The first samples that every method has explained."""
        rows = set(scores["row"].to_pylist())
        known = (sample for sample in self._good(Skipped()) if sample.number in rows)
        return list(itertools.islice(known, AT_A_TIME))

    def _good(self, skipped: Skipped) -> Iterator[Sample]:
        for start in range(0, len(self._rows), AT_A_TIME):
            yield from self._reader.samples(self._rows[start : start + AT_A_TIME], skipped)

    def arguments(self, specs: Sequence[MethodSpec]) -> dict[str, dict[str, Any]]:
        """What `Explainer.explain` takes for each candidate but random, by name."""
        found = {}
        for spec in specs:
            if spec.method == RANDOM:
                continue
            preset = dict(self._plan.preset.options(spec.method))
            if spec.method == "frequency":
                preset["counts"] = self._counts
            own = spec.arguments(preset)
            if own.get("compat") == "paper":
                own["batch_size"] = 1
            found[spec.name] = {**own, "long": self._plan.long}
        return found

    @cached_property
    def _counts(self) -> dict[int, int]:
        """How often each token occurs in the texts at hand."""
        texts = (text for row in self._rows if row.bad is None for text in _texts(row))
        return self._explainer.token_counts(texts)

    def part(
        self,
        rows: Sequence[Row],
        serving: Sequence[MethodSpec],
        show: Callable[[float, int], None],
    ) -> tuple[pa.Table, dict[str, Any]]:
        """The records of some rows, and a note of what was left out and how much was run.

        Meanwhile `show` is told to how many rows, counted in parts, and to how many tokens of
        variants the work done so far amounts.
        """
        skipped, plan, cache = Skipped(), self._plan, self._cache
        before = self._spent()
        samples = self._reader.samples(rows, skipped)
        step = len(rows) / (len(serving) + 2)
        scores = self._scores(
            samples, serving, skipped, lambda done: show(done * step, cache.tokens)
        )
        samples = [sample for sample in samples if sample.number in scores]
        entries = [
            (sample, name, draw, own)
            for sample in samples
            for name, draws in scores[sample.number].items()
            for draw, own in enumerate(draws)
        ]
        rankings = [
            Ranked(sample, rank_units(own), plan.preset.counts(sample, plan.ratios))
            for sample, _, _, own in entries
        ]
        records = [self._record(*entry) for entry in entries]
        for record, ranked, erased in zip(records, rankings, erase(cache, rankings), strict=True):
            for column, outputs in (
                ("comprehensiveness", erased.without_top),
                ("sufficiency", erased.top_alone),
            ):
                record[column] = drop(ranked.sample, outputs)
                record[f"{column}_said"] = predicted(outputs)
        show((len(serving) + 1) * step, cache.tokens)
        self._add_further(records, rankings, samples)
        show(len(rows), cache.tokens)
        cache.forget()
        note = {
            "errors": skipped.errors,
            "first": skipped.first,
            "gold": {sample.number: sample.label for sample in samples if sample.label is not None},
            **{name: count - before[name] for name, count in self._spent().items()},
        }
        return records_table(records), note

    def _spent(self) -> dict[str, int]:
        """How much was asked and run so far."""
        return {
            name: getattr(self._cache, name) + getattr(self._soft, name)
            for name in ("asked", "forwards", "tokens")
        }

    def _scores(
        self,
        samples: Sequence[Sample],
        serving: Sequence[MethodSpec],
        skipped: Skipped,
        show: Callable[[int], None],
    ) -> dict[int, dict[str, list[Any]]]:
        """The scores of units, for each draw, by row and candidate; rows that a candidate could not
        explain are left out. `show` is told how many candidates are done.
        """
        plan = self._plan
        found: dict[int, dict[str, list[Any]]] = {sample.number: {} for sample in samples}
        arguments = self.arguments(serving)
        for number, spec in enumerate(serving):
            show(number)
            going = [sample for sample in samples if sample.number in found]
            if spec.method == RANDOM:
                for sample in going:
                    draws = range(plan.preset.draws)
                    found[sample.number][spec.name] = [
                        _scores_of(plan.preset.draw(sample, plan.seed, draw)) for draw in draws
                    ]
                continue
            items = [sample.item for sample in going]
            results = self._explainer.explain(items, **arguments[spec.name])
            for sample, result in zip(going, results, strict=True):
                if isinstance(result, Attribution):
                    units = sample.units_in(result.tokens)
                    own = unit_scores(plan.preset.scores(result), units, sample.count)
                    found[sample.number][spec.name] = [own]
                else:
                    skipped.add(f"row {sample.number}", "method", f"{spec.name}: {result.error}")
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
            "prediction": labels[sample.target],
            "confidence": float(sample.output[sample.target]),
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
        further, cache = self._plan.further, self._cache
        if "curves" in further or "naopc" in further:
            drawn = curves(cache, rankings)
            if "curves" in further:
                for record, own in zip(records, drawn, strict=True):
                    record["deletion"], record["insertion"] = own.areas
            if "naopc" in further:
                found = aopc_bounds.bounds(cache, samples)
                by_row = {s.number: b for s, b in zip(samples, found, strict=True)}
                for record, own in zip(records, drawn, strict=True):
                    top, bottom = (by_row[record["row"]].normalised(a) for a in own.stepwise)
                    record["naopc_comprehensiveness"] = top
                    record["naopc_sufficiency"] = bottom
        if "loo_tau" in further:
            lost = leave_one_out(cache, samples)
            of_row = {s.number: own for s, own in zip(samples, lost, strict=True)}
            for record in records:
                record["loo_tau"] = tau(record["scores"], of_row[record["row"]])
        if "soft" in further:
            for sample in samples:
                self._add_soft([one for one in records if one["row"] == sample.number], sample)

    def _add_soft(self, records: Sequence[dict[str, Any]], sample: Sample) -> None:
        """To the records of one text."""
        found = self._soft.measure(sample, [record["scores"] for record in records])
        for record, (nc, ns) in zip(records, found, strict=True):
            record["pi_soft_nc"], record["pi_soft_ns"] = nc, ns


def _texts(row: Row) -> list[str]:
    return [text for text in (row.text, row.pair) if text]


def _scores_of(order: Any) -> Any:
    """Scores that rank units in this order."""
    scores = np.empty(len(order))
    scores[order] = np.arange(len(order), 0, -1)
    return scores
