"""From the scores of a batch to results."""

import math
from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.extras import versions
from normxlogit.model.targets import Problem, TokenIds
from normxlogit.query import ScoredBatch
from normxlogit.results.base import Floats, Provenance
from normxlogit.results.prediction import Prediction, Target, named_prediction
from normxlogit.results.text import Attribution
from normxlogit.results.windows import WindowScores, check_total, joined, text_fields
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder


class VocabularyLabels(TokenIds):
    """The outputs of a language model by their text."""

    def __init__(self, size: int, encoder: Encoder) -> None:
        super().__init__(size)
        self._encoder = encoder

    def __getitem__(self, index: Any) -> str:
        return self._encoder.text_of([index])


def window_scores(
    scored: ScoredBatch, lengths: Sequence[int] | None = None, side: str = "right"
) -> list[WindowScores]:
    """The rows of a batch without their padding.

    Args:
        scored: the batch.
        lengths: how many tokens each row has; all positions if not given.
        side: where rows are padded.
    """
    scores, values, norms = map(_array, (scored.scores, scored.values, scored.norms))
    assert scores is not None
    notes = {name: note.tolist() for name, note in scored.notes.items()}
    base = None if scored.base is None else scored.base.tolist()
    windows = []
    for row in range(len(scores)):
        length = scores.shape[-1] if lengths is None else lengths[row]
        tokens = slice(-length, None) if side == "left" else slice(length)
        windows.append(
            WindowScores(
                scores=scores[row][..., tokens].copy(),
                values=None if values is None else values[row][..., tokens].copy(),
                norms=None if norms is None else norms[row][tokens].copy(),
                base=None if base is None else base[row],
                notes={name: note[row] for name, note in notes.items()},
            )
        )
    return windows


def prediction_of(
    logits: Tensor, problem: Problem, labels: Sequence[str], threshold: float
) -> Prediction:
    """The model's own output for a text, [classes], by name."""
    return named_prediction(
        logits.cpu().double().numpy(),  # numpy has no bfloat16
        problem.probabilities(logits).cpu().numpy(),
        problem.value,
        labels,
        threshold,
    )


def result_fields(
    scored: ScoredBatch,
    window: WindowScores,
    prediction: Prediction,
    targets: Sequence[Target | None],
    provenance: Provenance,
) -> dict[str, Any]:
    """The fields that results of every kind have.

    Args:
        scored: the batch.
        window: the row's scores, of the whole input.
        prediction: what the model predicted.
        targets: what is explained; None where the batch has room for more targets than the row has.
        provenance: what made the scores.

    Raises:
        ModelError: the scores are so large that sums over them overflow.
    """
    check_total(window.scores, provenance.method)
    kept = [number for number, target in enumerate(targets) if target is not None]

    def on_axes(values: Floats | None) -> Floats | None:
        # [targets, layers, tokens] -> [*axes, tokens], without the targets that the row lacks.
        if values is None:
            return None
        values = values[kept] if "target" in scored.axes else values[0]
        return values if "layer" in scored.axes else values[..., 0, :]

    return {
        "scores": on_axes(window.scores),
        "logits": on_axes(window.values),
        "norms": window.norms,
        "base": None if window.base is None else tuple(window.base[n] for n in kept),
        "notes": {name: tuple(note[n] for n in kept) for name, note in window.notes.items()},
        "axes": scored.axes,
        "targets": tuple(target for target in targets if target is not None),
        "layers": tuple(scored.forward.layers),
        "prediction": prediction,
        "provenance": provenance,
    }


def attribution(
    text: Encoded,
    scored: ScoredBatch,
    windows: Sequence[WindowScores],
    prediction: Prediction,
    targets: Sequence[Target | None],
    provenance: Provenance,
) -> Attribution:
    """The attribution of a text, from the scores of its windows; see `result_fields`."""
    return Attribution(
        **text_fields(text),
        **result_fields(scored, joined(text, windows), prediction, targets, provenance),
    )


def provenance_of(
    model: PreTrainedModel, name: str, scored: ScoredBatch, contrast: str | None = None
) -> Provenance:
    """What made the scores of a batch: the model, what was asked, what was read, and the versions.

    Args:
        model: the model.
        name: what to call it.
        scored: the batch.
        contrast: the contrast's label, where the model's outputs do not name it.
    """
    query = scored.query
    return Provenance(
        model=name,
        revision=getattr(model.config, "_commit_hash", None),
        architecture=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        method=query.method,
        readout=scored.readout,
        of_output=scored.method.of_output,
        unsigned=scored.unsigned,
        reads_layers=scored.reads_layers,
        contrast=contrast or scored.foil,
        options={name: described(value) for name, value in query.options.items()},
        versions=versions(),
    )


def described(option: Any) -> Any:
    """An option as JSON can hold it; large ones by what they are."""
    if callable(summary := getattr(option, "summary", None)):  # of a head, or weights of sources
        return summary()
    if isinstance(option, (str, int, type(None))):
        return option
    if isinstance(option, float):
        return option if math.isfinite(option) else str(option)
    if isinstance(option, Tensor):
        return f"tensor {list(option.shape)}"
    if isinstance(option, (list, tuple)):
        return [described(value) for value in option]
    return f"{type(option).__name__} of {len(option)}" if isinstance(option, Sized) else str(option)


def _array(values: Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else values.float().cpu().numpy()
