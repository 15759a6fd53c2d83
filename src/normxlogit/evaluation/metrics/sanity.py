"""Checks that a method can fail whatever its faithfulness figures are.

Scores that stay as they are when the model's weights are shuffled do not tell of the model (Adebayo
et al. 2018, Sanity Checks for Saliency Maps); scores that are the same for two classes do not tell
of the class; scores that change with what else is in a batch tell of the batch; and scores that
bfloat16 turns round are no better than its rounding.
"""

import copy
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.evaluation.perturb.rankings import unit_scores
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.results.text import Attribution
from normxlogit.tasks.explainer import ModelExplainer

EXAMPLES = 32

Floats = NDArray[np.float64]
Scores = Callable[[ModelExplainer, Sample, int], Floats]


def check_sanity(
    explainer: ModelExplainer,
    arguments: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample],
    token_scores: Callable[[Attribution], NDArray[np.float32]],
    seed: int,
) -> dict[str, Any]:
    """The checks of each method.

    Args:
        explainer: of the model as it is, which is not changed.
        arguments: what `Explainer.explain` takes for each method, by name.
        samples: texts, of which the first `EXAMPLES` are used.
        token_scores: the scores of an attribution that count.
        seed: of the shuffling.

    Returns:
        "examples", how many texts; "steps", what is shuffled one after the other; and for each of
        "methods" mean Spearman correlations with the scores as they are: "shuffled", after each
        step; "other_class", of the scores for the least probable class, None of a regression; and
        "bfloat16", of the model in float32 and in bfloat16, whichever it is in; and "in_a_batch",
        the largest difference from a text's scores by itself where it stands in a batch that
        `Explainer.explain` makes of these texts, as a share of its largest score. A figure is None
        where the method cannot serve the changed model, or one of the texts in a batch.
    """
    used = samples[:EXAMPLES]

    def check(name: str) -> Scores:
        def scores(of: ModelExplainer, sample: Sample, target: int) -> Floats:
            found = of.explain(sample.item, target=target, **arguments[name])
            return _units(found, sample, token_scores)

        return scores

    ways = {name: check(name) for name in arguments}
    whole = {name: [way(explainer, s, s.said) for s in used] for name, way in ways.items()}
    steps: list[str] = []
    shuffled: dict[str, list[float | None]] = {name: [] for name in ways}
    for step, changed in _shuffled(explainer, seed):
        steps.append(step)
        for name, way in ways.items():
            shuffled[name].append(_alike(way, changed, used, whole[name]))
    exact, rounded = (_in(explainer, dtype) for dtype in (torch.float32, torch.bfloat16))
    found = {}
    for name, way in ways.items():
        unrounded = whole[name] if exact is explainer else (way(exact, s, s.said) for s in used)
        found[name] = {
            "shuffled": shuffled[name],
            "other_class": _of_other_class(way, explainer, used, whole[name]),
            "bfloat16": _alike(way, rounded, used, unrounded),
            "in_a_batch": _in_a_batch(explainer, used, whole[name], arguments[name], token_scores),
        }
    return {"examples": len(used), "steps": steps, "methods": found}


def _units(
    found: Attribution,
    sample: Sample,
    token_scores: Callable[[Attribution], NDArray[np.float32]],
) -> Floats:
    return unit_scores(token_scores(found), sample.units_in(found.tokens), sample.count)


def _alike(
    way: Scores, changed: ModelExplainer, samples: Sequence[Sample], whole: Iterable[Floats]
) -> float | None:
    """The mean correlation of a changed model's scores with those that it is compared with."""
    try:
        return _mean(
            [
                _correlation(way(changed, s, s.said), own)
                for s, own in zip(samples, whole, strict=True)
            ]
        )
    except NormXLogitError:
        return None


def _of_other_class(
    way: Scores, explainer: ModelExplainer, samples: Sequence[Sample], whole: Sequence[Floats]
) -> float | None:
    if len(samples[0].output) == 1:
        return None
    return _mean(
        [
            _correlation(way(explainer, sample, int(sample.output.argmin())), own)
            for sample, own in zip(samples, whole, strict=True)
        ]
    )


def _in_a_batch(
    explainer: ModelExplainer,
    samples: Sequence[Sample],
    whole: Sequence[Floats],
    arguments: Mapping[str, Any],
    token_scores: Callable[[Attribution], NDArray[np.float32]],
) -> float | None:
    """How far scores are from those of a text by itself; None if a text failed."""
    items = [sample.item for sample in samples]
    try:
        together = explainer.explain(items, **{**arguments, "batch_size": len(items)})
    except NormXLogitError:
        return None
    furthest = 0.0
    for sample, found, own in zip(samples, together, whole, strict=True):
        if not isinstance(found, Attribution):
            return None
        apart = np.abs(_units(found, sample, token_scores) - own)
        scale = np.nanmax(np.abs(own), initial=0)
        furthest = max(furthest, float(np.nanmax(apart, initial=0) / (scale or 1)))
    return furthest


def _correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's, of the units that have both scores; None where one of them does not vary."""
    known = ~(np.isnan(one) | np.isnan(other))
    one, other = one[known], other[known]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _shuffled(explainer: ModelExplainer, seed: int) -> Iterator[tuple[str, ModelExplainer]]:
    """The model with the values of its weights shuffled, each tensor's among themselves: those of
    the head, then of one layer more each time, from the top, and of the embeddings at last.

    Models with other than one stack of layers are shuffled as a whole.
    """
    model = copy.deepcopy(explainer.model)
    generator = torch.Generator().manual_seed(seed)
    for step, weights in _parts(model):
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.data = weight.data.flatten()[order].view_as(weight)
        yield step, _explainer(explainer, model)


def _parts(model: PreTrainedModel) -> list[tuple[str, list[nn.Parameter]]]:
    """The weights of the head, of the layers from the top, and of the embeddings: the largest
    module that holds those of words and no layer. The head is what is left.
    """
    base: Any = model.base_model
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    stacks = [
        stack for stack in stacks if not any(stack is not s and _holds(s, stack) for s in stacks)
    ]
    if len(stacks) != 1:
        return [("everything", list(model.parameters()))]
    (stack,) = stacks
    layers = [list(layer.parameters()) for layer in stack]
    words = base.get_input_embeddings()
    looked_up = next(m for m in base.modules() if _holds(m, words) and not _holds(m, stack))
    embeddings = list(looked_up.parameters())
    taken = {id(weight) for part in (*layers, embeddings) for weight in part}
    head = [weight for weight in model.parameters() if id(weight) not in taken]
    named = [(f"layer {n}", layers[n - 1]) for n in range(len(layers), 0, -1)]
    return [("head", head), *named, ("embeddings", embeddings)]


def _holds(outer: nn.Module, inner: nn.Module) -> bool:
    return any(module is inner for module in outer.modules())


def _in(explainer: ModelExplainer, dtype: torch.dtype) -> ModelExplainer:
    """An explainer of the model with all that a checkpoint holds in that dtype. Other buffers stay
    as they are: loading, too, has the frequencies of rotary positions in float32.
    """
    if all(weight.dtype == dtype for weight in explainer.model.parameters()):
        return explainer
    model = copy.deepcopy(explainer.model)
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return _explainer(explainer, model)


def _explainer(explainer: ModelExplainer, model: PreTrainedModel) -> ModelExplainer:
    """An explainer of a changed model, without a warning that its head looks untrained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type(explainer)(model, explainer.tokenizer)
