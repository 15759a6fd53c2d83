"""Sanity checks, which a method can fail whatever its faithfulness.

Scores that survive shuffling the model's weights are not about the model (Adebayo et al. 2018,
Sanity Checks for Saliency Maps); scores that are the same for two classes are not about the class;
scores that depend on the rest of the batch are about the batch; and scores that bfloat16 reorders
are no better than its rounding.
"""

import copy
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

EXAMPLES = 32

Floats = NDArray[np.float64]
Scorer = Callable[[ModelExplainer, Sample, int], Floats]
"""Takes an explainer, a text and a target; returns the scores of units, [units]."""


def check_sanity(
    explainer: ModelExplainer,
    arguments: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample],
    unit_scores: Callable[[str, Attribution, Sample], Floats],
    seed: int,
) -> dict[str, Any]:
    """Run all checks for each method.

    Args:
        explainer: the explainer of the model as it is; the model is not changed.
        arguments: what `Explainer.explain` takes for each method, by name.
        samples: texts, of which the first `EXAMPLES` are used.
        unit_scores: takes a method's name, an attribution by it and the text; returns the scores
            to rank, [units].
        seed: of the shuffling.

    Returns:
        "examples", the number of texts; "steps", what is shuffled, one after the other; and for
        each of "methods" mean Spearman correlations with the original scores: "shuffled", after
        each step; "other_class", for the least probable class, None for regressions; "bfloat16",
        between float32 and bfloat16, whichever the model is in. "in_a_batch" is the largest
        difference between a text's scores alone and in a batch of these texts, as a share of its
        largest score. A value is None where the method fails on the changed model, or on a text of
        the batch.
    """
    texts = samples[:EXAMPLES]

    def scorer(name: str) -> Scorer:
        def score(changed: ModelExplainer, sample: Sample, target: int) -> Floats:
            attribution = changed.explain(sample.item, target=target, **arguments[name])
            return unit_scores(name, attribution, sample)

        return score

    scorers = {name: scorer(name) for name in arguments}
    original = {
        name: [score(explainer, text, text.target) for text in texts]
        for name, score in scorers.items()
    }
    steps: list[str] = []
    shuffled: dict[str, list[float | None]] = {name: [] for name in scorers}
    for step, changed in _shuffled(explainer, seed):
        steps.append(step)
        for name, score in scorers.items():
            shuffled[name].append(_similarity(score, changed, texts, original[name]))
    exact, rounded = (_in(explainer, dtype) for dtype in (torch.float32, torch.bfloat16))
    checks = {}
    for name, score in scorers.items():
        # A generator, so that a method that fails in float32 does so within `_similarity`, too.
        unrounded = (
            original[name] if exact is explainer else (score(exact, s, s.target) for s in texts)
        )
        checks[name] = {
            "shuffled": shuffled[name],
            "other_class": _other_class(score, explainer, texts, original[name]),
            "bfloat16": _similarity(score, rounded, texts, unrounded),
            "in_a_batch": _in_a_batch(
                explainer, texts, original[name], arguments[name], partial(unit_scores, name)
            ),
        }
    return {"examples": len(texts), "steps": steps, "methods": checks}


def _similarity(
    score: Scorer, changed: ModelExplainer, samples: Sequence[Sample], original: Iterable[Floats]
) -> float | None:
    """The mean correlation of a changed model's scores with the original ones."""
    try:
        return _mean(
            [
                _correlation(score(changed, sample, sample.target), scores)
                for sample, scores in zip(samples, original, strict=True)
            ]
        )
    except NormXLogitError:
        return None


def _other_class(
    score: Scorer, explainer: ModelExplainer, samples: Sequence[Sample], original: Sequence[Floats]
) -> float | None:
    """The mean correlation with the scores for the least probable class."""
    if len(samples[0].output) == 1:
        return None
    return _mean(
        [
            _correlation(score(explainer, sample, int(sample.output.argmin())), scores)
            for sample, scores in zip(samples, original, strict=True)
        ]
    )


def _in_a_batch(
    explainer: ModelExplainer,
    samples: Sequence[Sample],
    original: Sequence[Floats],
    arguments: Mapping[str, Any],
    unit_scores: Callable[[Attribution, Sample], Floats],
) -> float | None:
    """The largest relative difference between scores alone and in a batch; None if a text fails."""
    items = [sample.item for sample in samples]
    try:
        results = explainer.explain(items, **{**arguments, "batch_size": len(items)})
    except NormXLogitError:
        return None
    largest = 0.0
    for sample, result, alone in zip(samples, results, original, strict=True):
        if not isinstance(result, Attribution):
            return None
        difference = np.abs(unit_scores(result, sample) - alone)
        scale = np.nanmax(np.abs(alone), initial=0)
        largest = max(largest, float(np.nanmax(difference, initial=0) / (scale or 1)))
    return largest


def _correlation(scores: Floats, others: Floats) -> float | None:
    """Spearman's correlation over units with both scores; None where one side is constant."""
    both = ~(np.isnan(scores) | np.isnan(others))
    scores, others = scores[both], others[both]
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(others) == 0:
        return None
    return float(spearmanr(scores, others).statistic)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of values without None; None if none are left."""
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers else None


def _shuffled(explainer: ModelExplainer, seed: int) -> Iterator[tuple[str, ModelExplainer]]:
    """Shuffle the model's weights step by step, each tensor's values among themselves.

    The head comes first, then one layer after the other from the top, and the embeddings last.
    Models with no or several stacks of layers are shuffled in a single step.
    """
    model = copy.deepcopy(explainer.model)
    generator = torch.Generator().manual_seed(seed)
    for step, weights in _parts(model):
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.data = weight.data.flatten()[order].view_as(weight)
        yield step, _explainer(explainer, model)


def _parts(model: PreTrainedModel) -> list[tuple[str, list[nn.Parameter]]]:
    """Split the weights into head, layers from the top, and embeddings.

    The embeddings are the largest module that holds the word embeddings and no layer; the head is
    everything else.
    """
    base: Any = model.base_model
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    # A layer may hold lists of its own, such as experts: only outermost lists are stacks.
    stacks = [
        stack for stack in stacks if not any(stack is not s and _holds(s, stack) for s in stacks)
    ]
    if len(stacks) != 1:
        return [("everything", list(model.parameters()))]
    (stack,) = stacks
    layers = [list(layer.parameters()) for layer in stack]
    words = base.get_input_embeddings()
    # `modules` yields a module before those inside it, so the first match is the largest.
    lookup = next(m for m in base.modules() if _holds(m, words) and not _holds(m, stack))
    embeddings = list(lookup.parameters())
    below_head = {id(weight) for part in (*layers, embeddings) for weight in part}
    head = [weight for weight in model.parameters() if id(weight) not in below_head]
    from_top = [(f"layer {n}", layers[n - 1]) for n in range(len(layers), 0, -1)]
    return [("head", head), *from_top, ("embeddings", embeddings)]


def _holds(outer: nn.Module, inner: nn.Module) -> bool:
    return any(module is inner for module in outer.modules())


def _in(explainer: ModelExplainer, dtype: torch.dtype) -> ModelExplainer:
    """Convert a copy of the model to a dtype, unless it is in it already.

    Only what a checkpoint holds is converted: loading in bfloat16 keeps the frequencies of rotary
    positions in float32, too.
    """
    if all(weight.dtype == dtype for weight in explainer.model.parameters()):
        return explainer
    model = copy.deepcopy(explainer.model)
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return _explainer(explainer, model)


def _explainer(explainer: ModelExplainer, model: PreTrainedModel) -> ModelExplainer:
    """Wrap a changed model, without the warning that its head looks untrained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type(explainer)(model, explainer.tokenizer)
