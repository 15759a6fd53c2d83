"""Whether texts of different lengths may share a batch with a model, and how to pad them."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.numerics import agree
from normxlogit.text.encoded import Window
from normxlogit.text.encoder import Encoder


class Padding:
    """Finds out, for a model and a length, on which side padding changes nothing.

    Absolute positions count from the left, so most models are padded on the right; heads that read
    the last position want it on the left; and some models mix padding into the text whatever the
    mask says. No configuration tells which, so the shortest text is run alone and beside the
    longest; and again beside a longer one, for some models compute otherwise from a length on.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder) -> None:
        self._model, self._encoder = model, encoder
        self._found: str | None = encoder.padding_side if encoder.pads else None
        self._tried = 0

    def side(self, shortest: Window, longest: Window) -> str | None:
        """The side to pad on; None if neither is safe, so that only equal lengths go together."""
        if len(shortest) == len(longest):
            return "right"
        if self._found is not None and len(longest) > self._tried:
            other = "left" if self._found == "right" else "right"
            sides = (self._found, other) if not self._tried else (self._found,)
            self._found = next((s for s in sides if self._is_safe(s, shortest, longest)), None)
            self._tried = len(longest)
        return self._found

    @torch.inference_mode()
    def _is_safe(self, side: str, shortest: Window, longest: Window) -> bool:
        first = len(longest) - len(shortest) if side == "left" else 0
        own = slice(first, first + len(shortest))
        try:
            alone = self._run([shortest], side, 0)
            beside = self._run([shortest, longest], side, first)
            pairs = [
                (beside.prediction[:1], alone.prediction),
                (beside.captured.states.tokens[:1, own], alone.captured.states.tokens),
                (beside.norms()[:1, own], alone.norms()),
            ]
        except NormXLogitError:
            return False
        return all(agree(found, expected) for found, expected in pairs)

    def _run(self, windows: Sequence[Window], side: str, read: int) -> ForwardPass:
        """A forward pass; of a head for every token, the output of the one at `read` is kept."""
        position = torch.full((len(windows), 2), read)  # an answer has two ends
        return ForwardPass.run(self._model, self._encoder.batch(windows, side), position=position)
