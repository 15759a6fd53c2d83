"""What explaining a text by each method costs, beside classifying it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.tasks.explainer import ModelExplainer

EXAMPLES = 16


def measure_costs(
    explainer: ModelExplainer, arguments: Mapping[str, Mapping[str, Any]], samples: Sequence[Sample]
) -> dict[str, Any]:
    """Median seconds of a text by itself, and as a multiple of the model's own forward pass on it.

    Args:
        explainer: explains the texts.
        arguments: what `Explainer.explain` takes for each method, by name.
        samples: texts, of which the first `EXAMPLES` are timed.

    Returns:
        "examples", how many texts were timed; "forward_seconds"; and for each of "methods" its
        "seconds" and "forwards". They differ from run to run.
    """
    timed = samples[:EXAMPLES]
    ways: dict[str, Callable[[Sample], Any]] = {"": partial(_forward, explainer)}
    for name, own in arguments.items():
        ways[name] = partial(_explain, explainer, own)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number, sample in enumerate([timed[0], *timed]):
        for name, way in ways.items():
            start = time.perf_counter()
            way(sample)
            if number:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    forward = medians.pop("")
    return {
        "examples": len(timed),
        "forward_seconds": forward,
        "methods": {
            name: {"seconds": each, "forwards": each / forward} for name, each in medians.items()
        },
    }


def _explain(explainer: ModelExplainer, arguments: Mapping[str, Any], sample: Sample) -> None:
    explainer.explain(sample.item, **arguments)


@torch.inference_mode()
def _forward(explainer: ModelExplainer, sample: Sample) -> None:
    model = explainer.model
    model(**{n: torch.tensor([ids], device=model.device) for n, ids in sample.inputs.items()})
