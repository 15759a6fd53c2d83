"""What heads are trained and tried on: states of all layers, and outcomes, measured once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import normxlogit as nxl
from normxlogit.data.rows import Columns
from normxlogit.data.source import read_rows
from normxlogit.evaluation.perturb.operators import find_operator, hiding_of
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.fitting.coalitions import choose_sets
from normxlogit.fitting.model_passes import StateReader, in_bfloat16, is_harmless
from normxlogit.fitting.outcomes import OutcomeFolder, Outcomes, measure
from normxlogit.fitting.texts import draw_texts
from normxlogit.fitting.training import Example
from normxlogit.model.targets import Problem

PROBED = 16


@dataclass(frozen=True)
class Source:
    """A file of texts, and its columns."""

    file: Path
    pair: str | None


@dataclass(frozen=True)
class Material:
    """Texts of a model.

    Attributes:
        explainer: the model.
        problem: what its outputs mean.
        depth: how many layers it has.
        samples: the texts, as `normxlogit fit` draws them.
        examples: the same with the states of all layers, 0 to `depth`, side by side.
        cache: predicts probabilities (or values) of texts with words hidden, in the dtype that a
            fit runs the model in.
    """

    explainer: nxl.Explainer
    problem: Problem
    depth: int
    samples: list[Sample]
    examples: list[Example]
    cache: PredictionCache

    @property
    def hidden(self) -> int:
        """The width of the model."""
        return int(self.examples[0].states.shape[1]) // (self.depth + 1)


def read_material(model: str, source: Source, texts: int, masks: int, folder: Path) -> Material:
    """Draw texts, read their states, and measure outcomes into a folder, or find them there."""
    explainer = nxl.Explainer.from_pretrained(model)
    encoder = explainer.encoder()
    rows, _ = read_rows(
        str(source.file), Columns("text", source.pair), subset=None, split=None, strict=True
    )
    drawn = draw_texts(rows, texts, 0, encoder).samples
    reader = StateReader(explainer.model, encoder, drawn[0])
    layers = range(reader.depth + 1)
    read = {n: (states, whole) for n, states, whole in reader.read(drawn, layers)}
    wholes = [read[n][1].clone() for n in range(len(drawn))]
    problem = Problem.of(explainer.model.config, len(wholes[0]))
    samples = [
        replace(sample, output=whole.double().numpy())
        for sample, whole in zip(drawn, wholes, strict=True)
    ]
    _, hide = find_operator(hiding_of(encoder, drawn[0]), encoder)
    model_run = explainer.model
    runner = PredictionCache(model_run, encoder, torch.Tensor.float, hide)
    rounded_model = in_bfloat16(explainer.model)
    if rounded_model is not None:
        rounded = PredictionCache(rounded_model, encoder, torch.Tensor.float, hide)
        exact, other = (
            np.concatenate([o.logits for o in _measured(samples[:PROBED], r, masks, None)])
            for r in (runner, rounded)
        )
        if is_harmless(exact, other):
            runner, model_run = rounded, rounded_model
    settings = {"model": model, "file": str(source.file), "texts": texts, "masks": masks}
    with OutcomeFolder(folder, settings, len(wholes[0])) as kept:
        outcomes = _measured(samples, runner, masks, kept)
    examples = [
        Example(read[n][0], sample.units.astype(np.int64), wholes[n], outcomes[n])
        for n, sample in enumerate(samples)
    ]
    samples = [
        replace(sample, output=problem.probabilities(whole).double().numpy())
        for sample, whole in zip(samples, wholes, strict=True)
    ]
    cache = PredictionCache(model_run, encoder, problem.probabilities, hide)
    return Material(explainer, problem, reader.depth, samples, examples, cache)


def with_layers(examples: Sequence[Example], layers: Sequence[int], hidden: int) -> list[Example]:
    """The same texts with the states of some layers only."""
    columns = np.concatenate([np.arange(n * hidden, (n + 1) * hidden) for n in layers])
    return [replace(example, states=example.states[:, columns]) for example in examples]


def with_masks(examples: Sequence[Example], masks: int) -> list[Example]:
    """The same texts with the outcomes of fewer sets of words, drawn as a fit draws them."""
    return [
        replace(example, outcomes=_fewer(example.outcomes, masks, number))
        for number, example in enumerate(examples)
    ]


def _fewer(outcomes: Outcomes, masks: int, number: int) -> Outcomes:
    measured, words = outcomes.shown.shape
    if measured <= masks:
        return outcomes
    if measured < (1 << words) - 2:
        weights = np.full(masks, 1 / masks, np.float32)
        return Outcomes(outcomes.shown[:masks], weights, outcomes.logits[:masks], outcomes.empty)
    # All sets there are: those that a fit draws are among them.
    shown, weights = choose_sets(words, masks, np.random.default_rng([0, 1, number]))
    places = {row.tobytes(): place for place, row in enumerate(outcomes.shown)}
    logits = outcomes.logits[[places[row.tobytes()] for row in shown]]
    return Outcomes(shown, weights, logits, outcomes.empty)


def _measured(
    samples: Sequence[Sample], runner: PredictionCache, masks: int, folder: OutcomeFolder | None
) -> list[Outcomes]:
    def show(texts: int, _: int) -> None:
        if folder is not None:
            print(f"\r{texts}/{len(samples)} texts", end="", flush=True)

    return measure(samples, runner, masks, 0, folder, show)
