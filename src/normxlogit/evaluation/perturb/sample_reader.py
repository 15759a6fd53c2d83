"""Turn the rows of a source into samples: texts with the model's predictions and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from normxlogit.data.rows import Bad, Row
from normxlogit.errors import InputError, ModelError, OptionError, UnsupportedHeadError
from normxlogit.evaluation.perturb.predictions import MAX_BATCH_TOKENS, Outputs
from normxlogit.evaluation.perturb.presets import Preset
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.targets import Problem, gold_id, label_names
from normxlogit.query import TensorAttribution, attribute
from normxlogit.tasks.batches import MemoryBudget, by_halves
from normxlogit.text.encoded import Encoded, Window
from normxlogit.text.encoder import Encoder
from normxlogit.text.lengths import by_length


@dataclass
class Skipped:
    """Rows that are left out.

    Attributes:
        errors: their numbers, by kind.
        first: the errors of the first five.
    """

    errors: dict[str, int] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)

    def add(self, row: object, kind: str, why: str) -> None:
        """Count a row that is left out."""
        self.errors[kind] = self.errors.get(kind, 0) + 1
        if len(self.first) < 5:
            self.first.append(f"{row}: {why.rstrip('.')}")


class SampleReader:
    """Reads rows for a classifier.

    Attributes:
        problem: the kind of the classifier's outputs.
        labels: their names.
        has_mask: whether the tokenizer has a mask token.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder, preset: Preset, long: str) -> None:
        """Run the classifier once to see its outputs.

        Raises:
            ModelError: they are neither those of a single class nor one value.
        """
        self._model, self._encoder, self._preset, self._long = model, encoder, preset, long
        self._room, self.has_mask = MemoryBudget(), encoder.mask_token is not None
        window = encoder.encode("a").windows[0]
        with inference():
            forward = ForwardPass.run(model, encoder.batch([window], "right"))
        outputs = forward.prediction.shape[-1]
        self.problem = Problem.of(model.config, outputs)
        self.labels = label_names(model.config, self.problem, outputs)
        is_one_value = self.problem is Problem.REGRESSION and outputs == 1
        if self.problem is not Problem.SINGLE_LABEL and not is_one_value:
            raise ModelError(
                "evaluate is for models that choose one class or give one value; this one is a "
                f"{self.problem.value} of {outputs} outputs."
            )

    def samples(self, rows: Sequence[Row], skipped: Skipped) -> list[Sample]:
        """Read the rows that can be evaluated; count the others in `skipped`."""
        read: dict[int, tuple[Row, Encoded, float | None]] = {}
        for row in rows:
            try:
                if row.bad is not None:
                    raise _Unusable(row.bad.kind.value, row.bad.why)
                read[row.number] = row, self._encoded(row), self._label(row)
            except _Unusable as error:
                skipped.add(row, error.kind, str(error))
        predictions = self._predictions(
            {number: encoded for number, (_, encoded, _) in read.items()}
        )
        samples = []
        for number, (row, encoded, label) in read.items():
            output, position = predictions[number]
            units = self._preset.units(encoded, position)
            if units.max(initial=-1) < 0:
                skipped.add(row, "input", "there is nothing in it that could be hidden")
                continue
            item = self._preset.item(row.item)
            samples.append(Sample(number, item, encoded, units, output, label))
        return samples

    def _encoded(self, row: Row) -> Encoded:
        try:
            return self._encoder.encode(
                self._preset.item(row.item), long=self._long, has_windows=False
            )
        except InputError as error:
            bad = Bad.of(error)
            raise _Unusable(bad.kind.value, bad.why) from error

    def _label(self, row: Row) -> float | None:
        """The id of the class, or the value."""
        if row.label is None:
            return None
        if self.problem is Problem.REGRESSION:
            try:
                value = float(row.label)
            except ValueError:
                value = float("nan")
            if not np.isfinite(value):
                raise _Unusable("label", f"its label {row.label!r:.60} is no number")
            return value
        try:
            return float(gold_id(row.label, self.labels))
        except OptionError as error:
            raise _Unusable("label", str(error)) from error

    def _predictions(self, texts: dict[int, Encoded]) -> dict[int, tuple[Outputs, int]]:
        """Each whole text's output, and the position that the head reads, -1 for several."""
        predictions: dict[int, tuple[Outputs, int]] = {}

        def length(number: int) -> int:
            return len(texts[number])

        for numbers in by_length(sorted(texts, key=length), length, self._fits, padded=0):
            windows = [texts[number].windows[0] for number in numbers]
            outputs = by_halves(windows, self._read, self._room)
            predictions.update(zip(numbers, outputs, strict=True))
        return predictions

    def _fits(self, rows: int, longest: int) -> bool:
        return self._room.fits(rows, longest, MAX_BATCH_TOKENS)

    @inference()
    def _read(self, windows: Sequence[Window]) -> list[tuple[Outputs, int]]:
        """Predict texts of the same length."""
        scored = self._attribution(self._encoder.batch(windows, "right"))
        outputs = self.problem.probabilities(scored.prediction).double().cpu().numpy()
        positions = np.full(len(windows), -1)
        # In an encoder-decoder this is a position of the decoder; the encoder reads all tokens.
        if scored.read_position is not None and not scored.reads_decoder:
            positions = scored.read_position.cpu().numpy()
        return list(zip(outputs, positions.tolist(), strict=True))

    def _attribution(self, inputs: Any) -> TensorAttribution:
        # logat finds the position that the head reads; random serves any head, and finds none.
        try:
            return attribute(self._model, inputs, target=0, method="logat")
        except UnsupportedHeadError:
            return attribute(self._model, inputs, target=0, method="random")


class _Unusable(Exception):  # noqa: N818
    """A row that cannot be evaluated, and the kind of its error."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind
