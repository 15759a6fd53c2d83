"""Fit an attribution head to a model, or go on with a fit that was stopped."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.data.files import check_replaceable
from normxlogit.data.progress import Meter
from normxlogit.data.rows import Columns
from normxlogit.data.source import read_rows
from normxlogit.errors import InputError, ModelError
from normxlogit.evaluation.perturb.operators import Operator, find_operator, hiding_of
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.extras import versions
from normxlogit.fitting.held_out import measure_faithfulness, most_passes, verdict
from normxlogit.fitting.model_passes import (
    StateReader,
    chosen_layers,
    in_bfloat16,
    is_harmless,
)
from normxlogit.fitting.options import FitOptions
from normxlogit.fitting.outcomes import OutcomeFolder, Outcomes, count_passes, measure
from normxlogit.fitting.texts import draw_texts
from normxlogit.fitting.training import EPOCHS, Example, explained_variance, train
from normxlogit.fitting.usual import empty_outcomes, usual_states
from normxlogit.methods.attribution_head.head import AttributionHead, FitRecord
from normxlogit.model.targets import Problem
from normxlogit.tasks import Task
from normxlogit.tasks.digest import digest
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint

_PROBED = 16
"""How many texts are run first, to see how long all will take."""


@dataclass(frozen=True, eq=False)
class _Job:
    """A fit that is about to run.

    Attributes:
        explainer: of the model.
        options: the user's.
        samples: the texts; their outputs are yet unknown.
        reader: reads the states and outputs of texts.
        operator: hides words.
        record: of the head; how good it is is yet unknown.
        settings: what the outcomes depend on.
    """

    explainer: ModelExplainer
    options: FitOptions
    samples: Sequence[Sample]
    reader: StateReader
    operator: Operator
    record: FitRecord
    settings: Mapping[str, Any]

    def folder(self, output: Path) -> OutcomeFolder:
        """The folder beside the head's file that keeps what was measured until it is written."""
        path = output.with_name(output.name + ".fit")
        return OutcomeFolder(path, self.settings, len(self.record.model["labels"]))

    def cache(
        self, model: PreTrainedModel, of_logits: Callable[[Tensor], Tensor]
    ) -> PredictionCache:
        """What predicts texts with words hidden, by the model or a copy in another dtype."""
        return PredictionCache(model, self.explainer.encoder(), of_logits, self.operator)


def fit(
    explainer: ModelExplainer,
    source: Any,
    columns: Columns,
    options: FitOptions,
    *,
    output: Path | None,
    subset: str | None,
    split: str | None,
    progress: bool,
    say: Callable[[str], None],
) -> AttributionHead:
    """Fit a head; see `Explainer.fit`.

    Args:
        say: called with what a user should know beforehand.
    """
    if explainer.task is not Task.TEXT:
        raise ModelError(
            f"a head is fitted to classifiers and regressions of texts; "
            f"{type(explainer.model).__name__} is for {explainer.task.value}."
        )
    if output is not None:
        check_replaceable(output)
    job = _prepare(explainer, source, columns, options, subset, split)
    with ExitStack() as stack:
        folder = None if output is None else stack.enter_context(job.folder(output))
        cache = _announce(job, folder, say)
        samples, states = _read(job, stack)
        note = _one_sided(samples, job.record)
        if note:
            say(note)
        meter = stack.enter_context(Meter(len(samples), 0, 0, shown=progress))
        outcomes = measure(samples, cache, options.masks, options.seed, folder, meter.show)
        _check_outcomes(outcomes, explainer.model, job.record.hiding)
        examples = [
            Example(of_tokens, sample.units.astype(np.int64), _logits(sample), of_text)
            for of_tokens, sample, of_text in zip(states, samples, outcomes, strict=True)
        ]
        head = _train(job, examples, meter)
        held_out = _split(len(samples))[0]
        figures = _try(job, head, samples[held_out], examples[held_out], meter)
        if note:
            figures["note"] = note
        head = replace(head, record=replace(head.record, held_out=figures))
        if output is not None:
            head.save(output)
        if folder is not None:
            folder.remove()
    return head


def _prepare(
    explainer: ModelExplainer,
    source: Any,
    columns: Columns,
    options: FitOptions,
    subset: str | None,
    split: str | None,
) -> _Job:
    """Draw the texts, and settle how the model is run on them."""
    encoder = explainer.encoder()
    rows, data = read_rows(source, columns, subset=subset, split=split, strict=True)
    drawn = draw_texts(rows, options.texts, options.seed, encoder)
    data = data or {"sha256": _digest(drawn.samples)}
    reader = StateReader(explainer.model, encoder, drawn.samples[0])
    layers = chosen_layers(options.layers, reader.depth)
    hiding, operator = find_operator(hiding_of(encoder, drawn.samples[0]), encoder)
    fingerprint = {
        **model_fingerprint(explainer.with_head(None)),
        "weights": digest(explainer.model, explainer.tokenizer, of_any_dtype=True),
    }
    record = FitRecord(
        model=fingerprint,
        problem=Problem(fingerprint["problem"]),
        layers=layers,
        hiding=hiding,
        settings={**asdict(options), "layers": list(layers)},
        data={**data, "texts": len(drawn.samples), **drawn.counts},
        held_out={},
        versions=versions(),
    )
    settings = {
        "model": fingerprint,
        "data": data,
        "columns": {"text": columns.text, "pair": columns.pair},
        "hiding": hiding,
        **asdict(replace(options, layers=layers)),
        "versions": record.versions,
    }
    return _Job(explainer, options, drawn.samples, reader, operator, record, settings)


def _announce(
    job: _Job, folder: OutcomeFolder | None, say: Callable[[str], None]
) -> PredictionCache:
    """The model in the dtype that it runs in; says how many passes there are, and how long."""
    samples, model, masks = job.samples, job.explainer.model, job.options.masks
    probed = list(samples[:_PROBED])
    for number, _, logits in job.reader.read(probed, job.record.layers):
        probed[number] = _with_output(probed[number], logits)

    def outcomes(of: PreTrainedModel) -> tuple[PredictionCache, list[Outcomes], float]:
        """The model, what it says of the first texts, and the seconds that a token takes."""
        cache = job.cache(of, Tensor.float)
        start = monotonic()
        measured = measure(probed, cache, masks, job.options.seed, None, lambda *_: None)
        return cache, measured, (monotonic() - start) / cache.tokens

    cache, exact, exact_pace = outcomes(model)
    pace = exact_pace
    rounded_model = in_bfloat16(model)
    if rounded_model is not None:
        rounded = outcomes(rounded_model)
        both = (np.concatenate([o.logits for o in part]) for part in (exact, rounded[1]))
        if is_harmless(*both):
            cache, _, pace = rounded
    held_out = samples[_split(len(samples))[0]]
    trials = most_passes(held_out, job.record.problem)
    passes = count_passes(samples if folder is None else folder.missing(samples), masks)
    tokens = float(np.mean([len(sample.units) for sample in samples]))  # in a text
    # Texts are read, and heads tried, in the model's own dtype.
    seconds = tokens * (passes * pace + (len(samples) + trials) * exact_pace)
    how_long = f"about {seconds / 60:.0f} minutes" if seconds >= 60 else "less than a minute"
    say(
        f"{len(samples) + passes:,} forward passes over {len(samples):,} texts, and up to "
        f"{trials:,} to try the head on {len(held_out):,} of them: {how_long} on this machine."
    )
    return cache


def _read(job: _Job, stack: ExitStack) -> tuple[list[Sample], list[NDArray[np.float16]]]:
    """The texts with what the model says of them, and their states, [tokens, features] each.

    The states are kept on the disk as long as `stack` is open.

    Raises:
        InputError: the disk has no room for them.
    """
    ends = np.cumsum([len(sample.units) for sample in job.samples])
    starts = ends - [len(sample.units) for sample in job.samples]
    samples = list(job.samples)
    try:
        temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        path = Path(stack.enter_context(temporary)) / "states"
        # Written as a file: a write to mapped memory would kill the process on a full disk.
        with path.open("wb") as file:
            for number, of_tokens, logits in job.reader.read(samples, job.record.layers):
                file.seek(int(starts[number]) * of_tokens[0].nbytes)
                file.write(of_tokens.tobytes())
                samples[number] = _with_output(samples[number], logits)
        states = np.memmap(path, np.float16, "r").reshape(ends[-1], -1)
    except OSError as error:
        raise InputError(
            f"cannot keep hidden states in {tempfile.gettempdir()}: {error.strerror or error}. "
            "Make room there, or name another folder by the variable TMPDIR."
        ) from error
    return samples, [states[start:end] for start, end in zip(starts, ends, strict=True)]


def _train(job: _Job, examples: Sequence[Example], meter: Meter) -> AttributionHead:
    """Train the head, which is yet to be tried."""
    held_out, aside, rest = (examples[part] for part in _split(len(examples)))
    meter.say("training")
    trained = train(
        rest,
        aside,
        job.record.problem,
        job.options.width,
        job.options.seed,
        lambda epoch: meter.say(f"training {epoch}/{EPOCHS}"),
    )
    return AttributionHead(
        trained.network,
        empty_outcomes(examples),
        usual_states(rest, held_out),
        replace(job.record, settings={**job.record.settings, "epoch": trained.epoch}),
    )


def _try(
    job: _Job,
    head: AttributionHead,
    samples: Sequence[Sample],
    examples: Sequence[Example],
    meter: Meter,
) -> dict[str, Any]:
    """How good the head is on texts that it was not fitted on, and whether to use it."""
    problem = job.record.problem
    figures = measure_faithfulness(
        job.explainer.with_head(head),
        [
            _with_output(s, problem.probabilities(e.whole))
            for s, e in zip(samples, examples, strict=True)
        ],
        job.cache(job.explainer.model, problem.probabilities),
        problem,
        job.options.seed,
        lambda method: meter.say(f"trying {method} on held-out texts"),
    )
    usable, why = verdict(figures)
    variance = explained_variance(head.network, examples, problem)
    return figures | {"explained_variance": variance, "use": usable, "verdict": why}


def _check_outcomes(outcomes: Sequence[Outcomes], model: PreTrainedModel, hiding: str) -> None:
    """Refuse a model that hiding words does not touch."""
    if all(np.ptp(of_text.logits, 0).max() == 0 for of_text in outcomes):
        raise ModelError(
            f"hiding words ({hiding}) changes nothing in what {type(model).__name__} says of any "
            "text, so there is nothing to learn."
        )


def _one_sided(samples: Sequence[Sample], record: FitRecord) -> str | None:
    """What to know if the model predicts the same of every text; None if it does not."""
    if record.problem is Problem.REGRESSION:
        return None
    outputs = record.problem.probabilities(torch.stack([_logits(sample) for sample in samples]))
    is_single = record.problem is Problem.SINGLE_LABEL
    predicted = outputs == outputs.amax(1, keepdim=True) if is_single else outputs > 0.5
    if not bool((predicted == predicted[:1]).all()):
        return None
    chosen = predicted[0].tolist()
    names = [label for label, said in zip(record.model["labels"], chosen, strict=True) if said]
    return (
        f"the model says {' and '.join(names) or 'no label'} of all {len(samples)} texts, so the "
        "head hardly learns what speaks for other labels. Give texts of every label."
    )


def _split(count: int) -> tuple[slice, slice, slice]:
    """Texts to hold out, to choose the epoch by, and to train on: a tenth, a tenth, the rest."""
    tenth = max(1, count // 10)
    return slice(0, tenth), slice(tenth, 2 * tenth), slice(2 * tenth, count)


def _with_output(sample: Sample, output: Tensor) -> Sample:
    """The text with what the model says of it, [outputs]."""
    return replace(sample, output=output.double().numpy())


def _logits(sample: Sample) -> Tensor:
    """What the model says of the text, float32 [outputs]."""
    return torch.from_numpy(sample.output).float()


def _digest(samples: Sequence[Sample]) -> str:
    """The identity of texts that are in no file."""
    texts = [[sample.number, sample.item] for sample in samples]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
