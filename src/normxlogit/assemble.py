"""From what batches of windows gave to attributions of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit import __version__
from normxlogit.attribution import Attribution
from normxlogit.encode import Encoded
from normxlogit.result import Floats, Prediction, Provenance, Target
from normxlogit.targets import Problem
from normxlogit.tensors import Query, TensorAttribution


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
    """One attribution of what was found for a text's windows; where they overlap, the mean.

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
    )


def provenance_of(
    model: PreTrainedModel, name: str, query: Query, readout: str, contrast: str | None
) -> Provenance:
    """What made an attribution: the model, what was asked, and the versions."""
    return Provenance(
        model=name,
        revision=getattr(model.config, "_commit_hash", None),
        architecture=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        method=query.method,
        readout=readout,
        contrast=contrast,
        options=dict(query.options),
        versions={
            "normxlogit": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
