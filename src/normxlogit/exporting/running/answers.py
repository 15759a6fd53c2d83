"""What a graph gives for a text, as the attribution that was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import ModelError, NormXLogitError
from normxlogit.exporting.manifest import Manifest
from normxlogit.methods.request import Request
from normxlogit.methods.scores import UNLIKE
from normxlogit.model.targets import (
    Problem,
    check_has_labels,
    is_several,
    named_ids,
    same_as_contrast,
    target_id,
)
from normxlogit.results.base import Floats, Provenance
from normxlogit.results.prediction import Prediction, named_prediction
from normxlogit.results.text import Attribution
from normxlogit.results.windows import WindowScores, check_total, joined, text_fields
from normxlogit.text.encoded import Encoded

_READ = {
    "normxlogit": ("logits", "norms", "readouts"),
    "attribution_head": ("logits", "norms", "head_scores", "head_base", "head_distance"),
}
"""The outputs of a graph that a method is made of."""

Outputs = Mapping[str, NDArray[np.float32]]
"""A graph's outputs for one window of a text, without batch and padding."""


class Answers:
    """Answers a request from the outputs of a graph.

    Attributes:
        reads: the outputs that it takes, by name.
    """

    def __init__(self, manifest: Manifest, request: Request, made_by: Mapping[str, Any]) -> None:
        """Read a request.

        Args:
            manifest: of the graph.
            request: what is asked, by a method that the graph holds.
            made_by: what provenance says of the runtime.

        Raises:
            OptionError: the target or the contrast is no label, both are the same, or the outputs
                are no labels and are contrasted.
        """
        problem, labels, contrast = manifest.problem, manifest.labels, request.contrast
        self._manifest, self._request = manifest, request
        self._named = named_ids(request.target, labels, problem)
        self._foil: int | None = None
        if contrast is not None:
            check_has_labels(problem)
            self._foil = target_id(contrast, labels)  # type: ignore[arg-type]
        if self._named is not None and self._foil in self._named:
            raise self._same_as_contrast()
        self.reads = _READ[request.method]
        self._axes = ("target",) * is_several(request.target, problem, len(labels))
        self._provenance = Provenance(
            **manifest.methods[request.method],
            **made_by,
            contrast=None if self._foil is None else labels[self._foil],
        )

    def answer(self, text: Encoded, outputs: Sequence[Outputs]) -> Attribution:
        """Return the attribution of a text, from the outputs for each of its windows.

        Raises:
            InputError: the prediction is the contrast.
            ModelError: an output is no finite number, or the scores are too large.
        """
        prediction = self._prediction(np.stack([window["logits"] for window in outputs]).mean(0))
        numbers = self._explained(prediction)
        window = joined(text, [self._window(numbers, text, n, o) for n, o in enumerate(outputs)])
        check_total(window.scores, self._request.method)
        several = bool(self._axes)

        def on_axes(values: Floats | None) -> Floats | None:
            # [targets, 1, tokens] -> [*axes, tokens]
            return None if values is None else values[:, 0] if several else values[0, 0]

        scores = on_axes(window.scores)
        assert scores is not None
        return Attribution(
            **text_fields(text),
            scores=scores,
            logits=on_axes(window.values),
            norms=window.norms,
            base=None if window.base is None else tuple(window.base),
            notes={name: tuple(values) for name, values in window.notes.items()},
            axes=self._axes,
            targets=tuple(prediction.outputs[number] for number in numbers),
            layers=(self._manifest.depth,),
            prediction=prediction,
            provenance=self._provenance,
        )

    def _prediction(self, logits: Floats) -> Prediction:
        """The model's own output for a text, [labels], by name."""
        manifest, problem = self._manifest, self._manifest.problem
        if not np.isfinite(logits).all():
            raise ModelError(
                f"the graph gave outputs that are not finite numbers in {manifest.precision}. "
                "Export the model in float32."
            )
        logits = logits.astype(np.float32)
        if problem is Problem.SINGLE_LABEL:
            powers = np.exp(logits - logits.max())
            probabilities = powers / powers.sum()
        else:
            with np.errstate(over="ignore"):
                probabilities = 1 / (1 + np.exp(-logits))
        return named_prediction(
            logits, probabilities, problem.value, manifest.labels, self._request.threshold
        )

    def _explained(self, prediction: Prediction) -> list[int]:
        """The labels that are explained."""
        if self._named is not None:
            return self._named
        if prediction.problem == Problem.MULTI_LABEL.value:
            ranked = sorted(prediction.predicted, key=lambda output: -output.logit)
            numbers = [output.id for output in ranked or [prediction.top]]
        else:
            numbers = [prediction.id]
        if self._foil in numbers:
            raise self._same_as_contrast()
        return numbers

    def _same_as_contrast(self) -> NormXLogitError:
        assert self._foil is not None
        return same_as_contrast(self._manifest.labels[self._foil], self._request.target)

    def _window(
        self, numbers: list[int], text: Encoded, number: int, outputs: Outputs
    ) -> WindowScores:
        """The scores of one window of a text, for the labels of these numbers."""

        def less_foil(values: NDArray[np.float32]) -> NDArray[np.float32]:
            chosen: NDArray[np.float32] = values[numbers]
            return chosen if self._foil is None else chosen - values[self._foil]

        if self._request.method == "normxlogit":
            readouts = less_foil(outputs["readouts"])[:, None]
            scores = outputs["norms"] * readouts
            return WindowScores(scores, readouts, outputs["norms"], None, {})
        special = text.special[text.windows[number].positions]
        scores = np.where(special, np.float32(np.nan), less_foil(outputs["head_scores"]))[:, None]
        base = less_foil(outputs["head_base"]).tolist()
        distance = [float(outputs["head_distance"])] * len(numbers)
        return WindowScores(scores, None, outputs["norms"], base, {UNLIKE: distance})
