"""What a classifier says of texts with parts hidden: each variant once, in batches of a length."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from normxlogit.errors import ModelError
from normxlogit.evaluation.perturb.operators import Inputs, Operator
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.capture import logits_of
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.targets import Problem
from normxlogit.tasks.batches import Room, by_halves, by_length
from normxlogit.tasks.padding import Padding
from normxlogit.text.encoder import Encoder, Window

MAX_BATCH_TOKENS = 4096
"""How many tokens run together, as long as there is memory for them."""

Request = tuple[Sample, NDArray[np.bool_]]
"""A text, and which of its units are hidden in each variant, bool [variants, units]."""

Outputs = NDArray[np.float64]


class PredictionCache:
    """Asks a classifier, and remembers what it said.

    Attributes:
        asked: how many variants it was asked about.
        forwards: how many of them it was run on; of the others it was asked before, or nothing is
            hidden in them.
        tokens: how many tokens those had that it was run on.
    """

    def __init__(
        self, model: PreTrainedModel, encoder: Encoder, problem: Problem, operator: Operator
    ) -> None:
        """Take a classifier, which is not changed, and the way to hide words from it."""
        self._model, self._encoder = model, encoder
        self._problem, self._operator = problem, operator
        self._padding, self._room = Padding(model, encoder), Room()
        self._shadow = ModelClone(Anatomy.of(model), frozen=True)
        if getattr(model.config.get_text_config(), "pad_token_id", None) is None:
            self._shadow.set_pad_token_id(-1)
        self._known: defaultdict[int, dict[bytes, Outputs]] = defaultdict(dict)
        self.asked = self.forwards = self.tokens = 0

    def forget(self) -> None:
        """Forget what was said, to free memory; the counts stay."""
        self._known.clear()

    def predict(self, requests: Sequence[Request]) -> list[Outputs]:
        """What the model says of each variant, float64 [variants, outputs] for each request.

        Raises:
            InputError: a variant would have no token left.
            ModelError: it cannot run on one, or says what is no number.
        """
        new: dict[tuple[int, bytes], Inputs] = {}
        asked: list[tuple[Sample, list[bytes]]] = []
        for sample, hidden in requests:
            keys = [np.packbits(row).tobytes() for row in hidden]
            known = self._known[sample.number]
            known.update(
                {key: sample.output for key, row in zip(keys, hidden, strict=True) if not row.any()}
            )
            fresh = {
                key: n
                for n, key in enumerate(keys)
                if key not in known and (sample.number, key) not in new
            }
            if fresh:
                variants = self._operator(sample, hidden[list(fresh.values())])
                new.update(zip(((sample.number, key) for key in fresh), variants, strict=True))
            asked.append((sample, keys))
            self.asked += len(keys)
        for (number, key), outputs in zip(new, self._run(list(new.values())), strict=True):
            self._known[number][key] = outputs
        return [
            np.array([self._known[sample.number][key] for key in keys]).reshape(
                len(keys), len(sample.output)
            )
            for sample, keys in asked
        ]

    def _run(self, variants: Sequence[Inputs]) -> list[Outputs]:
        """What the model says of each, float64 [outputs]: probabilities, or values."""
        found: dict[int, Outputs] = {}
        for numbers, side in self._batches(variants):
            windows = [_window(variants[n]) for n in numbers]
            outputs = by_halves(windows, partial(self._outputs, side=side), self._room)
            found.update(zip(numbers, outputs, strict=True))
            self.forwards += len(windows)
            self.tokens += sum(map(len, windows))
        return [found[n] for n in range(len(variants))]

    def _batches(self, variants: Sequence[Inputs]) -> Iterator[tuple[list[int], str]]:
        """The numbers of variants that run together, and the side to pad them on."""

        def length(number: int) -> int:
            return _length(variants[number])

        order = sorted(range(len(variants)), key=length)
        side: str | None = "right"
        if order:
            side = self._padding.side(*(_window(variants[order[n]]) for n in (0, -1)))
        padded = 0 if side is None else math.inf
        for batch in by_length(order, length, self._fits, padded=padded):
            yield batch, side or "right"

    def _fits(self, rows: int, longest: int) -> bool:
        return self._room.fits(rows, longest, MAX_BATCH_TOKENS)

    @torch.inference_mode()
    def _outputs(self, windows: Sequence[Window], side: str) -> Outputs:
        """[rows, outputs]"""
        inputs = self._encoder.batch(windows, side)
        try:
            moved = {name: values.to(self._model.device) for name, values in inputs.items()}
            logits = logits_of(self._shadow.root(**moved, return_dict=True), None)
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
        outputs: Outputs = self._problem.probabilities(logits).double().cpu().numpy()
        return outputs


def _length(inputs: Inputs) -> int:
    return len(inputs["input_ids"])


def _window(inputs: Inputs) -> Window:
    given: dict[str, Any] = {name: values.tolist() for name, values in inputs.items()}
    return Window(given, np.arange(_length(inputs)))
