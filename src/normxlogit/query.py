"""What is asked of a model, and the scores that answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError, OptionError, UnsupportedHeadError
from normxlogit.methods import Method, find_method
from normxlogit.methods.catalogue import default_method
from normxlogit.methods.context import MethodContext
from normxlogit.methods.request import Request
from normxlogit.model.clone import unwrap
from normxlogit.model.forward import ForwardPass, Layer
from normxlogit.model.inference import inference
from normxlogit.model.readings import Reading
from normxlogit.model.readouts import find_readout
from normxlogit.model.targets import (
    Problem,
    Target,
    TargetIds,
    Targets,
    is_several,
    same_as_contrast,
    target_id,
    target_ids,
)
from normxlogit.text.token_lookup import NO_TEXT, TokenLookup


@dataclass(frozen=True)
class TensorAttribution:
    """Scores of a batch, and what they are made of; all on the model's device.

    The sequence is that of `input_ids`; of images and audio the positions of the final hidden
    states; of an encoder-decoder that generates, the source and then the decoder's tokens.

    Attributes:
        scores: float32 [batch, sequence], nan at padding and at tokens that took no part. With
            several targets a dimension of targets, and with layer="all" one of layers, stand
            between: [batch, targets, layers, sequence]. Rows with fewer targets than others are nan
            for the missing ones.
        values: what the readout gave, like `scores`; None if the method reads no head.
        norms: ||x_i^0||_2, float32 [batch, sequence], of multiple choice [batch, choices,
            sequence], nan at padding; None where not defined.
        targets: ids of the outputs explained, int64 [batch, targets]; -1 where a row has fewer.
        positions: where these are read, int64 [batch, targets], of a head that gives outputs for
            every token; else None.
        layers: the layers that were read.
        prediction: the model's own output, [batch, outputs]; of a head for every token, at the
            first position that is read.
        logits: HoT(x_i) at the last of `layers`, float32 [batch, sequence, outputs], nan at
            padding; None of a language model, and if the method reads no head.
        read_position: the position that the head reads, int64 [batch], -1 where it reads several;
            [batch, positions] of a head for every token, [batch, choices] of multiple choice; None
            if the method reads no head.
        reads_decoder: whether the positions are a decoder's: position i has read tokens up to i -
            1.
        sources: how many of the first positions are the source's.
        readout: the name of the readout; None if the method uses none.
        of_output: whether the readout is of the model's own output, rather than of HoT(x_i).
        unsigned: for scores that neither support nor oppose a target, what a high one means.
        reads_layers: whether the scores are those of `layers`.
        contrast: the id of the output that is subtracted for each row, int64 [batch]; or None.
        base: what the scores add up from to the readout of the model's own output, float32 [batch,
            targets]; None if the method's scores are not additive.
        notes: what the method reports about its scores, by name, float32 [batch, targets], nan
            where a row has fewer targets.
    """

    scores: Tensor
    values: Tensor | None
    norms: Tensor | None
    targets: Tensor
    positions: Tensor | None
    layers: list[int]
    prediction: Tensor
    logits: Tensor | None
    read_position: Tensor | None
    reads_decoder: bool
    sources: int
    readout: str | None
    of_output: bool
    unsigned: str | None
    reads_layers: bool
    contrast: Tensor | None
    base: Tensor | None
    notes: dict[str, Tensor]


@dataclass(frozen=True)
class Query(Request):
    """A request that is put to forward passes."""

    @property
    def readings(self) -> Mapping[int, Reading]:
        """What the forward pass must keep of blocks' outputs; 0 is the first block's input."""
        return find_method(self.method).keeps(self.options)

    def targets(self, forward: ForwardPass, prediction: Tensor | None = None) -> TargetIds:
        """The outputs to explain, for each row of a forward pass.

        Args:
            forward: a forward pass.
            prediction: logits to predict by, [batch, outputs], in place of its own.
        """

        def ids(logits: Tensor) -> Tensor:
            return target_ids(self.target, logits, forward.labels, forward.problem, self.threshold)

        if forward.captured.logits.dim() == 2 or forward.problem is Problem.SPAN:
            return TargetIds(ids(forward.prediction if prediction is None else prediction))
        outputs, read = forward.at_positions, forward.read
        assert read is not None
        if isinstance(self.target, Tensor):
            return TargetIds(ids(outputs[:, 0]).expand(-1, read.shape[1]), read)
        # Targets of each position, side by side: [batch, positions * targets].
        per_position = ids(outputs.flatten(0, 1)).reshape(len(outputs), -1)
        positions = read.repeat_interleave(per_position.shape[1] // read.shape[1], 1)
        return TargetIds(per_position.masked_fill(positions < 0, -1), positions)

    def score(
        self, forward: ForwardPass, targets: TargetIds, lookup: TokenLookup = NO_TEXT
    ) -> "ScoredBatch":
        """Score the tokens of every row for its targets.

        Args:
            forward: a forward pass.
            targets: the outputs to explain, from `targets`.
            lookup: what the tokenizer knows about the tokens.

        Raises:
            OptionError: the readout or contrast does not fit the method or the model.
            InputError: the prediction is the contrast.
            UnsupportedHeadError: the method does not serve the model.
        """
        method, contrasts = find_method(self.method), self.contrast is not None
        if method.readouts is not None and forward.problem not in method.readouts:
            raise UnsupportedHeadError(
                f"method {self.method!r} serves {method.serves}, and this model is for "
                f"{forward.problem.value}. Take another method."
            )
        only = None if method.readouts is None else method.readouts[forward.problem]
        readout = find_readout(self.readout, forward.problem, contrasts, method.of_output, only)
        foils = self._foils(forward, targets)
        has_readout = method.reads_head or method.of_output
        if not has_readout and (contrasts or self.readout is not None):
            raise OptionError(
                f"method {self.method!r} scores tokens whatever the target is, so it has neither "
                "readout nor contrast. Leave them out."
            )
        context = MethodContext(forward, targets, foils, readout, lookup, method.reads)
        scores = method(context, **self.options)
        batch, count = targets.ids.shape
        shape = (batch, count, len(forward.layers), forward.mask.shape[-1])
        missing = targets.ids < 0  # [batch, targets], of rows with fewer targets than others
        absent = ~context.mask[:, :, None] | missing[:, :, None, None]
        return ScoredBatch(
            query=self,
            method=method,
            forward=forward,
            targets=targets,
            foils=foils,
            readout=readout if has_readout else None,
            scores=scores.scores.expand(shape).masked_fill(absent, torch.nan),
            values=context.values if method.reads_head else None,
            unsigned=scores.unsigned,
            base=None if scores.base is None else scores.base.masked_fill(missing, torch.nan),
            notes={
                name: note.masked_fill(missing, torch.nan) for name, note in scores.notes.items()
            },
            reads_layers=method.has_layers and scores.of_layers,
            has_target_axis=count > 1
            or is_several(self.target, forward.problem, forward.prediction.shape[-1]),
        )

    def _foils(self, forward: ForwardPass, targets: TargetIds) -> Tensor | None:
        if self.contrast is None:
            return None
        if forward.problem is Problem.CHOICE:
            raise OptionError(
                "contrast compares two outputs of the same tokens, and each choice has its own. "
                "Explain both with target='all'."
            )
        if not isinstance(self.contrast, Tensor):
            # A contrast is one label: several, or "all", are refused here.
            target_id(self.contrast, forward.labels)
        foils = target_ids(
            self.contrast, forward.prediction, forward.labels, forward.problem, self.threshold
        )
        same = targets.ids[foils == targets.ids]
        if same.numel():
            raise same_as_contrast(forward.labels[int(same[0])], self.target)
        return foils


@dataclass(frozen=True)
class ScoredBatch:
    """The scores of a batch in full, with what was asked and what they mean.

    Attributes:
        query: what was asked.
        method: the method that was asked for.
        forward: the forward pass that was scored.
        targets: the outputs explained.
        foils: the outputs subtracted, int64 [batch, 1]; None without a contrast.
        readout: the name of the readout; None if the method uses none.
        scores: float32 [batch, targets, layers, sequence]; nan at padding, at tokens that took no
            part, and for the missing targets of rows with fewer than others.
        values: what the readout gave, like `scores`; None if the method does not read the head.
        unsigned: for scores that neither support nor oppose a target, what a high one means.
        base: what the scores add up from, float32 [batch, targets]; None if they are not additive.
        notes: what the method reports about its scores, by name, float32 [batch, targets].
        reads_layers: whether the scores are those of `forward.layers`.
        has_target_axis: whether several targets were asked for, however many there are.
    """

    query: Query
    method: Method
    forward: ForwardPass
    targets: TargetIds
    foils: Tensor | None
    readout: str | None
    scores: Tensor
    values: Tensor | None
    unsigned: str | None
    base: Tensor | None
    notes: Mapping[str, Tensor]
    reads_layers: bool
    has_target_axis: bool

    @property
    def axes(self) -> tuple[str, ...]:
        """The dimensions before the tokens that were asked for: "target", "layer"."""
        return ("target",) * self.has_target_axis + ("layer",) * (self.query.layer == "all")

    @property
    def foil(self) -> str | None:
        """The label of the contrast."""
        return None if self.foils is None else str(self.forward.labels[int(self.foils[0, 0])])

    @property
    def reads_decoder(self) -> bool:
        """Whether the positions are a decoder's: position i has read tokens up to i - 1."""
        return self.forward.captured.reads_decoder and self.method.reads_states

    @cached_property
    def norms(self) -> Tensor | None:
        """||x_i^0||_2 of the first target's tokens, float32 [batch, sequence], or None."""
        if not self.forward.has_norms:
            return None
        return self.forward.of_targets(self.forward.norms(), self.targets)[:, 0]

    def less(self, other: "ScoredBatch", shared: int) -> "ScoredBatch":
        """These scores less those of another batch, at the first `shared` positions."""

        def difference(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.cat([ours[..., :shared] - theirs[..., :shared], ours[..., shared:]], -1)

        both = self.values is not None and other.values is not None
        return replace(
            self,
            scores=difference(self.scores, other.scores),
            values=difference(self.values, other.values) if both else None,  # type: ignore[arg-type]
        )

    def tensors(self) -> TensorAttribution:
        """The public form, without the dimensions that were not asked for."""
        forward, reads_head = self.forward, self.method.reads_head
        return TensorAttribution(
            scores=self._squeezed(self.scores),
            values=None if self.values is None else self._squeezed(self.values),
            norms=forward.norms() if forward.has_norms else None,
            targets=self.targets.ids,
            positions=self.targets.positions,
            layers=forward.layers,
            prediction=forward.prediction,
            logits=forward.hot if reads_head else None,
            read_position=forward.read_position if reads_head else None,
            reads_decoder=self.reads_decoder,
            sources=forward.sources,
            readout=self.readout,
            of_output=self.method.of_output,
            unsigned=self.unsigned,
            reads_layers=self.reads_layers,
            contrast=None if self.foils is None else self.foils[:, 0],
            base=self.base,
            notes=dict(self.notes),
        )

    def _squeezed(self, values: Tensor) -> Tensor:
        """[batch, targets, layers, sequence] -> [batch, *axes, sequence]."""
        if "layer" not in self.axes:
            values = values[:, :, 0]
        return values if "target" in self.axes else values[:, 0]


def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    target: Targets = None,
    contrast: Target | Tensor | None = None,
    position: int | Sequence[int] | Tensor | None = None,
    method: str | None = None,
    layer: Layer = None,
    readout: str | None = None,
    threshold: float = 0.5,
    **options: Any,
) -> TensorAttribution:
    """Attribute a prediction to the tokens that it was made from, at the price of one forward pass.

    NormXLogit (Abbasi, Modarres, Pilehvar, EMNLP 2025): ||x_i^0||_2 * HoT(x_i^L)[target].

    Args:
        model: a transformers model with a head for classification, tags, answers, choices or
            language modelling, as it is or wrapped by PEFT or torch.compile. It is not changed;
            dropout does not act, whatever mode it is in, nor does `torch.autocast`.
        inputs: what its forward takes: `input_ids` [batch, sequence] and, if rows are padded,
            `attention_mask`, ...; of multiple choice [batch, choices, sequence]; `pixel_values`,
            `input_values`, ...; tensors are moved to the model's device.
        target: what is explained: a label name or id, several, "all", a tensor of ids [batch], or
            None for what the model predicts. Of question answering "start", "end" or, the default,
            "span", their sum; of language models token ids.
        contrast: an output (name, id, or tensor of ids [batch]) whose readout is subtracted.
        position: of a head that gives outputs for every token, the token whose output is explained:
            a number, or numbers [batch] or [batch, positions]. A causal language model reads the
            last token, and question answering the best answer, if not given; masked language models
            and taggers must be told. Of an encoder-decoder it counts the decoder's tokens.
        method: a name from `normxlogit.methods.METHODS`; None is normxlogit, or attribution_head
            if a `head` is among the options.
        layer: put the head on the hidden states of layer 1 .. L, or of "all"; None is the last.
        readout: which number of HoT(x_i) stands for the target, see `normxlogit.model.readouts`;
            None is the logit, for a regression the closeness.
        threshold: with several labels at once, those above this probability count as predicted.
        **options: the method's own options.

    Raises:
        UnsupportedHeadError: the scores could not be vouched for.
        OptionError: an unknown label, method, readout, layer or option.
        InputError: inputs that cannot be explained.
        ModelError: not a model that can be explained, or logits that are not finite.
    """
    name = method_name(method, options)
    query = Query(target, contrast, name, layer, readout, threshold, options)
    if not isinstance(inputs, Mapping) or not all(isinstance(name, str) for name in inputs):
        raise InputError(
            "inputs must be the model's inputs by name, such as a tokenizer returns them; got "
            f"{type(inputs).__name__}."
        )
    position = None if position is None else _positions(position, inputs)
    with inference():
        forward = ForwardPass.run(
            unwrap(model), inputs, layer=layer, readings=query.readings, position=position
        )
        result = query.score(forward, query.targets(forward)).tensors()
    # Tensors made in inference mode could not be written to by the caller, so these are copies.
    copies: dict[str, Any] = {
        name: value.clone() for name, value in vars(result).items() if isinstance(value, Tensor)
    }
    notes = {name: note.clone() for name, note in result.notes.items()}
    return replace(result, **copies, notes=notes)


def method_name(method: str | None, options: Mapping[str, Any]) -> str:
    """The method that is asked for: by name, or by a head among its options."""
    if method is not None:
        return method
    return default_method(has_head=options.get("head") is not None)


def _positions(position: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Return positions as a tensor; a number holds for every row."""
    if isinstance(position, Tensor) and position.dtype != torch.bool:
        return position
    number = as_integer(position)
    if number is not None:
        rows = next((len(value) for value in inputs.values() if isinstance(value, Tensor)), 1)
        position = [number] * rows
    array = np.asarray(position) if isinstance(position, (list, tuple, np.ndarray)) else None
    if array is None or array.dtype.kind not in "iu":
        raise InputError(
            f"position must be a number, or integers [batch] or [batch, positions]; got "
            f"{position!r:.80}."
        )
    return torch.from_numpy(array.astype(np.int64))
