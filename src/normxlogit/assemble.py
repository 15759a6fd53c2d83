"""From what batches of windows gave to attributions of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .attribution import Attribution, Floats, Prediction, Provenance, Target
from .encode import Encoded
from .targets import Problem
from .tensors import TensorAttribution


@dataclass(frozen=True)
class Row:
    """What was found for one window: arrays whose last dimension is the window's tokens."""

    scores: Floats
    values: Floats | None
    norms: Floats | None


def rows_of(answer: TensorAttribution, lengths: Sequence[int], side: str) -> list[Row]:
    """The rows of a batch, their padding cut off."""
    rows = []
    for index, length in enumerate(lengths):
        own = slice(-length, None) if side == "left" else slice(length)
        parts = (answer.scores, answer.values, answer.norms)
        scores, values, norms = (None if p is None else _array(p[index][..., own]) for p in parts)
        assert scores is not None
        rows.append(Row(scores, values, norms))
    return rows


def prediction_of(
    logits: Tensor, problem: Problem, labels: Sequence[str], threshold: float
) -> Prediction:
    """The model's own output for a text, [classes], by name."""
    probabilities = problem.probabilities(logits)
    outputs = tuple(
        Target(
            label=label,
            id=i,
            logit=float(logits[i]),
            probability=None if problem is Problem.REGRESSION else float(probabilities[i]),
        )
        for i, label in enumerate(labels)
    )
    if problem is Problem.SINGLE_LABEL:
        predicted = [int(logits.argmax())]
    elif problem is Problem.MULTI_LABEL:
        predicted = (probabilities > threshold).nonzero().flatten().tolist()
    else:
        predicted = list(range(len(outputs)))
    return Prediction(problem.value, outputs, tuple(predicted))


def assemble(
    text: Encoded,
    rows: Sequence[Row],
    prediction: Prediction,
    targets: Sequence[int],
    layers: Sequence[int],
    axes: tuple[str, ...],
    provenance: Provenance,
) -> Attribution:
    """One attribution of what was found for a text's windows; where they overlap, the mean."""

    def averaged(parts: Sequence[Floats | None]) -> Floats | None:
        arrays = [part for part in parts if part is not None]
        if len(arrays) < len(parts):
            return None
        total = np.zeros((*arrays[0].shape[:-1], len(text)), np.float32)
        count = np.zeros(len(text), np.float32)
        for window, values in zip(text.windows, arrays, strict=True):
            total[..., window.positions] += values
            count[window.positions] += 1
        return (total / count).astype(np.float32)

    def explained(parts: Sequence[Floats | None]) -> Floats | None:
        values = averaged(parts)
        several = values is not None and axes[:1] == ("target",)
        return values[[t >= 0 for t in targets]] if several and values is not None else values

    scores = explained([row.scores for row in rows])
    assert scores is not None
    return Attribution(
        texts=text.texts,
        tokens=text.tokens,
        scores=scores,
        special=text.special,
        offsets=text.offsets,
        segments=text.segments,
        word_numbers=text.words,
        axes=axes,
        targets=tuple(prediction.outputs[t] for t in targets if t >= 0),
        layers=tuple(layers),
        prediction=prediction,
        provenance=provenance,
        norms=averaged([row.norms for row in rows]),
        logits=explained([row.values for row in rows]),
    )


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
