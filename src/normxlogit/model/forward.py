"""One forward pass over a batch, and on demand HoT of every token."""

from collections.abc import Callable, Container, Mapping
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import PreTrainedModel

from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.model.capture import Capture, capture
from normxlogit.model.heads.language import VocabularyHead
from normxlogit.model.heads.per_token import TokenHead
from normxlogit.model.heads.pooled import PooledHead
from normxlogit.model.heads.spread import check_resolution, extremes
from normxlogit.model.inference import inference
from normxlogit.model.numerics import wide
from normxlogit.model.positions import best_spans, check_read, find_positions, read_positions
from normxlogit.model.readings import Reading
from normxlogit.model.readouts import Objective, Outputs, Readout, logit
from normxlogit.model.reruns import Reruns
from normxlogit.model.targets import Problem, TargetIds, label_names
from normxlogit.model.trials.causality import all_hide_what_follows, is_causal, tokens_read
from normxlogit.model.vocabulary import output_embeddings

Layer = int | Literal["all"] | None
EVERY_LAYER = range(1, 1 << 30)

SINK = 20.0
"""A token is a sink if its state's norm is this many times the median of the text's tokens;
docs/heads/causal.md has measured examples."""


class ForwardPass:
    """One forward pass of a model over a batch.

    The sequence is what the head could read: the tokens; for encoder-decoders that generate, the
    source's tokens and then the decoder's; for images and audio the positions of x^L.

    Attributes:
        captured: the pass as it was captured.
        problem: what the outputs mean.
        labels: the names of the outputs.
        ids: the token ids, [batch, sequence]; in multiple choice [batch, choices, sequence]; None
            if there are none.
        mask: which positions hold tokens, bool, of the same shape.
        sources: how many of the first positions are the source's.
        read: the positions whose output is read, int64 [batch, positions], -1 where a row has
            fewer; None if the head gives one output for a row, or none was asked for.
        layers: the layers that are read; the last alone unless asked otherwise.
        names_layers: whether layers were asked for.
        states: their hidden states as the head would read them, [rows, sequence, hidden].
    """

    def __init__(
        self,
        model: PreTrainedModel,
        captured: Capture,
        *,
        layer: Layer = None,
        read: Tensor | None = None,
        answerable: Tensor | None = None,
    ) -> None:
        """Take a captured forward pass of `model`; see `run`."""
        self._name, self._model, self.captured = type(model).__name__, model, captured
        if not captured.logits[..., : 2 if captured.is_span else None].isfinite().all():
            raise ModelError(
                f"{self._name} gave logits that are not finite numbers. Look for NaN "
                "weights, or for an overflow in half precision (load with dtype=float32)."
            )
        self.is_causal = captured.vocabulary is not None and is_causal(model)
        positions = find_positions(captured, self._name)
        self.ids, self.mask, self.sources = positions.ids, positions.mask, positions.sources
        self._head_mask = positions.head_mask
        self._inputs, self._parts = positions.inputs, positions.parts
        outputs = captured.logits.shape[-1] if captured.choices is None else captured.choices
        self.problem = self._find_problem(model, outputs)
        self.labels = label_names(model.config, self.problem, outputs)
        if self.problem is Problem.SPAN and read is None:
            read = best_spans(captured.logits, self._head_mask, answerable)
        self.read = read if captured.logits.dim() == 3 else None
        if captured.logits.dim() == 3 and read is not None:
            check_read(read, self._head_mask)
        self.layers = sorted(captured.layers) if layer is not None else [captured.depth]
        if not self.layers or (isinstance(layer, int) and layer not in self.layers):
            raise OptionError(f"there is no layer {layer!r}: layers go from 1 to {captured.depth}.")
        if layer is not None and self.sources:
            raise OptionError(
                "layer is not defined for a model with an encoder and a decoder, whose layers do "
                "not correspond. Leave it out."
            )
        final = captured.states.tokens
        self.names_layers = layer is not None
        self.states = [captured.layers.get(i, final) for i in self.layers]

    @classmethod
    def run(
        cls,
        model: PreTrainedModel,
        inputs: Mapping[str, Any],
        *,
        layer: Layer = None,
        readings: Mapping[int, Reading] | None = None,
        position: Tensor | None = None,
        answerable: Tensor | None = None,
    ) -> "ForwardPass":
        """Run the model.

        Args:
            model: it is not changed.
            inputs: the arguments of its forward.
            layer: which layers to keep, from 1; None for the last.
            readings: what to keep of blocks' outputs as they are; 0 is the first block's input.
            position: where the outputs to be explained are read, int64 [batch] or [batch,
                positions], if the head gives outputs for every token. By default a causal language
                model is read at the last token, and question answering at the best answer.
            answerable: where an answer may be, bool [batch, sequence].
        """
        wanted: Container[int] = EVERY_LAYER if layer == "all" else (layer,) if layer else ()
        place = model.device
        moved = {
            k: v.to(place) if isinstance(v, Tensor) and place.type != "meta" else v
            for k, v in inputs.items()
        }
        is_vocabulary = output_embeddings(model) is not None
        read = read_positions(moved, position, is_vocabulary and is_causal(model))
        captured = capture(model, moved, wanted, readings, read=read if is_vocabulary else None)
        return cls(model, captured, layer=layer, read=read, answerable=answerable)

    def read_at(self, position: Tensor) -> None:
        """Read the outputs at these positions, int64 [batch, positions], -1 where a row has fewer.

        For heads that gave outputs for every token.
        """
        self.read = position.to(self._head_mask.device)

    @property
    def prediction(self) -> Tensor:
        """The model's own output, [batch, outputs].

        For the row as a whole, at the first position that is read, or for the answer.
        """
        if self.captured.choices is not None:
            return self.captured.logits.reshape(-1, self.captured.choices)
        if self.problem is Problem.SPAN:
            assert self.read is not None
            start, end = (self.captured.logits[self._rows, self.read[:, i], i] for i in (0, 1))
            return torch.stack([start, end, start + end], -1)
        if self.captured.logits.dim() == 2:
            return self.captured.logits
        return self.at_positions[:, 0]

    @property
    def at_positions(self) -> Tensor:
        """The model's own output at `read`, [batch, positions, outputs].

        Raises:
            InputError: the head gives outputs for every token, and no position was asked for.
        """
        if self.read is None:
            raise InputError(
                f"{self._name} gives an output for every token: say with position which of them "
                "is to be explained."
            )
        if self.captured.gathered:
            return self.captured.logits
        return self.captured.logits[self._rows[:, None], self.read.clamp_min(0)]

    @cached_property
    def head(self) -> PooledHead | TokenHead | VocabularyHead:
        """The head, replayed and checked."""
        captured = self.captured
        if captured.logits.dim() == 2:
            head = PooledHead(captured, self._head_mask)
            if self.problem is Problem.REGRESSION:
                check_resolution(head.logits, self._head_mask, self._name)
            return head
        if self.problem is Problem.TOKEN:
            assert self.read is not None
            return VocabularyHead(captured, self._head_mask, self.read)
        return TokenHead(captured, self._head_mask)

    @property
    def hot(self) -> Tensor | None:
        """HoT of every token at the last of `layers`; None over a vocabulary.

        float32 [batch, sequence, outputs], nan at padding.
        """
        if isinstance(self.head, VocabularyHead):
            return None
        mask = self.mask if self.mask.dim() == 2 else self.mask.transpose(1, 2)
        hot = self._hot(self.head, self.states[-1]).float()
        return hot.masked_fill(~(mask if mask.dim() == 3 else mask[..., None]), torch.nan)

    @property
    def read_position(self) -> Tensor | None:
        """The position that the head reads, int64 [batch], -1 where it reads several.

        [batch, choices] in multiple choice, [batch, positions] if the head gives outputs for every
        token.
        """
        if not isinstance(self.head, PooledHead):
            return self.read
        position, choices = self.head.read_position, self.captured.choices
        return position if choices is None else position.reshape(-1, choices)

    def values(self, ids: Tensor, readout: Readout) -> Tensor:
        """The readout of HoT of every token, for the outputs `ids`, int64 [batch, targets].

        [batch, targets, layers, sequence], in float64 of a model in float64, for what a constant
        that tokens share leaves of their differences, else float32; undefined at padding.
        """
        return torch.stack([self._values(state, ids, readout) for state in self.states], 2)

    def logits_at(self, positions: Tensor, ids: Tensor) -> Tensor:
        """A language model's logits of one token at each position.

        Args:
            positions, ids: int64 [batch, positions].

        Returns:
            float32 [batch, positions].
        """
        head, states = self._vocabulary_at(positions)
        unique, index = torch.unique(ids.clamp_min(0), return_inverse=True)
        return head.logits_of(states, unique).float().gather(-1, index[..., None])[..., 0]

    def totals_at(self, positions: Tensor) -> Tensor:
        """The log-sum-exp of a language model's logits, float32 [batch, positions]."""
        head, states = self._vocabulary_at(positions)
        return head.each(states, lambda hot, _: hot.float().logsumexp(-1, keepdim=True))[..., 0]

    def _vocabulary_at(self, positions: Tensor) -> tuple[VocabularyHead, Tensor]:
        head = self.head
        assert isinstance(head, VocabularyHead)
        return head, self.captured.states.tokens[self._rows[:, None], positions.clamp_min(0)]

    def norms(self, kind: str = "embedding") -> Tensor:
        """||x_i^0||_2 in float32, nan at padding, shaped like `mask`; "word" for word embeddings.

        Raises:
            UnsupportedHeadError: these vectors do not stand one to a token.
            OptionError: `kind` is neither "embedding" nor "word".
        """
        captured = self.captured
        if kind not in ("embedding", "word"):
            raise OptionError(f"norm must be one of embedding, word; got {kind!r}.")
        norms = captured.states.norms
        if kind == "word":
            norms = None if captured.looked_up is None else captured.looked_up.norms()
        if self.sources and norms is not None:
            assert captured.source is not None
            source = captured.source.norms if kind == "embedding" else None
            norms = None if source is None else torch.cat([source, norms], 1)
        if norms is None or norms.numel() != self.mask.numel():
            raise UnsupportedHeadError(
                f"this model's {kind} vectors do not stand one to a position of its final layer, "
                "so their norm is not defined. method='logat' needs no norm."
            )
        return norms.reshape(self.mask.shape).masked_fill(~self.mask, torch.nan)

    @property
    def has_norms(self) -> bool:
        """Whether the norms are defined, as far as one can tell without a further pass."""
        sides = [self.captured.states, *([self.captured.source] if self.sources else [])]
        # A side whose blocks were traced has its norms, or they were computed before (cached).
        traced = (s for s in sides if s is not None and (s.stack is not None or "norms" in vars(s)))
        return sum(side.norms is not None for side in traced) == len(sides)

    @property
    def hides_what_follows(self) -> bool:
        """Whether the state at a position depends on nothing after it."""
        return all_hide_what_follows(self._model, self.captured, self._head_mask)

    @cached_property
    def sinks(self) -> Tensor:
        """Tokens of a causal language model that are attention sinks, bool like `mask`.

        In some layer their states are far larger than others', whatever the text; most often that
        is the first token. They say little about the text, so rankings leave them out.
        """
        if not self.is_causal or self.sources:
            return torch.zeros_like(self.mask)
        return self.captured.states.peaks(self._head_mask) > SINK

    def reruns(
        self,
        targets: TargetIds,
        foils: Tensor | None,
        readout: Outputs,
        kind: Callable[..., Reruns] = Reruns,
    ) -> Reruns:
        """Further passes of the model on variants of the same inputs.

        Raises:
            UnsupportedHeadError: the inputs are not tokens.
        """
        if self.ids is None:
            raise UnsupportedHeadError(
                f"{self._name} reads no tokens, which this method changes or takes gradients at. "
                "method='normxlogit' serves images and audio too."
            )
        captured, gathered = self.captured, self.captured.gathered
        rows = torch.arange(self.ids.shape[:-1].numel(), device=self.ids.device)
        if self.problem is Problem.CHOICE:
            objective = Objective(readout, torch.zeros_like(rows)[:, None])
        else:
            span = self.read if self.problem is Problem.SPAN else None
            objective = Objective(readout, targets.ids, foils, targets.positions, span)
        if gathered and not (
            self.read is not None
            and targets.positions is not None
            and torch.equal(self.read, targets.positions)
        ):
            # The pass kept logits at other positions than the targets' (of generated text).
            expected = self._readout_at_targets(targets, foils, readout)
        else:
            expected = objective(captured.logits, rows, gathered=gathered)
        width = partial(self._width, targets, foils, readout)
        return kind(
            self._model, self._inputs, self.ids, self.mask, self._parts, objective, expected, width
        )

    @inference()
    def _width(self, targets: TargetIds, foils: Tensor | None, readout: Outputs) -> Tensor | None:
        """The range of a readout of HoT over a row's tokens, [rows, targets]; None without HoT."""
        ids, mask = targets.ids, self.mask.flatten(0, -2)
        if self.problem is Problem.CHOICE:
            ids = torch.arange(len(self.labels), device=ids.device).expand(len(ids), -1)
        try:
            values = self.values(ids, Readout(readout))[:, :, -1]
            if foils is not None:
                values = values - self.values(foils, Readout(readout))[:, :, -1]
        except NormXLogitError:
            return None
        values = values.reshape(len(mask), -1, mask.shape[1])  # every choice is a row
        smallest, largest = extremes(values, mask[:, None], -1)
        return largest - smallest

    def _readout_at_targets(
        self, targets: TargetIds, foils: Tensor | None, readout: Outputs
    ) -> Tensor:
        """The readout of a language model's own states where targets are read, less the foils'.

        float32 [batch, targets].
        """
        assert targets.positions is not None
        if readout is logit:
            logits = self.logits_at(targets.positions, targets.ids)
            if foils is None:
                return logits
            return logits - self.logits_at(targets.positions, foils.expand_as(targets.ids))
        head, states = self._vocabulary_at(targets.positions)

        def values(ids: Tensor) -> Tensor:
            # [batch, positions, targets]; target n is read at position n alone.
            pairs = head.each(states, lambda hot, rows: readout(hot.float(), ids[rows]))
            return pairs.diagonal(dim1=1, dim2=2)

        of_targets = values(targets.ids)
        return of_targets if foils is None else of_targets - values(foils.expand_as(targets.ids))

    def read_weights(self, targets: TargetIds) -> Tensor:
        """How much of a target's output is read at each position.

        One-hot over the position the head reads; uniform over tokens if it pools. float32 [rows,
        targets or 1, sequence]; in multiple choice every choice is a row.
        """
        mask = self._head_mask
        if self.problem is Problem.SPAN:
            assert self.read is not None
            start, end = (one_hot(self.read[:, i], mask.shape[1]).float() for i in (0, 1))
            return torch.stack([start, end, (start + end) / 2], 1)[self._rows[:, None], targets.ids]
        if targets.positions is not None:
            return one_hot(targets.positions.clamp_min(0), mask.shape[1]).float()
        assert isinstance(self.head, PooledHead)
        position = self.head.read_position
        pooled = mask / mask.sum(1, keepdim=True)
        alone = one_hot(position.clamp_min(0), mask.shape[1]).float()
        return torch.where((position < 0)[:, None], pooled, alone)[:, None]

    def seen(self, targets: TargetIds) -> Tensor:
        """Which tokens took part in each output, bool [batch, targets or 1, sequence].

        With causal attention, tokens after the position that is read took no part.
        """
        if self.mask.dim() == 3:
            return self.mask.gather(
                1, targets.ids.clamp_min(0)[..., None].expand(-1, -1, self.mask.shape[-1])
            )
        if not self.is_causal or targets.positions is None:
            return self.mask[:, None]
        return tokens_read(self._model, self.captured, targets.positions, self.mask)

    def of_targets(self, values: Tensor, targets: TargetIds) -> Tensor:
        """Arrange values of every token by target: [batch, targets or 1, sequence].

        Takes [batch, sequence], or in multiple choice [batch, choices, sequence].
        """
        if values.dim() == 2:
            return values[:, None]
        index = targets.ids.clamp_min(0)[..., None].expand(-1, -1, values.shape[-1])
        return values.gather(1, index)

    @property
    def _rows(self) -> Tensor:
        return torch.arange(len(self._head_mask), device=self._head_mask.device)

    def _hot(self, head: PooledHead | TokenHead, state: Tensor) -> Tensor:
        """HoT of states, [batch, sequence, outputs]; see `wide`."""
        is_final = state is self.captured.states.tokens or len(self.captured.layers) == 0
        hot = wide(head.logits if is_final else head.on_tokens(state))
        if self.captured.choices is not None:
            # One output a row: [batch * choices, sequence, 1] -> [batch, sequence, choices].
            hot = hot.reshape(-1, self.captured.choices, hot.shape[1]).transpose(1, 2)
        return hot

    def _values(self, state: Tensor, ids: Tensor, readout: Readout) -> Tensor:
        head = self.head
        if not isinstance(head, VocabularyHead):
            hot = self._hot(head, state)
            return readout.of_outputs(hot, ids[:, None].expand(-1, hot.shape[1], -1)).mT
        source = self.captured.source if self.sources else None
        if source is not None:
            state = torch.cat([source.tokens, state], 1)
        if readout.of_outputs is logit:
            # Only the targets' rows of the vocabulary: [batch, sequence, unique targets].
            unique, index = torch.unique(ids.clamp_min(0), return_inverse=True)
            hot = wide(head.logits_of(state, unique))
            return hot.gather(-1, index[:, None].expand(-1, hot.shape[1], -1)).mT
        return head.each(state, lambda hot, rows: readout.of_outputs(wide(hot), ids[rows])).mT

    def _find_problem(self, model: PreTrainedModel, outputs: int) -> Problem:
        captured = self.captured
        if captured.choices is not None:
            return Problem.CHOICE
        if captured.logits.dim() == 2:
            return Problem.of(model.config, outputs)
        if captured.vocabulary is not None:
            return Problem.TOKEN
        return Problem.SPAN if captured.is_span else Problem.SINGLE_LABEL
