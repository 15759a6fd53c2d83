"""Fit an attribution head to a model, or go on with a fit that was stopped."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
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
from normxlogit.data.option_checks import whole_number
from normxlogit.data.progress import Meter
from normxlogit.data.rows import Columns
from normxlogit.data.source import read_rows
from normxlogit.errors import InputError, ModelError, OptionError
from normxlogit.evaluation.perturb.operators import Operator, find_operator, hiding_of
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.extras import versions
from normxlogit.fitting.held_out import measure_faithfulness, verdict
from normxlogit.fitting.model_passes import (
    StateReader,
    chosen_layers,
    in_bfloat16,
    is_harmless,
)
from normxlogit.fitting.outcomes import OutcomeFolder, Outcomes, count_passes, measure
from normxlogit.fitting.texts import LEAST, draw_texts
from normxlogit.fitting.training import EPOCHS, Example, explained_variance, train
from normxlogit.methods.attribution_head.head import (
    AttributionHead,
    EmptyOutcomes,
    FitRecord,
    UsualStates,
)
from normxlogit.model.targets import Problem
from normxlogit.tasks import Task
from normxlogit.tasks.digest import digest
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint
from normxlogit.text.encoder import Encoder

_COMPONENTS = 32
"""In how many directions texts like those of a fit may differ from each other."""

_PROBED = 16
"""How many texts are run first, to see how long all will take."""


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit.

    Attributes:
        texts: how many texts are drawn from the source.
        masks: how many sets of hidden words are tried for each, an even number.
        layers: the blocks whose outputs the head reads, 0 being the first block's input; None for
            four from the first to the last.
        width: how many hidden units the head has.
        seed: of all that is drawn.

    Raises:
        OptionError: one of them is out of range.
    """

    texts: int = 2000
    masks: int = 16
    layers: Sequence[int] | None = None
    width: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {
            "texts": whole_number("texts", self.texts, least=LEAST),
            "masks": whole_number("masks", self.masks, least=2),
            "width": whole_number("width", self.width, most=1 << 16),
            "seed": whole_number("seed", self.seed, least=0),
        }
        if whole["masks"] % 2:
            raise OptionError("masks must be even: each set of words is tried with its complement.")
        if self.layers is not None:
            if isinstance(self.layers, (str, int)) or not isinstance(self.layers, Sequence):
                raise OptionError(f"layers must be a list of numbers, got {self.layers!r:.80}.")
            layers = tuple(whole_number("layers", n, least=0) for n in self.layers)
            if not layers:
                raise OptionError("layers must name one layer or more.")
            object.__setattr__(self, "layers", layers)  # the way to set a field of a frozen class
        for name, value in whole.items():
            object.__setattr__(self, name, value)


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
    encoder, model = explainer.encoder(), explainer.model
    rows, data = read_rows(source, columns, subset=subset, split=split, strict=True)
    drawn = draw_texts(rows, options.texts, options.seed, encoder)
    first = drawn.samples[0]
    reader = StateReader(model, encoder, first)
    layers = chosen_layers(options.layers, reader.depth)
    hiding, operator = find_operator(hiding_of(encoder, first), encoder)
    fingerprint = {
        **model_fingerprint(explainer.with_head(None)),
        "weights": digest(model, explainer.tokenizer, of_any_dtype=True),
    }
    data = data or {"sha256": _digest(drawn.samples)}
    settings = {
        "model": fingerprint,
        "data": data,
        "columns": {"text": columns.text, "pair": columns.pair},
        "hiding": hiding,
        **asdict(replace(options, layers=layers)),
        "versions": versions(),
    }
    with ExitStack() as stack:
        folder = None
        if output is not None:
            parts = output.with_name(output.name + ".fit")
            outputs = len(fingerprint["labels"])
            folder = stack.enter_context(OutcomeFolder(parts, settings, outputs))
        states, wholes = _read(reader, drawn.samples, layers, stack)
        samples = [
            replace(sample, output=whole.double().numpy())
            for sample, whole in zip(drawn.samples, wholes, strict=True)
        ]
        problem = Problem(fingerprint["problem"])
        one_sided = _one_sided(wholes, problem, fingerprint["labels"])
        if one_sided:
            say(one_sided)
        runner = _runner(model, encoder, operator, samples, options, say)
        meter = stack.enter_context(Meter(len(samples), 0, 0, shown=progress))
        outcomes = measure(samples, runner, options.masks, options.seed, folder, meter.show)
        examples = [
            Example(of_tokens, sample.units.astype(np.int64), whole, of_text)
            for of_tokens, sample, whole, of_text in zip(
                states, samples, wholes, outcomes, strict=True
            )
        ]
        _check_outcomes(outcomes, model, hiding)
        held, aside, rest = _split(len(examples))
        meter.say("training")
        trained = train(
            examples[rest],
            examples[aside],
            problem,
            options.width,
            options.seed,
            lambda epoch: meter.say(f"training {epoch}/{EPOCHS}"),
        )
        meter.say("trying it on held-out texts")
        record = FitRecord(
            model=fingerprint,
            problem=problem,
            layers=layers,
            hiding=hiding,
            settings={**asdict(options), "layers": list(layers), "epoch": trained.epoch},
            data={**data, "texts": len(samples), **drawn.counts},
            held_out={},
            versions=versions(),
        )
        head = AttributionHead(
            trained.network,
            _empty(samples, outcomes),
            _usual(examples[rest], examples[held]),
            record,
        )
        variance = explained_variance(trained.network, examples[held], problem)
        probabilities = PredictionCache(model, encoder, problem.probabilities, operator)
        figures = measure_faithfulness(
            explainer.with_head(head),
            [
                _with_output(sample, example, problem)
                for sample, example in zip(samples[held], examples[held], strict=True)
            ],
            probabilities,
            problem,
            options.seed,
        )
        usable, why = verdict(figures)
        figures |= {"explained_variance": variance, "use": usable, "verdict": why}
        if one_sided:
            figures["note"] = one_sided
        head = replace(head, record=replace(record, held_out=figures))
        if output is not None:
            head.save(output)
        if folder is not None:
            folder.remove()
    return head


def _runner(
    model: PreTrainedModel,
    encoder: Encoder,
    operator: Operator,
    samples: Sequence[Sample],
    options: FitOptions,
    say: Callable[[str], None],
) -> PredictionCache:
    """The model in the dtype that it runs in; says how many passes there are, and how long."""

    def outcomes(of: PreTrainedModel) -> tuple[PredictionCache, list[Outcomes], float]:
        cache = PredictionCache(of, encoder, Tensor.float, operator)
        start = monotonic()
        measured = measure(probed, cache, options.masks, options.seed, None, lambda *_: None)
        return cache, measured, monotonic() - start

    probed = samples[:_PROBED]
    runner, exact, seconds = outcomes(model)
    rounded_model = in_bfloat16(model)
    if rounded_model is not None:
        rounded = outcomes(rounded_model)
        both = (np.concatenate([o.logits for o in part]) for part in (exact, rounded[1]))
        if is_harmless(*both):
            runner, _, seconds = rounded
    tokens = sum(len(sample.units) for sample in samples)
    minutes = seconds * tokens / sum(len(sample.units) for sample in probed) / 60
    how_long = f"about {minutes:.0f} minutes" if minutes >= 1 else "less than a minute"
    say(
        f"{count_passes(samples, options.masks):,} forward passes over {len(samples):,} texts, "
        f"{how_long} on this machine."
    )
    return runner


def _read(
    reader: StateReader, samples: Sequence[Sample], layers: Sequence[int], stack: ExitStack
) -> tuple[list[NDArray[np.float16]], list[Tensor]]:
    """The states of texts, [tokens, features] each, and what the model says of them, [outputs].

    The states are kept on the disk as long as `stack` is open.

    Raises:
        InputError: the disk has no room for them.
    """
    ends = np.cumsum([len(sample.units) for sample in samples])
    starts = ends - [len(sample.units) for sample in samples]
    wholes: dict[int, Tensor] = {}
    try:
        temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        path = Path(stack.enter_context(temporary)) / "states"
        # Written as a file: a write to mapped memory would kill the process on a full disk.
        with path.open("wb") as file:
            for number, of_tokens, logits in reader.read(samples, layers):
                file.seek(int(starts[number]) * of_tokens[0].nbytes)
                file.write(of_tokens.tobytes())
                wholes[number] = logits.clone()  # made in inference mode
        states = np.memmap(path, np.float16, "r").reshape(ends[-1], -1)
    except OSError as error:
        raise InputError(
            f"cannot keep hidden states in {tempfile.gettempdir()}: {error.strerror or error}. "
            "Make room there, or name another folder by the variable TMPDIR."
        ) from error
    views = [states[start:end] for start, end in zip(starts, ends, strict=True)]
    return views, [wholes[number] for number in range(len(samples))]


def _check_outcomes(outcomes: Sequence[Outcomes], model: PreTrainedModel, hiding: str) -> None:
    """Refuse a model that hiding words does not touch."""
    if all(np.ptp(of_text.logits, 0).max() == 0 for of_text in outcomes):
        raise ModelError(
            f"hiding words ({hiding}) changes nothing in what {type(model).__name__} says of any "
            "text, so there is nothing to learn."
        )


def _one_sided(wholes: Sequence[Tensor], problem: Problem, labels: Sequence[str]) -> str | None:
    """What to know if the model predicts the same of every text; None if it does not."""
    if problem is Problem.REGRESSION:
        return None
    outputs = problem.probabilities(torch.stack(list(wholes)))
    is_single = problem is Problem.SINGLE_LABEL
    predicted = outputs == outputs.amax(1, keepdim=True) if is_single else outputs > 0.5
    if not bool((predicted == predicted[:1]).all()):
        return None
    names = [label for label, chosen in zip(labels, predicted[0].tolist(), strict=True) if chosen]
    return (
        f"the model says {' and '.join(names) or 'no label'} of all {len(wholes)} texts, so the "
        "head hardly learns what speaks for other labels. Give texts of every label."
    )


def _split(count: int) -> tuple[slice, slice, slice]:
    """Texts to hold out, to choose the epoch by, and to train on: a tenth, a tenth, the rest."""
    tenth = max(1, count // 10)
    return slice(0, tenth), slice(tenth, 2 * tenth), slice(2 * tenth, count)


def _empty(samples: Sequence[Sample], outcomes: Sequence[Outcomes]) -> EmptyOutcomes:
    lengths = np.array([len(sample.units) for sample in samples])
    logits = np.stack([of_text.empty for of_text in outcomes])
    unique = np.unique(lengths)
    means = np.stack([logits[lengths == length].mean(0) for length in unique])
    return EmptyOutcomes(torch.from_numpy(unique), torch.from_numpy(means))


def _usual(examples: Sequence[Example], others: Sequence[Example]) -> UsualStates:
    """The mean states of texts, and how far from them one in a hundred other texts is."""

    def means(some: Sequence[Example]) -> Tensor:
        return torch.stack(
            [torch.from_numpy(example.states.astype(np.float32).mean(0)) for example in some]
        )

    fitted = means(examples)
    mean = fitted.mean(0)
    # A feature that never varies seems to by as much as float16 rounds it, a part in a thousand.
    deviation = torch.maximum(fitted.std(0), mean.abs() / 1000).clamp_min(1e-6)
    count = max(1, min(_COMPONENTS, len(fitted) // 8))
    components = torch.linalg.svd((fitted - mean) / deviation, full_matrices=False).Vh[:count]
    usual = UsualStates(mean, deviation, components.contiguous(), 1.0)
    distances = usual.distance(means(others))
    # Where all texts are the same the distance is 0, and any other text is unlike them.
    return replace(usual, limit=max(float(distances.quantile(0.99)), 1e-3))


def _with_output(sample: Sample, example: Example, problem: Problem) -> Sample:
    """The text with what the model says of it, as its evaluation needs it."""
    return replace(sample, output=problem.probabilities(example.whole).double().numpy())


def _digest(samples: Sequence[Sample]) -> str:
    """The identity of texts that are in no file."""
    texts = [[sample.number, sample.item] for sample in samples]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
