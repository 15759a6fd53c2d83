"""Predict texts with parts hidden: each variant once, in batches of similar length."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import ModelError
from normxlogit.evaluation.perturb.operators import Inputs, Operator
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.inference import inference
from normxlogit.model.outputs import logits_of, run_model
from normxlogit.tasks.batches import MemoryBudget, by_halves
from normxlogit.tasks.padding import Padding
from normxlogit.text.encoded import Window
from normxlogit.text.encoder import Encoder
from normxlogit.text.lengths import by_length

MAX_BATCH_TOKENS = 4096
"""The most tokens in a batch; fewer where memory runs out."""

Request = tuple[Sample, NDArray[np.bool_]]
"""A text and the units that are hidden in each of its variants, bool [variants, units]."""

Outputs = NDArray[np.float64]
"""Probabilities, or the value of a regression, float64 [..., outputs]."""


class PredictionCache:
    """A classifier with a memory of its predictions.

    Attributes:
        asked: the number of variants requested.
        forwards: the number of them that the model was run on; the others had been predicted
            before, or hide nothing.
        tokens: the number of tokens in these forward passes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        of_logits: Callable[[Tensor], Tensor],
        operator: Operator,
    ) -> None:
        """Wrap a classifier, which is not changed.

        Args:
            model: the classifier.
            encoder: makes its inputs.
            of_logits: makes its predictions of its logits, both [rows, outputs].
            operator: hides units.
        """
        self._model, self._encoder = model, encoder
        self._of_logits, self._operator = of_logits, operator
        self._padding, self._room = Padding(model, encoder), MemoryBudget()
        self._clone = ModelClone(Anatomy.of(model), frozen=True)
        # A decoder that classifies refuses batches unless it has a pad token, and then looks for
        # the last token before padding. No text contains -1, so this is a text's last token.
        if getattr(model.config.get_text_config(), "pad_token_id", None) is None:
            self._clone.set_pad_token_id(-1)
        self._outputs_by_row: defaultdict[int, dict[bytes, Outputs]] = defaultdict(dict)
        self.asked = self.forwards = self.tokens = 0

    def forget(self) -> None:
        """Drop all predictions to free memory; the counts stay."""
        self._outputs_by_row.clear()

    def predict(self, requests: Sequence[Request]) -> list[Outputs]:
        """Predict each variant, running the model only on those that are new.

        Returns:
            float64 [variants, outputs] for each request.

        Raises:
            InputError: a variant would have no token left.
            ModelError: the model cannot run on one, or its output is not finite.
        """
        missing: dict[tuple[int, bytes], Inputs] = {}
        requested: list[tuple[Sample, list[bytes]]] = []
        for sample, hidden in requests:
            keys = [np.packbits(row).tobytes() for row in hidden]
            cached = self._outputs_by_row[sample.number]
            # The whole text was predicted when the sample was read.
            cached.update(
                {key: sample.output for key, row in zip(keys, hidden, strict=True) if not row.any()}
            )
            fresh = {
                key: n
                for n, key in enumerate(keys)
                if key not in cached and (sample.number, key) not in missing
            }
            if fresh:
                variants = self._operator(sample, hidden[list(fresh.values())])
                missing.update(zip(((sample.number, key) for key in fresh), variants, strict=True))
            requested.append((sample, keys))
            self.asked += len(keys)
        for (number, key), outputs in zip(missing, self._run(list(missing.values())), strict=True):
            self._outputs_by_row[number][key] = outputs
        return [
            np.array([self._outputs_by_row[sample.number][key] for key in keys]).reshape(
                len(keys),
                len(sample.output),  # a request may have no variants
            )
            for sample, keys in requested
        ]

    def _run(self, variants: Sequence[Inputs]) -> list[Outputs]:
        """Run the model on each variant: float64 [outputs] each."""
        by_number: dict[int, Outputs] = {}
        for numbers, side in self._batches(variants):
            windows = [_window(variants[n]) for n in numbers]
            outputs = by_halves(windows, partial(self._outputs, side=side), self._room)
            by_number.update(zip(numbers, outputs, strict=True))
            self.forwards += len(windows)
            self.tokens += sum(map(len, windows))
        return [by_number[n] for n in range(len(variants))]

    def _batches(self, variants: Sequence[Inputs]) -> Iterator[tuple[list[int], str]]:
        """Group the numbers of variants into batches, each with the side to pad it on."""

        def length(number: int) -> int:
            return _length(variants[number])

        order = sorted(range(len(variants)), key=length)
        side: str | None = "right"
        if order:
            side = self._padding.side(*(_window(variants[order[n]]) for n in (0, -1)))
        # No side is safe for some models: then only variants of the same length run together.
        padded = 0 if side is None else math.inf
        for batch in by_length(order, length, self._fits, padded=padded):
            yield batch, side or "right"

    def _fits(self, rows: int, longest: int) -> bool:
        return self._room.fits(rows, longest, MAX_BATCH_TOKENS)

    @inference()
    def _outputs(self, windows: Sequence[Window], side: str) -> Outputs:
        """Run one batch: float64 [rows, outputs]."""
        inputs = self._encoder.batch(windows, side)
        try:
            moved = {name: values.to(self._model.device) for name, values in inputs.items()}
            logits = logits_of(run_model(self._clone.root, moved), None)
        except Exception as error:
            raise ModelError(
                f"{type(self._model).__name__} does not take texts with words hidden in this way: "
                f"{error} Choose another operator."
            ) from error
        if logits is None or not logits.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave logits that are not finite numbers for a text "
                "with words hidden. Load it with dtype=float32, or hide words in another way."
            )
        outputs: Outputs = self._of_logits(logits).double().cpu().numpy()
        return outputs


def _length(inputs: Inputs) -> int:
    return len(inputs["input_ids"])


def _window(inputs: Inputs) -> Window:
    lists: dict[str, Any] = {name: values.tolist() for name, values in inputs.items()}
    return Window(lists, np.arange(_length(inputs)))
