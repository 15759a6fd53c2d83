"""Heads of other settings, trained on the same outcomes and tried on the same dev texts.

    python -m experiments.attribution_head.variants --model MODEL --train FILE --dev FILE \
        --work FOLDER [--pair COLUMN] [--texts 2000] [--masks 16] --variants NAME:FIELD=VALUE ...

FILE are CSV files with a column text, as experiments.paper.standins writes them. The model is run
on training texts once, as `normxlogit fit` does; what it says is kept in FOLDER, as are the figures
of each variant, so that a command that was stopped goes on. A variant has any of the fields of
`Variant`, such as `wide:width=128:rate=0.0005`. Printed are explained variance, comprehensiveness
and sufficiency of each on the dev texts, and how far they are from the first variant's, paired.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import process_time
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.attribution_head.material import (
    Material,
    Source,
    read_material,
    with_layers,
    with_masks,
)
from normxlogit.evaluation.method_specs import parse_method_specs
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.metrics.faithfulness import Ranked, drop, erase
from normxlogit.evaluation.perturb.presets import RATIOS, Corrected
from normxlogit.evaluation.perturb.rankings import rank_units, unit_scores
from normxlogit.fitting import training
from normxlogit.fitting.model_passes import chosen_layers
from normxlogit.methods.attribution_head import network as networks
from normxlogit.methods.attribution_head.games import READOUTS
from normxlogit.model.inference import inference
from normxlogit.results.text import Attribution

DEV_TEXTS = 200
METRICS = ("comprehensiveness", "sufficiency")


@dataclass(frozen=True)
class Variant:
    """The settings of a head."""

    texts: int = 2000
    masks: int = 16
    layers: str = ""
    width: int = 64
    seed: int = 0
    rate: float = training.RATE
    epochs: int = training.EPOCHS
    decay: float = training.DECAY
    batch: int = training.BATCH
    dropout: float = networks.DROPOUT

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Parse FIELD=VALUE:..."""
        kinds = {field.name: field.type for field in fields(cls)}
        pairs = [part.split("=") for part in text.split(":") if part]
        return cls(**{name: kinds[name](value) for name, value in pairs})  # type: ignore[operator]


@dataclass(frozen=True)
class Figures:
    """How a head does on dev texts.

    Attributes:
        variance: explained, of each game, [games].
        by_text: of each readout, comprehensiveness and sufficiency, [readouts, metrics, texts].
        facts: the epoch, and seconds of processor time.
    """

    variance: NDArray[np.float64]
    by_text: NDArray[np.float64]
    facts: NDArray[np.float64]


def trained(material: Material, variant: Variant) -> tuple[training.Trained, list[int]]:
    """Train a head on the texts that a fit of these settings would train on."""
    layers = [int(n) for n in variant.layers.split(",")] if variant.layers else None
    chosen = chosen_layers(layers, material.depth)
    examples = with_masks(material.examples[: variant.texts], variant.masks)
    examples = with_layers(examples, chosen, material.hidden)
    tenth = variant.texts // 10
    with (
        patch.multiple(
            training,
            RATE=variant.rate,
            EPOCHS=variant.epochs,
            DECAY=variant.decay,
            BATCH=variant.batch,
        ),
        patch.object(networks, "DROPOUT", variant.dropout),
    ):
        result = training.train(
            examples[2 * tenth :],
            examples[tenth : 2 * tenth],
            material.problem,
            variant.width,
            variant.seed,
            lambda _: None,
        )
    return result, list(chosen)


def figures(material: Material, dev: Material, variant: Variant) -> Figures:
    """Train a head and try it."""
    start = process_time()
    result, layers = trained(material, variant)
    seconds = process_time() - start
    examples = with_layers(dev.examples, layers, dev.hidden)
    variance = training.explained_variance(result.network, examples, dev.problem)
    values = []  # [tokens, games] of each text
    with inference():
        for example in examples:
            states = torch.from_numpy(example.states.astype(np.float32))
            values.append(result.network(states).numpy())
    readouts = READOUTS[dev.problem]
    by_text = []
    for number in range(len(readouts)):
        # What a head adds to all words alike does not change their order.
        scores = [
            unit_scores(
                of_tokens[:, sample.target + number * len(sample.output)],
                sample.units,
                sample.count,
            )
            for of_tokens, sample in zip(values, dev.samples, strict=True)
        ]
        by_text.append(faithfulness(dev, scores))
    return Figures(np.array(variance), np.array(by_text), np.array([float(result.epoch), seconds]))


def faithfulness(dev: Material, scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Comprehensiveness and sufficiency of each text, [metrics, texts]."""
    preset = Corrected()
    rankings = [
        Ranked(sample, rank_units(of_units), preset.counts(sample, RATIOS))
        for sample, of_units in zip(dev.samples, scores, strict=True)
    ]
    erased = erase(dev.cache, rankings)
    return np.array(
        [
            [drop(sample, outputs).mean() for outputs in (both.without_top, both.top_alone)]
            for sample, both in zip(dev.samples, erased, strict=True)
        ]
    ).T


def of_method(dev: Material, method: str) -> NDArray[np.float64]:
    """The same of another method."""
    (spec,) = parse_method_specs([method])
    items = [sample.item for sample in dev.samples]
    results = dev.explainer.explain(items, **spec.arguments({}))
    scores = []
    for sample, result in zip(dev.samples, results, strict=True):
        assert isinstance(result, Attribution)
        scored = np.where(result.special, np.nan, result.scores)
        scores.append(unit_scores(scored, sample.units, sample.count))
    return faithfulness(dev, scores)


def main() -> None:
    """Train, try and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pair")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--masks", type=int, default=16)
    parser.add_argument("--methods", nargs="*", default=["normxlogit"])
    parser.add_argument("--variants", nargs="+", required=True)
    options = parser.parse_args()
    source, dev_source = (Source(file, options.pair) for file in (options.train, options.dev))
    options.work.mkdir(parents=True, exist_ok=True)
    named = dict(text.partition(":")[::2] for text in options.variants)
    variants = {name: Variant.parse(text) for name, text in named.items()}
    dev = read_material(options.model, dev_source, DEV_TEXTS, 16, options.work / "dev")
    material = read_material(
        options.model, source, options.texts, options.masks, options.work / "train"
    )
    rows: dict[str, NDArray[np.float64]] = {}
    for method in options.methods:
        file = options.work / f"{method}.npy"
        if not file.exists():
            np.save(file, of_method(dev, method))
        rows[method] = np.load(file)
        _print(method, rows[method], rows)
    for name, variant in variants.items():
        key = "-".join(f"{n}{v}" for n, v in asdict(variant).items())
        file = options.work / f"{key}.npz"
        if not file.exists():
            new = figures(material, dev, variant)
            np.savez(file, variance=new.variance, by_text=new.by_text, facts=new.facts)
        with np.load(file) as kept:
            variance, by_text, facts = kept["variance"], kept["by_text"], kept["facts"]
        for readout, values in zip(READOUTS[dev.problem], by_text, strict=True):
            row = f"{name} ({readout})" if len(by_text) > 1 else name
            rows[row] = values
            _print(row, values, rows)
        print(f"    variance {variance.round(3)}, epoch {facts[0]:.0f}, {facts[1]:.0f} s")


def _print(name: str, values: NDArray[np.float64], rows: dict[str, NDArray[np.float64]]) -> None:
    """Print a row; differences are from the first head of the same readout."""
    suffix = name[name.index(" (") :] if " (" in name else ""
    heads = [n for n in rows if (n.endswith(suffix) if suffix else True)]
    bootstrap = Bootstrap(values.shape[1], 0)
    cells = []
    first = rows[heads[min(1, len(heads) - 1)] if not suffix else heads[0]]
    for mine, its in zip(values, first, strict=True):
        gap = bootstrap.mean(mine - its)
        low, high = gap.interval
        cells.append(f"{mine.mean():+.4f} ({gap.value:+.4f}, {low:+.4f} to {high:+.4f})")
    print(f"{name:24} {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
