"""From what batches of windows gave to attributions of texts."""

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.extras import versions
from normxlogit.model.targets import Problem
from normxlogit.query import Query, TensorAttribution
from normxlogit.results.base import Floats, Prediction, Provenance, Target
from normxlogit.results.text import Attribution
from normxlogit.text.encoded import Encoded


@dataclass(frozen=True)
class Row:
    """What was found for one window: arrays whose last dimension is the window's tokens, and what
    the method notes of its scores, a number for each target.
    """

    scores: Floats
    values: Floats | None
    norms: Floats | None
    notes: dict[str, list[float]]


def rows_of(answer: TensorAttribution, lengths: Sequence[int], side: str) -> list[Row]:
    """The rows of a batch, their padding cut off."""
    scores, values, norms = map(_array, (answer.scores, answer.values, answer.norms))
    notes = {name: noted.tolist() for name, noted in answer.notes.items()}
    rows = []
    for index, length in enumerate(lengths):
        own = slice(-length, None) if side == "left" else slice(length)
        found = (None if p is None else p[index][..., own].copy() for p in (scores, values, norms))
        row_scores, row_values, row_norms = found
        assert row_scores is not None
        own_notes = {name: noted[index] for name, noted in notes.items()}
        rows.append(Row(row_scores, row_values, row_norms, own_notes))
    return rows


def prediction_of(
    logits: Tensor, problem: Problem, labels: Sequence[str], threshold: float
) -> Prediction:
    """The model's own output for a text, [classes], by name."""
    probabilities = problem.probabilities(logits)
    chances = probabilities.tolist()
    is_regression = problem is Problem.REGRESSION
    outputs = tuple(
        Target(label, i, logit, None if is_regression else chances[i])
        for i, (label, logit) in enumerate(zip(labels, logits.tolist(), strict=True))
    )
    if problem is Problem.MULTI_LABEL:
        predicted = (probabilities > threshold).nonzero().flatten().tolist()
    elif problem is Problem.REGRESSION:
        predicted = list(range(len(outputs)))
    else:
        predicted = [int(logits.argmax())]
    return Prediction(problem.value, tuple(outputs[i] for i in predicted), outputs)


def assemble(
    text: Encoded,
    rows: Sequence[Row],
    prediction: Prediction,
    targets: Sequence[Target | None],
    layers: Sequence[int],
    axes: tuple[str, ...],
    provenance: Provenance,
) -> Attribution:
    """One attribution of what was found for a text's windows; where they overlap, the mean; of
    notes the largest.

    Args:
        text: the text.
        rows: what was found for each of its windows.
        prediction: what the model said.
        targets: what is explained; None where a batch has room for more targets than the text has.
        layers: the layers that were read.
        axes: the names of the dimensions of scores before the tokens.
        provenance: what made it.
    """

    def averaged(parts: Sequence[Floats | None]) -> Floats | None:
        arrays = [part for part in parts if part is not None]
        if len(arrays) < len(parts):
            return None
        if len(arrays) == 1:
            return arrays[0]
        total = np.zeros((*arrays[0].shape[:-1], len(text)), np.float32)
        count = np.zeros(len(text), np.float32)
        for window, values in zip(text.windows, arrays, strict=True):
            total[..., window.positions] += values
            count[window.positions] += 1
        return (total / count).astype(np.float32)

    def explained(parts: Sequence[Floats | None]) -> Floats | None:
        values = averaged(parts)
        several = values is not None and axes[:1] == ("target",)
        return (
            values[[t is not None for t in targets]] if several and values is not None else values
        )

    scores = explained([row.scores for row in rows])
    assert scores is not None
    noted = {
        name: [max(values) for values in zip(*(row.notes[name] for row in rows), strict=True)]
        for name in rows[0].notes
    }
    return Attribution(
        texts=text.texts,
        tokens=text.tokens,
        scores=scores,
        special=text.special,
        offsets=text.offsets,
        segments=text.segments,
        word_numbers=text.words,
        messages=text.messages,
        axes=axes,
        targets=tuple(target for target in targets if target is not None),
        layers=tuple(layers),
        prediction=prediction,
        provenance=provenance,
        norms=averaged([row.norms for row in rows]),
        logits=explained([row.values for row in rows]),
        notes={
            name: tuple(v for v, target in zip(values, targets, strict=True) if target is not None)
            for name, values in noted.items()
        },
    )


def provenance_of(
    model: PreTrainedModel,
    name: str,
    query: Query,
    answer: TensorAttribution,
    contrast: str | None,
) -> Provenance:
    """What made an attribution: the model, what was asked, what it read, and the versions."""
    return Provenance(
        model=name,
        revision=getattr(model.config, "_commit_hash", None),
        architecture=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        method=query.method,
        readout=answer.readout,
        of_output=answer.of_output,
        unsigned=answer.unsigned,
        reads_layers=answer.reads_layers,
        contrast=contrast,
        options={name: _described(value) for name, value in query.options.items()},
        versions=versions(),
    )


def _described(option: Any) -> Any:
    """An option as JSON can hold it; large ones by what they are."""
    if isinstance(option, (str, int, type(None))):
        return option
    if isinstance(option, float):
        return option if math.isfinite(option) else str(option)
    if isinstance(option, Tensor):
        return f"tensor {list(option.shape)}"
    if isinstance(option, (list, tuple)):
        return [_described(value) for value in option]
    return f"{type(option).__name__} of {len(option)}" if isinstance(option, Sized) else str(option)


def _array(values: Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else values.float().cpu().numpy()
