"""On which side texts of different lengths may be padded for a model, if they may be at all."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree
from normxlogit.text.encoded import Window
from normxlogit.text.encoder import Encoder


class Padding:
    """Determines, for a model and a length, on which side padding changes nothing.

    Absolute positions count from the left, so most models are padded on the right; heads that read
    the last position want it on the left; and some models mix padding into the text whatever the
    mask says. No configuration tells which, so the shortest text is run alone and beside the
    longest; and again beside a longer one, because some models compute in another way above some
    length.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder) -> None:
        self._model, self._encoder = model, encoder
        self._side: str | None = encoder.padding_side if encoder.pads else None
        self._tested_length = 0

    def side(self, shortest: Window, longest: Window) -> str | None:
        """Return the side to pad on; None if neither is safe: only equal lengths share a batch."""
        if len(shortest) == len(longest):
            return "right"
        if self._side is not None and len(longest) > self._tested_length:
            other = "left" if self._side == "right" else "right"
            # The other side is a candidate at first only: later it was either rejected, or passed
            # over for the tokenizer's own side.
            sides = (self._side,) if self._tested_length else (self._side, other)
            self._side = next((s for s in sides if self._is_safe(s, shortest, longest)), None)
            self._tested_length = len(longest)
        return self._side

    @inference()
    def _is_safe(self, side: str, shortest: Window, longest: Window) -> bool:
        first = len(longest) - len(shortest) if side == "left" else 0
        tokens = slice(first, first + len(shortest))
        try:
            alone = self._run([shortest], side, 0)
            padded = self._run([shortest, longest], side, first)
            # All that methods read: the final states, the embeddings' norms and the prediction.
            return (
                agree(padded.captured.states.tokens[:1, tokens], alone.captured.states.tokens)
                and agree(padded.norms()[:1, tokens], alone.norms())
                and _agree_in_output(padded, alone, tokens)
            )
        except NormXLogitError:
            return False

    def _run(self, windows: Sequence[Window], side: str, read: int) -> ForwardPass:
        """Run the model. If its head gives outputs for every token, that at `read` is kept."""
        position = torch.full((len(windows), 2), read)  # an answer has two ends
        return ForwardPass.run(self._model, self._encoder.batch(windows, side), position=position)


def _agree_in_output(padded: ForwardPass, alone: ForwardPass, tokens: slice) -> bool:
    """Return whether the model's outputs for the first row are those for it alone."""
    outputs, expected = padded.captured.logits, alone.captured.logits
    if expected.dim() == 3 and not alone.captured.gathered:
        return agree(outputs[:1, tokens], expected)
    return agree(padded.prediction[:1], alone.prediction, _width(alone))


def _width(forward: ForwardPass) -> Tensor | None:
    """Return the range of each output over the tokens of one text, [outputs].

    None where it is not known, and over a vocabulary, where outputs are many enough to tell how far
    apart they lie.
    """
    try:
        hot = None if forward.captured.gathered else forward.hot  # [1, sequence, outputs]
    except NormXLogitError:
        return None
    return None if hot is None or hot.shape[1] < 2 else hot[0].amax(0) - hot[0].amin(0)
