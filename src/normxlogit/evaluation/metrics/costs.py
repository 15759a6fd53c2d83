"""The cost of explaining a text by each method, relative to classifying it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.inference import inference
from normxlogit.tasks.explainer import ModelExplainer

EXAMPLES = 16


def measure_costs(
    explainer: ModelExplainer, arguments: Mapping[str, Mapping[str, Any]], samples: Sequence[Sample]
) -> dict[str, Any]:
    """Measure median seconds per text, also as a multiple of a plain forward pass.

    Args:
        explainer: explains the texts.
        arguments: what `Explainer.explain` takes for each method, by name.
        samples: texts, of which the first `EXAMPLES` are timed.

    Returns:
        "examples", the number of texts timed; "forward_seconds"; and for each of "methods" its
        "seconds" and "forwards". They vary from run to run.
    """
    timed = samples[:EXAMPLES]
    runs: dict[str, Callable[[Sample], Any]] = {"": partial(_forward, explainer)}
    for name, options in arguments.items():
        runs[name] = partial(_explain, explainer, options)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    # The first text runs twice, to warm up. All methods take turns on each text, so that a machine
    # that slows down meanwhile slows them down alike.
    for number, sample in enumerate([timed[0], *timed]):
        for name, run in runs.items():
            start = time.perf_counter()
            run(sample)
            if number:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    forward = medians.pop("")
    return {
        "examples": len(timed),
        "forward_seconds": forward,
        "methods": {
            name: {"seconds": median, "forwards": median / forward}
            for name, median in medians.items()
        },
    }


def _explain(explainer: ModelExplainer, arguments: Mapping[str, Any], sample: Sample) -> None:
    explainer.explain(sample.item, **arguments)


@inference()
def _forward(explainer: ModelExplainer, sample: Sample) -> None:
    model = explainer.model
    model(**{n: torch.tensor([ids], device=model.device) for n, ids in sample.inputs.items()})
