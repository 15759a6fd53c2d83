"""The model as a fit runs it: how words are hidden, in which dtype, and the states it makes."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import ModelError, OptionError, UnsupportedHeadError
from normxlogit.evaluation.perturb.predictions import MAX_BATCH_TOKENS
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.capture import capture
from normxlogit.model.inference import inference
from normxlogit.model.readings import whole
from normxlogit.tasks.batches import MemoryBudget, by_halves
from normxlogit.text.encoded import Window
from normxlogit.text.encoder import Encoder
from normxlogit.text.lengths import by_length

LAYERS = 4
HARMLESS = 0.05
"""By how much of their own standard deviation outcomes may differ in bfloat16."""


def chosen_layers(layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """The layers that a head reads: those asked for, else four from the first to the last.

    Raises:
        OptionError: there is no such layer.
    """
    if layers is None:
        return tuple(sorted({round(n * depth / (LAYERS - 1)) for n in range(LAYERS)}))
    missing = [number for number in layers if not 0 <= number <= depth]
    if missing:
        raise OptionError(
            f"there is no layer {missing[0]}: layers go from 0, the first block's input, to "
            f"{depth}."
        )
    return tuple(sorted(set(layers)))


def in_bfloat16(model: PreTrainedModel) -> PreTrainedModel | None:
    """A copy in bfloat16, if the model is in float32 and the device computes faster so."""
    if model.dtype != torch.float32 or not _has_fast_bfloat16(model.device):
        return None
    rounded: PreTrainedModel = copy.deepcopy(model).to(torch.bfloat16)  # type: ignore[arg-type]
    return rounded


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16"))


def is_harmless(outcomes: NDArray[np.float64], rounded: NDArray[np.float64]) -> bool:
    """Whether outcomes, [variants, outputs], are much the same in bfloat16."""
    difference = np.sqrt(((rounded - outcomes) ** 2).mean(0))
    return bool((difference <= HARMLESS * outcomes.std(0)).all())


class StateReader:
    """Reads the states of texts and what the model says of them.

    Attributes:
        depth: how many layers the model has.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder, sample: Sample) -> None:
        """Run the model on one text.

        Raises:
            UnsupportedHeadError: it does not say one thing of a text from states of its tokens.
        """
        self._model, self._encoder, self._room = model, encoder, MemoryBudget()
        with inference():
            captured = capture(model, self._inputs(sample.encoded.windows), readings={0: whole})
        if captured.logits.dim() != 2 or captured.reads_decoder or captured.states.layer(0) is None:
            raise UnsupportedHeadError(
                f"{type(model).__name__} does not say one thing of a text from hidden states that "
                "stand one to a token, so no attribution head can be fitted to it."
            )
        self.depth = captured.depth

    def read(
        self, samples: Sequence[Sample], layers: Sequence[int]
    ) -> Iterator[tuple[int, NDArray[np.float16], Tensor]]:
        """Yield each text's number in the list, states [tokens, features], and output [outputs]."""

        windows = [sample.encoded.windows[0] for sample in samples]

        def length(number: int) -> int:
            return len(windows[number])

        def fits(rows: int, longest: int) -> bool:
            return self._room.fits(rows, longest, MAX_BATCH_TOKENS)

        @inference()
        def states(some: Sequence[Window]) -> list[tuple[NDArray[np.float16], Tensor]]:
            return self._states(some, layers)

        # Of one length each, for no side of padding is safe for every model.
        order = sorted(range(len(windows)), key=length)
        for numbers in by_length(order, length, fits, padded=0):
            read = by_halves([windows[n] for n in numbers], states, self._room)
            for number, (of_tokens, logits) in zip(numbers, read, strict=True):
                yield number, of_tokens, logits

    def _states(
        self, windows: Sequence[Window], layers: Sequence[int]
    ) -> list[tuple[NDArray[np.float16], Tensor]]:
        """Read windows of one length."""
        captured = capture(
            self._model, self._inputs(windows), readings=dict.fromkeys(layers, whole)
        )
        kept = [captured.states.layer(number) for number in layers]
        states = (
            torch.cat([layer[0] for layer in kept if layer is not None], -1).float().cpu().numpy()
        )
        if not np.abs(states).max() <= np.finfo(np.float16).max:
            raise ModelError("the states of this model are too large to be kept in float16.")
        logits = captured.logits.float().cpu()
        return list(zip(states.astype(np.float16), logits, strict=True))

    def _inputs(self, windows: Sequence[Window]) -> dict[str, Tensor]:
        inputs = self._encoder.batch(windows, "right")
        return {name: values.to(self._model.device) for name, values in inputs.items()}
