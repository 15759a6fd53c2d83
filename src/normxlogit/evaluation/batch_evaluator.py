"""Evaluate rows in parts: rank units by every method, and measure what hiding them does."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
)
from normxlogit.evaluation.metrics.rank_correlation import tau
from normxlogit.evaluation.metrics.soft import SoftMetrics
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.rankings import descending, rank_units, unit_scores
from normxlogit.evaluation.perturb.sample_reader import SampleReader, Skipped
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.evaluation.plan import Plan
from normxlogit.evaluation.records import records_table
from normxlogit.model.targets import Problem
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

Floats = NDArray[np.float64]

AT_A_TIME = 32
"""The number of rows in a part, which are evaluated together and then saved."""


class BatchEvaluator:
    """Evaluates parts of the rows."""

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
        self._reductions = {spec.name: spec.reduction for spec in plan.method_specs}
        self._soft = SoftMetrics(explainer.model, reader.problem, plan.ratios, plan.seed)

    def probe(self) -> tuple[list[MethodSpec], dict[str, str]]:
        """Try all methods on the first text that can be evaluated.

        Returns:
            The methods that serve the model, and why each of the others does not.

        Raises:
            InputError: no row can be evaluated.
            OptionError: no method serves the model.
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
                for options in self.arguments([spec]).values():
                    self._explainer.explain(sample.item, **options)
            except InputError:  # this text is at fault, not the method
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
        """Return the first samples that every method has explained."""
        rows = set(scores["row"].to_pylist())
        samples = (sample for sample in self._good(Skipped()) if sample.number in rows)
        return list(itertools.islice(samples, AT_A_TIME))

    def _good(self, skipped: Skipped) -> Iterator[Sample]:
        for start in range(0, len(self._rows), AT_A_TIME):
            yield from self._reader.samples(self._rows[start : start + AT_A_TIME], skipped)

    def arguments(self, specs: Sequence[MethodSpec]) -> dict[str, dict[str, Any]]:
        """The arguments of `Explainer.explain` for each method except random, by name."""
        arguments = {}
        for spec in specs:
            if spec.method == RANDOM:
                continue
            preset = dict(self._plan.preset.options(spec.method))
            if spec.method == "frequency":
                preset["counts"] = self._counts
            options = spec.arguments(preset)
            if options.get("compat") == "paper":
                options["batch_size"] = 1  # as in the notebook, texts run one at a time
            arguments[spec.name] = {**options, "long": self._plan.long}
        return arguments

    @cached_property
    def _counts(self) -> dict[int, int]:
        """How often each token occurs in the evaluated texts."""
        texts = (text for row in self._rows if row.bad is None for text in _texts(row))
        return self._explainer.token_counts(texts)

    def unit_scores(self, name: str, attribution: Attribution, sample: Sample) -> Floats:
        """Return the scores of a text's units by the method of that name, float64 [units].

        Raises:
            ModelError: the attribution is of other tokens than the text was read in.
        """
        units = sample.units_in(attribution.tokens)
        token_scores = self._plan.preset.scores(attribution)
        return unit_scores(token_scores, units, sample.count, self._reductions[name])

    def part(
        self,
        rows: Sequence[Row],
        serving: Sequence[MethodSpec],
        show: Callable[[float, int], None],
    ) -> tuple[pa.Table, dict[str, Any]]:
        """Evaluate some rows.

        Args:
            rows: the rows.
            serving: the methods.
            show: called with the work done so far, as a number of rows, and the tokens predicted.

        Returns:
            Their records, and a note of what was left out and how much was run.
        """
        skipped, plan, cache = Skipped(), self._plan, self._cache
        before = self._spent()
        samples = self._reader.samples(rows, skipped)
        # Explaining by a method, hiding, and the further metrics count as one step each.
        step = len(rows) / (len(serving) + 2)
        scores = self._scores(
            samples, serving, skipped, lambda methods: show(methods * step, cache.tokens)
        )
        samples = [sample for sample in samples if sample.number in scores]
        entries = [
            (sample, name, draw, values)
            for sample in samples
            for name, draws in scores[sample.number].items()
            for draw, values in enumerate(draws)
        ]
        rankings = [
            Ranked(sample, rank_units(values), plan.preset.counts(sample, plan.ratios))
            for sample, _, _, values in entries
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
        """The number of variants, forward passes and tokens so far."""
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
        """Explain samples by each method, leaving out those that a method fails on.

        `show` is called with the number of methods that are done.

        Returns:
            By row and method the scores of units for each draw, float64 [units].
        """
        plan = self._plan
        scores: dict[int, dict[str, list[Any]]] = {sample.number: {} for sample in samples}
        arguments = self.arguments(serving)
        explained: list[tuple[dict[str, Any], dict[int, Any]]] = []
        for number, spec in enumerate(serving):
            show(number)
            remaining = [sample for sample in samples if sample.number in scores]
            if spec.method == RANDOM:
                for sample in remaining:
                    draws = range(plan.preset.draws)
                    scores[sample.number][spec.name] = [
                        descending(plan.preset.draw(sample, plan.seed, draw)) for draw in draws
                    ]
                continue
            # Methods that differ in their reduction alone are run once.
            same = (results for others, results in explained if others == arguments[spec.name])
            if (results := next(same, None)) is None:
                items = [sample.item for sample in remaining]
                found = self._explainer.explain(items, **arguments[spec.name])
                results = {s.number: r for s, r in zip(remaining, found, strict=True)}
                explained.append((arguments[spec.name], results))
            for sample in remaining:
                result = results[sample.number]
                if isinstance(result, Attribution):
                    scores[sample.number][spec.name] = [self.unit_scores(spec.name, result, sample)]
                else:
                    skipped.add(f"row {sample.number}", "method", f"{spec.name}: {result.error}")
                    del scores[sample.number]  # methods are compared on the same texts
        return scores

    def _record(self, sample: Sample, name: str, draw: int, scores: Any) -> dict[str, Any]:
        texts, labels = sample.encoded.texts, self._reader.labels
        label = sample.label
        if self._reader.problem is not Problem.REGRESSION and label is not None:
            label_text: str | None = labels[int(label)]
        else:
            label_text = None if label is None else str(label)
        return {
            "row": sample.number,
            "text": texts[0],
            "pair": texts[1] if len(texts) > 1 else None,
            "label": label_text,
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
            by_record = list(zip(records, curves(cache, rankings), strict=True))
            if "curves" in further:
                for record, curve in by_record:
                    record["deletion"], record["insertion"] = curve.areas
            if "naopc" in further:
                bounds = aopc_bounds.bounds(cache, samples)
                bounds_of = {s.number: b for s, b in zip(samples, bounds, strict=True)}
                for record, curve in by_record:
                    top, bottom = (bounds_of[record["row"]].normalised(a) for a in curve.stepwise)
                    record["naopc_comprehensiveness"] = top
                    record["naopc_sufficiency"] = bottom
        if "loo_tau" in further:
            losses = leave_one_out(cache, samples)
            losses_of = {s.number: lost for s, lost in zip(samples, losses, strict=True)}
            for record in records:
                record["loo_tau"] = tau(record["scores"], losses_of[record["row"]])
        if "soft" in further:
            for sample in samples:
                self._add_soft([r for r in records if r["row"] == sample.number], sample)

    def _add_soft(self, records: Sequence[dict[str, Any]], sample: Sample) -> None:
        """Add the soft metrics to the records of a text."""
        metrics = self._soft.measure(sample, [record["scores"] for record in records])
        for record, (nc, ns) in zip(records, metrics, strict=True):
            record["pi_soft_nc"], record["pi_soft_ns"] = nc, ns


def _texts(row: Row) -> list[str]:
    return [text for text in (row.text, row.pair) if text]
