"""What a method may use: one forward pass, and on demand HoT of every token."""

from collections.abc import Container, Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .capture import Capture, capture
from .errors import InputError, ModelError, OptionError, UnsupportedHeadError
from .readouts import READOUTS
from .replay import Head
from .targets import Problem, label_names

Layer = int | Literal["all"] | None
EVERY_LAYER = range(1, 1 << 30)


class ForwardPass:
    """One forward pass of a model over a batch.

    Attributes:
        captured: what was seen of it.
        prediction: the model's own output, [batch, classes].
        problem: what the outputs mean.
        labels: the names of the outputs.
        mask: which positions hold tokens, bool [batch, sequence].
        ids: the token ids at the positions, [batch, sequence].
        layers: the layers that are read; the last alone unless asked otherwise.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Mapping[str, Any],
        *,
        layer: Layer = None,
    ) -> None:
        wanted: Container[int] = EVERY_LAYER if layer == "all" else (layer,) if layer else ()
        place = model.device
        moved = {
            k: v.to(place) if isinstance(v, Tensor) and place.type != "meta" else v
            for k, v in inputs.items()
        }
        self.captured = captured = capture(model, moved, layers=wanted)
        self.prediction = captured.logits
        if not self.prediction.isfinite().all():
            raise ModelError(
                f"{type(model).__name__} gave logits that are not finite numbers. Look for NaN "
                "weights, or for an overflow in half precision (load with dtype=float32)."
            )
        outputs = self.prediction.shape[-1]
        self.problem = Problem.of(model.config, outputs)
        self.labels = label_names(model.config, outputs)
        self.ids, self.mask = _positions(captured, type(model).__name__)
        self.layers = sorted(captured.layers) if layer is not None else [captured.depth]
        if not self.layers or (isinstance(layer, int) and layer not in self.layers):
            raise OptionError(f"there is no layer {layer!r}: layers go from 1 to {captured.depth}.")
        self._states = [captured.layers.get(i, captured.hidden) for i in self.layers]

    def norms(self, kind: str = "embedding") -> Tensor:
        """||x_i^0||_2 in float32, nan at padding, [batch, sequence]; "word" for the word embedding.

        Raises:
            UnsupportedHeadError: these vectors do not stand one to a token.
            OptionError: `kind` is neither "embedding" nor "word".
        """
        captured = self.captured
        if kind not in ("embedding", "word"):
            raise OptionError(f"norm must be one of embedding, word; got {kind!r}.")
        norms = captured.norms
        if kind == "word":
            norms = None if captured.looked_up is None else captured.looked_up.norms()
        if norms is None or norms.shape != self.mask.shape:
            raise UnsupportedHeadError(
                f"this model's {kind} vectors do not stand one to a token of its final layer, so "
                "their norm is not defined for the tokens. method='logat' needs no norm."
            )
        return norms.masked_fill(~self.mask, torch.nan)

    @cached_property
    def head(self) -> Head:
        """The head, replayed on every token and checked."""
        return Head(self.captured, self.mask)

    @cached_property
    def hot(self) -> Tensor:
        """HoT of every token in float32, nan at padding, [batch, classes, layers, sequence]."""
        final = self.captured.hidden
        hot = torch.stack(
            [self.head.logits if s is final else self.head.on_tokens(s) for s in self._states], 1
        )
        hot = hot.float().masked_fill(~self.mask[:, None, :, None], torch.nan)
        return hot.permute(0, 3, 1, 2)


class Evidence:
    """A forward pass and the question put to it.

    Attributes:
        ids, mask: as in `ForwardPass`.
        targets: the outputs that are explained, [batch, targets]; -1 where a row has fewer.
    """

    def __init__(
        self, forward: ForwardPass, targets: Tensor, foils: Tensor | None, readout: str
    ) -> None:
        self.ids, self.mask, self.targets = forward.ids, forward.mask, targets
        self._forward, self._foils = forward, foils
        self._readout = READOUTS[forward.problem][readout]

    @cached_property
    def values(self) -> Tensor:
        """The readout of HoT(x_i) for each target, less that of the foil if there is a contrast.

        float32 [batch, targets, layers, sequence], nan at padding.
        """
        hot, own = self._forward.hot, self._forward.prediction.float()
        values = self._readout(hot, self.targets, own)
        if self._foils is not None:
            values = values - self._readout(hot, self._foils, own)
        return values

    @property
    def reads_head(self) -> bool:
        """Whether `values` were asked for."""
        return "values" in self.__dict__

    def norms(self, kind: str = "embedding") -> Tensor:
        """`ForwardPass.norms` to multiply `values` with, [batch, 1, 1, sequence]."""
        return self._forward.norms(kind)[:, None, None]


def _positions(captured: Capture, name: str) -> tuple[Tensor, Tensor]:
    """The ids and the mask of the positions of x^L."""
    ids, mask = captured.inputs.get("input_ids"), captured.inputs.get("attention_mask")
    if ids is None:
        raise InputError(f"{name} was given {', '.join(captured.inputs)}; input_ids are needed.")
    mask = torch.ones_like(ids) if mask is None else mask
    if mask.shape == ids.shape and not mask.any(1).all():
        raise InputError("a row of the attention mask is all zeros, so it holds no token.")
    if captured.hidden.shape[:2] != ids.shape or mask.shape != ids.shape:
        raise UnsupportedHeadError(
            f"{name} reads {list(ids.shape)} tokens, and its final layer has "
            f"{list(captured.hidden.shape[:2])} positions: its representations do not stand one to "
            "a token. A perturbation method is the way to explain it."
        )
    return ids, mask.bool()
