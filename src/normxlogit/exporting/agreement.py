"""Whether a graph says what the model says, and how far it is from that where it need not."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from normxlogit.errors import ModelError, NormXLogitError
from normxlogit.exporting.exported import ExportedModel
from normxlogit.exporting.manifest import Drift
from normxlogit.results.base import Floats
from normxlogit.results.text import Attribution, Failure
from normxlogit.tasks.explainer import ModelExplainer

TOLERANCE = 1e-4
"""How far a graph in float32 may be from the model, as a share of the largest number of a text."""

TOGETHER = 7
"""How many texts of different lengths run together when a graph is tried."""

Answers = list[Attribution | Failure]


def answers_of(
    model: ModelExplainer | ExportedModel, texts: Sequence[Any], method: str, batch_size: int
) -> Answers:
    """Explain every label of texts; those over the limit are cut."""
    with warnings.catch_warnings():
        # A classifier of single texts says that it is given a pair.
        warnings.simplefilter("ignore")
        answers: Any = model.explain(
            list(texts), target="all", method=method, batch_size=batch_size, long="truncate"
        )
    return list(answers)


def largest_difference(actual: Answers, expected: Answers) -> float:
    """Return the largest difference of any number, as a share of the largest of its text.

    Raises:
        ModelError: one explains a text that the other does not, or takes it for other tokens.
    """
    largest = 0.0
    for ours, theirs in zip(actual, expected, strict=True):
        if isinstance(ours, Failure) and isinstance(theirs, Failure):
            continue
        if isinstance(ours, Failure):
            raise ModelError(f"the graph does not explain {ours.item!r:.80}: {ours.error}")
        if isinstance(theirs, Failure):
            raise ModelError(f"the model does not explain {theirs.item!r:.80}: {theirs.error}")
        if ours.tokens != theirs.tokens:
            raise ModelError(
                f"the file of the tokenizer reads {theirs.texts[0]!r:.80} as other tokens than the "
                "tokenizer does, so the graph would explain something else. Explain it with "
                "Explainer."
            )
        for numbers, others in zip(_numbers(ours), _numbers(theirs), strict=True):
            if numbers is not None and others is not None:
                largest = max(largest, _relative(numbers, others))
            elif numbers is not others:
                return np.inf
    return largest


def drift(actual: Answers, expected: Answers) -> Drift:
    """Measure how a graph differs from the model, over texts of which both explain at least one.

    Raises:
        ModelError: there is none.
    """
    both = [
        (ours, theirs)
        for ours, theirs in zip(actual, expected, strict=True)
        if isinstance(ours, Attribution) and isinstance(theirs, Attribution)
    ]
    if not both:
        reasons = [answer.error for answer in actual if isinstance(answer, Failure)]
        raise ModelError(f"the graph explains none of the texts that it was tried on: {reasons[0]}")
    pairs = zip(actual, expected, strict=True)
    failures = sum(
        isinstance(ours, Failure) != isinstance(theirs, Failure) for ours, theirs in pairs
    )
    changed, strongest, correlations = 0, 0, []
    for ours, theirs in both:
        changed += _predicted(ours) != _predicted(theirs)
        label = theirs.prediction.id
        of_ours, of_theirs = (np.atleast_2d(a.scores)[label] for a in (ours, theirs))
        tokens = ~np.isnan(of_theirs)
        if tokens.sum() < 2:
            continue
        ranks, others = (
            scores[tokens].argsort(kind="stable").argsort() for scores in (of_ours, of_theirs)
        )
        strongest += int(ranks.argmax() != others.argmax())
        correlations.append(float(np.corrcoef(ranks, others)[0, 1]))
    difference = largest_difference(*map(list, zip(*both, strict=True)))
    return Drift(
        texts=len(both),
        failures=failures,
        largest_difference=difference,
        predictions_changed=changed,
        strongest_changed=strongest,
        rank_correlation=float(np.mean(correlations)) if correlations else None,
        lowest_rank_correlation=min(correlations, default=None),
    )


def agrees(actual: Answers, expected: Answers) -> bool:
    """Return whether a graph in float32 says what the model says."""
    try:
        return largest_difference(actual, expected) <= TOLERANCE
    except NormXLogitError:
        return False


def _predicted(answer: Attribution) -> Any:
    """What a text is predicted as; of a regression nothing, as any rounding changes a value."""
    if answer.prediction.problem == "regression":
        return None
    return sorted(target.id for target in answer.prediction.predicted)


def _numbers(answer: Attribution) -> list[Floats | None]:
    """Every number that the graph has a part in, in groups that are of one size.

    A base value, or the output of a text that the model is torn over, may be near 0 where the
    scores and readouts of tokens are not.
    """
    outputs = np.array([output.logit for output in answer.prediction.outputs], np.float32)
    notes = np.array([note for _, note in sorted(answer.notes.items())], np.float32)
    if answer.logits is None:
        base = np.array(answer.base or (), np.float32)
        return [np.concatenate([answer.scores.ravel(), base, outputs]), answer.norms, notes]
    return [answer.scores, np.append(answer.logits, outputs), answer.norms, notes]


def _relative(actual: Floats, expected: Floats) -> float:
    if not expected.size:
        return 0.0
    if (np.isnan(actual) != np.isnan(expected)).any():
        return np.inf
    size = np.nanmax(np.abs(expected), initial=0.0)
    difference = np.nanmax(np.abs(actual - expected), initial=0.0)
    return float(difference / max(size, np.finfo(np.float32).tiny))
