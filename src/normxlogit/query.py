"""Attribution for code that has tensors and no text."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from normxlogit.errors import InputError, OptionError
from normxlogit.methods import find_method
from normxlogit.methods.context import MethodContext
from normxlogit.model.clone import unwrap
from normxlogit.model.forward import ForwardPass, Layer
from normxlogit.model.readouts import find_readout
from normxlogit.model.targets import (
    Asked,
    Problem,
    Target,
    Targets,
    is_several,
    target_id,
    target_ids,
)
from normxlogit.text.token_lookup import NO_TEXT, TokenLookup


@dataclass(frozen=True)
class TensorAttribution:
    """Scores of a batch, and what they are made of; all on the model's device.

    The sequence is that of `input_ids`; of images and sounds the positions of the final hidden
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
        of_output: whether it was put to the model's own output, rather than to HoT(x_i).
        unsigned: of scores that speak neither for nor against a target, what a high one says.
        reads_layers: whether the scores are those of `layers`.
        contrast: the id of the output that is subtracted for each row, int64 [batch]; or None.
        notes: what the method says of its own scores, by name, float32 [batch, targets], nan where
            a row has fewer targets.
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
    notes: dict[str, Tensor]


@dataclass(frozen=True)
class Query:
    """What is asked of a forward pass; the fields are arguments of `attribute`.

    Raises:
        OptionError: there is no such method, option of it, or layer.
    """

    target: Targets = None
    contrast: Target | Tensor | None = None
    method: str = "normxlogit"
    layer: Layer = None
    readout: str | None = None
    threshold: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        find_method(self.method).check(self.options, self.layer)
        is_number = isinstance(self.layer, int) and not isinstance(self.layer, bool)
        if self.layer not in (None, "all") and not (is_number and int(self.layer) > 0):
            raise OptionError(f"layer must be a number from 1, 'all' or None, got {self.layer!r}.")

    def asked(self, forward: ForwardPass, prediction: Tensor | None = None) -> Asked:
        """What is to be explained of each row of a forward pass.

        Args:
            forward: a forward pass.
            prediction: logits to predict by, [batch, outputs], in place of its own.
        """

        def ids(logits: Tensor) -> Tensor:
            return target_ids(self.target, logits, forward.labels, forward.problem, self.threshold)

        if forward.captured.logits.dim() == 2 or forward.problem is Problem.SPAN:
            return Asked(ids(forward.prediction if prediction is None else prediction))
        own, read = forward.at_positions, forward.read
        assert read is not None
        if isinstance(self.target, Tensor):
            return Asked(ids(own[:, 0]).expand(-1, read.shape[1]), read)
        found = ids(own.flatten(0, 1)).reshape(len(own), -1)
        positions = read.repeat_interleave(found.shape[1] // read.shape[1], 1)
        return Asked(found.masked_fill(positions < 0, -1), positions)

    def answer(
        self, forward: ForwardPass, asked: Asked, lookup: TokenLookup = NO_TEXT
    ) -> TensorAttribution:
        """Score the tokens of every row for its targets."""
        method, contrasts = find_method(self.method), self.contrast is not None
        readout = find_readout(self.readout, forward.problem, contrasts, method.of_output)
        foils = self._foils(forward, asked)
        context = MethodContext(forward, asked, foils, readout, lookup)
        scores = method(context, **self.options)
        reads_head = context.reads_head
        if not (reads_head or method.of_output) and (contrasts or self.readout is not None):
            raise OptionError(
                f"method {self.method!r} scores tokens whatever the target is, so it has neither "
                "readout nor contrast. Leave them out."
            )
        batch, targets = asked.ids.shape
        shape = (batch, targets, len(forward.layers), forward.mask.shape[-1])
        absent = ~context.mask[:, :, None] | (asked.ids < 0)[:, :, None, None]
        return TensorAttribution(
            scores=self._squeezed(
                forward, asked, scores.expand(shape).masked_fill(absent, torch.nan)
            ),
            values=self._squeezed(forward, asked, context.values) if reads_head else None,
            norms=forward.norms() if forward.has_norms else None,
            targets=asked.ids,
            positions=asked.positions,
            layers=forward.layers,
            prediction=forward.prediction,
            logits=forward.hot if reads_head else None,
            read_position=forward.read_position if reads_head else None,
            reads_decoder=forward.captured.reads_decoder and context.reads_states,
            sources=forward.sources,
            readout=readout if reads_head or method.of_output else None,
            of_output=method.of_output,
            unsigned=context.unsigned,
            reads_layers=context.reads_layers,
            contrast=None if foils is None else foils[:, 0],
            notes={
                name: noted.masked_fill(asked.ids < 0, torch.nan)
                for name, noted in context.notes.items()
            },
        )

    def _foils(self, forward: ForwardPass, asked: Asked) -> Tensor | None:
        if self.contrast is None:
            return None
        if forward.problem is Problem.CHOICE:
            raise OptionError(
                "contrast compares two outputs of the same tokens, and each choice has its own. "
                "Explain both with target='all'."
            )
        if not isinstance(self.contrast, Tensor):
            target_id(self.contrast, forward.labels)
        foils = target_ids(
            self.contrast, forward.prediction, forward.labels, forward.problem, self.threshold
        )
        if (foils == asked.ids).any():
            label = forward.labels[int(asked.ids[foils == asked.ids][0])]
            predicted = self.target is None
            raise (InputError if predicted else OptionError)(
                f"{'the prediction' if predicted else 'the target'} and the contrast are both "
                f"{label!r}, which leaves nothing to explain. Name another target or contrast."
            )
        return foils

    def _squeezed(self, forward: ForwardPass, asked: Asked, values: Tensor) -> Tensor:
        """[batch, targets, layers, sequence] without the dimensions that were not asked for."""
        if self.layer != "all":
            values = values[:, :, 0]
        outputs = forward.prediction.shape[-1]
        if asked.ids.shape[1] > 1 or is_several(self.target, forward.problem, outputs):
            return values
        return values[:, 0]


def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    target: Targets = None,
    contrast: Target | Tensor | None = None,
    position: int | Tensor | None = None,
    method: str = "normxlogit",
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
            dropout does not act, whatever mode it is in.
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
        method: a name from `normxlogit.methods.METHODS`.
        layer: put the head on the hidden states of layer 1 .. L, or of "all"; None is the last.
        readout: which number of HoT(x_i) speaks for the target, see `normxlogit.model.readouts`;
            None is the logit, for a regression the closeness.
        threshold: with several labels at once, those above this probability count as predicted.
        **options: the method's own options.

    Raises:
        UnsupportedHeadError: the scores could not be vouched for.
        OptionError: an unknown label, method, readout, layer or option.
        InputError: inputs that cannot be explained.
        ModelError: not a model that can be explained, or logits that are not finite.
    """
    query = Query(target, contrast, method, layer, readout, threshold, options)
    if isinstance(position, int):
        rows = next((len(value) for value in inputs.values() if isinstance(value, Tensor)), 1)
        position = torch.full((rows,), position)
    with torch.inference_mode():
        forward = ForwardPass.run(unwrap(model), inputs, layer=layer, position=position)
        answer = query.answer(forward, query.asked(forward))
    fields = vars(answer).items()  # inference tensors could not be written to by the caller
    copies: dict[str, Any] = {k: v.clone() for k, v in fields if isinstance(v, Tensor)}
    notes = {name: values.clone() for name, values in answer.notes.items()}
    return replace(answer, **copies, notes=notes)
