"""One forward pass: the prediction, and ||x^0|| and x^L of every token."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.numerics import agree, norms_of
from normxlogit.model.outputs import logits_of, maker_of, run_model
from normxlogit.model.readings import Reading, Readings, tokens_of
from normxlogit.model.trace import Calls, ForwardTrace, Stack, TracedOps
from normxlogit.model.trials.caching import depends_on_cache, without_cache
from normxlogit.model.vocabulary import Vocabulary
from normxlogit.model.word_embeddings import LookedUp


@dataclass(frozen=True)
class States:
    """Final hidden states of an encoder or a decoder, and where they came from.

    Attributes:
        raw: as the trunk returned them, [rows, sequence, hidden] or [rows, hidden, ...].
        stack: the blocks that made them, as they were traced; None if no stack fits.
        time_first: whether the blocks work on [sequence, rows, hidden].
        zero: the name of the field with all hidden states, in the output of `again`.
        again: runs a second forward pass that returns all hidden states, where no stack fits.
    """

    raw: Tensor
    stack: Stack | None
    time_first: bool
    zero: str
    again: Callable[[], ModelOutput]

    @property
    def tokens(self) -> Tensor:
        """x^L, [rows, sequence, hidden]; maps of [hidden, ...] are read row by row."""
        return self.raw if self.raw.dim() == 3 else self.raw.flatten(2).mT

    def peaks(self, mask: Tensor) -> Tensor:
        """How large each token's state becomes half way up, over the median of the row's tokens.

        Args:
            mask: which positions hold tokens, bool [rows, sequence].

        Returns:
            The largest of the traced layers, [rows, sequence]; 0 if no layer was traced.
        """
        trail = self.stack.trail if self.stack is not None else []
        layers = [(norms.T if self.time_first else norms).to(mask.device) for norms in trail]
        layers = [norms for norms in layers if norms.shape == mask.shape]
        if not layers:
            return torch.zeros(mask.shape, device=mask.device)
        norms = torch.stack(layers)  # [layers, rows, sequence]
        median = norms.masked_fill(~mask, torch.nan).nanmedian(-1, keepdim=True).values
        return (norms / median).amax(0).masked_fill(~mask, 0.0)

    def rows(self, index: Tensor) -> "States":
        """The states of some rows."""
        stack, norms = self.stack, self.norms
        if stack is not None and norms is not None:
            stack = replace(stack, norms=norms[index])
        return replace(self, raw=self.raw[index], stack=stack, time_first=False)

    def to(self, place: torch.device) -> "States":
        """The states on another device, as parts of a model may be on several."""
        return replace(self, raw=self.raw.to(place))

    def layer(self, number: int) -> tuple[Tensor, ...] | None:
        """What was read off the output of block `number`; 0 is x^0.

        None if it was not to be read, or does not stand one to a token.
        """
        read = None if self.stack is None else self.stack.read.get(number)
        return None if read is None else tuple(part.to(self.raw.device) for part in read)

    def stands_beside(self, others: "States") -> bool:
        """Whether a head that reads `others` can be put on these states, token by token."""
        return (
            self.raw.dim() == others.raw.dim() == 3
            and self.raw.shape[-1] == others.raw.shape[-1]
            and self.norms is not None
        )

    @cached_property
    def norms(self) -> Tensor | None:
        """||x^0||_2 in float32, [rows, sequence]; None where x^0 has other positions than x^L."""
        if self.stack is not None:
            norms = self.stack.norms.to(self.raw.device)
            return norms.T if self.time_first else norms
        if self.raw.dim() != 3:
            return None
        # For the few trunks whose blocks work on other positions than they give: padded to the
        # width of an attention window (Longformer), or with channels first (SqueezeBERT).
        states = self.again().get(self.zero)
        if not states or states[0].shape[:2] != self.raw.shape[:2]:
            return None
        return norms_of(states[0]).to(self.raw.device)


@dataclass(frozen=True)
class Capture:
    """One forward pass, as it was captured.

    Attributes:
        clone: the copy of the model that ran; the head is replayed on it.
        trunk: the clone's module that computed `states`.
        trunk_returns: makes its fields into what the trunk returned.
        towers: further sub-models that ran before it, and what they returned.
        inputs: the arguments of its forward.
        choices: how many rows make one example of multiple choice; None for other heads.
        logits: the model's own output: [rows, outputs] if the head reads a row as a whole, [rows,
            sequence, outputs] if it reads each token; at the positions asked for if `gathered`.
        is_span: whether these are the starts and ends of an answer.
        gathered: whether `logits` are those of the positions asked for alone.
        vocabulary: the output embeddings, if the head is a language model's.
        states: the states that the head reads.
        source: the encoder's states, if the model is an encoder-decoder.
        looked_up: the last use of the word embeddings, the decoder's if there is one; or None.
        depth: how many layers there are.
        layers: hidden states of the layers asked for, as the head would read them, [rows, sequence,
            hidden]; layer 1 is the first block's output, the last is x^L.
        derived: finds out how further tensors of the trunk's output came from x^L.
        layered: how many states a tuple in the trunk's output has, and whether the last is x^L.
    """

    clone: ModelClone
    trunk: nn.Module
    trunk_returns: Callable[..., Any]
    towers: list[tuple[nn.Module, ModelOutput]]
    inputs: dict[str, Any]
    choices: int | None
    logits: Tensor
    is_span: bool
    gathered: bool
    vocabulary: Vocabulary | None
    states: States
    source: States | None
    looked_up: LookedUp | None
    depth: int
    layers: dict[int, Tensor]
    derived: Callable[[], dict[str, TracedOps]]
    layered: dict[str, tuple[int, bool]]

    def on(self, clone: ModelClone) -> "Capture":
        """The same pass, whose head is replayed on another clone of the model."""
        twins = {twin: clone.of[module] for module, twin in self.clone.of.items()}
        derived = {key: ops.on(twins) for key, ops in self.derived().items()}
        return replace(
            self,
            clone=clone,
            trunk=twins[self.trunk],
            towers=[(twins[tower], output) for tower, output in self.towers],
            derived=lambda: derived,
        )

    @property
    def reads_decoder(self) -> bool:
        """Whether the positions are a decoder's."""
        return self.source is not None


def capture(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    layers: Container[int] = (),
    readings: Mapping[int, Reading] | None = None,
    *,
    read: Tensor | None = None,
) -> Capture:
    """Run `model` once on `inputs` and keep what an explanation needs.

    Args:
        model: any transformers model with a head; it is not changed.
        inputs: what the model's forward takes, on the model's device.
        layers: the layers whose hidden states to keep, as the head would read them.
        readings: what to keep of layers' outputs as they are, see `States.layer`; 0 is x^0.
        read: positions of a language model whose logits are needed, int64 [rows, positions].

    Raises:
        ModelError: the model's own forward fails on these inputs.
        UnsupportedHeadError: the model does not show where its head's input, or that of a layer,
            comes from.
    """
    anatomy = Anatomy.of(model)
    tokens = tokens_of(inputs) if readings else None
    read_early = Readings(readings or {}, None if tokens is None else tokens[1].bool())
    trace = ForwardTrace(model, anatomy, layers, read_early, trails=read is not None)
    arguments = _arguments(model, inputs, trace.clone)
    vocabulary = Vocabulary.of(model, anatomy, trace.clone)
    try:
        if vocabulary is None or read is None:
            outputs = trace.run(arguments)
        else:
            with vocabulary.reading(read):
                outputs = trace.run(arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} could not run on these inputs: {type(error).__name__}: {error}"
        ) from error
    return read_trace(model, trace, arguments, outputs, vocabulary, layers)


def read_trace(
    model: PreTrainedModel,
    trace: ForwardTrace,
    arguments: dict[str, Any],
    outputs: ModelOutput,
    vocabulary: Vocabulary | None,
    layers: Container[int] = (),
) -> Capture:
    """Read a traced forward pass: its arguments, its outputs, and where the states came from.

    Raises as `capture`.
    """
    ids = arguments.get("input_ids")
    choices = ids.shape[1] if isinstance(ids, Tensor) and ids.dim() == 3 else None
    logits = logits_of(outputs, choices)
    if logits is None or logits.dim() not in (2, 3):
        returned = "no logits" if logits is None else f"logits of shape {list(logits.shape)}"
        raise UnsupportedHeadError(
            f"{type(model).__name__} returned {returned}; a head that can be explained returns "
            "[batch, classes] or [batch, sequence, classes]. Load the model with the auto class of "
            "its task, such as AutoModelForSequenceClassification."
        )
    if not logits.is_floating_point():
        raise UnsupportedHeadError(
            f"{type(model).__name__} returned logits of {logits.dtype}, which are decisions rather "
            "than scores. Return the scores that they are made from."
        )
    trunk, output = trace.trunk()
    root, hidden = trace.clone.root, output["last_hidden_state"]
    name = "encoder_last_hidden_state"
    encoded = outputs.get(name, output.get(name))
    again = _second_pass(model, arguments)
    if encoded is None:
        states = _states(model, arguments, trace, trunk, hidden, "hidden_states", again)
        source = None
    else:
        part = trunk.get_decoder() if name in output else trunk  # type: ignore[operator]
        states = _states(model, arguments, trace, part, hidden, "decoder_hidden_states", again)
        part = _encoder(root)
        source = _states(model, arguments, trace, part, encoded, "encoder_hidden_states", again)
    return Capture(
        clone=trace.clone,
        trunk=trunk,
        trunk_returns=maker_of(output),
        towers=trace.towers(),
        inputs=arguments,
        choices=choices,
        logits=logits,
        is_span="start_logits" in outputs,
        gathered=vocabulary is not None and vocabulary.called,
        vocabulary=vocabulary,
        states=states.to(logits.device),
        source=None if source is None else source.to(logits.device),
        looked_up=trace.looked_up,
        depth=0 if states.stack is None else states.stack.depth,
        layers={i: s.to(logits.device) for i, s in _finished(trace, states).items()}
        if layers
        else {},
        derived=_derived(trace.calls, output, hidden),
        layered={
            key: (len(value), value[-1] is hidden or torch.equal(value[-1], hidden))
            for key, value in output.items()
            if isinstance(value, tuple) and value and all(isinstance(v, Tensor) for v in value)
        },
    )


def _encoder(root: Any) -> nn.Module:
    """The encoder of an encoder-decoder; the whole model where transformers cannot tell."""
    try:
        part: nn.Module = root.get_encoder()
    except TypeError:
        return root  # type: ignore[no-any-return]
    return part


def _arguments(
    model: PreTrainedModel, inputs: Mapping[str, Any], clone: ModelClone
) -> dict[str, Any]:
    """The arguments of the forward pass: the inputs without labels, and without a cache.

    A forward would set the configuration's problem type by labels. Nobody reads the cache, so that
    it is left to the model only where it changes the logits.
    """
    left_out = (
        "labels",
        "start_positions",
        "end_positions",
        "logits_to_keep",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
    )
    arguments = {key: value for key, value in inputs.items() if key not in left_out}
    if "use_cache" not in arguments and not depends_on_cache(model):
        arguments |= without_cache(model)
    # Last-token heads refuse a batch when no pad token is defined, for they could not find the last
    # token. In rows without padding it is the last position, so an id that no token has will do.
    mask = inputs.get("attention_mask")
    no_pad_token = getattr(model.config.get_text_config(), "pad_token_id", None) is None
    if no_pad_token and (mask is None or bool(mask.all())):
        clone.set_pad_token_id(-1)
    return arguments


def _states(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    trace: ForwardTrace,
    part: nn.Module,
    hidden: Tensor,
    zero: str,
    again: Callable[[], ModelOutput],
) -> States:
    if hidden.dim() not in (3, 4):
        raise UnsupportedHeadError(
            f"the trunk of {type(model).__name__} returned hidden states of shape "
            f"{list(hidden.shape)}; only [batch, sequence, hidden] and [batch, hidden, height, "
            "width] are supported."
        )
    stack = trace.main_stack(part, hidden)
    time_first = stack is not None and _is_time_first(stack, trace, hidden, model, inputs)
    if stack is not None:
        for number in list(stack.unread):
            states = stack.unread.pop(number)
            late = trace.readings.late(number, states, time_first=time_first)
            if late is not None:
                stack.read[number] = late
    return States(hidden, stack, time_first, zero, again)


def _derived(
    calls: Calls, output: ModelOutput, hidden: Tensor
) -> Callable[[], dict[str, TracedOps]]:
    """How further tensors of the trunk's output came from x^L, where they can be recomputed.

    It is found out when a head is replayed: methods that replay none need not pay for it.
    """
    # A cache among the other fields must not live on.
    tensors = {k: v for k, v in output.items() if isinstance(v, Tensor) and v is not hidden}

    @cache
    def derive() -> dict[str, TracedOps]:
        recomputed = {}
        for key, value in tensors.items():
            ways = (way for way in calls.candidate_ops(value, hidden) if _gives(way, hidden, value))
            if (derived := next(ways, None)) is not None:
                recomputed[key] = derived
        return recomputed

    return derive


def _gives(derived: TracedOps, hidden: Tensor, value: Tensor) -> bool:
    try:
        recomputed = derived(hidden)
    except Exception:
        return False
    if recomputed.shape != value.shape:
        return False
    # The channels of images, [batch, channels, height, width], come second.
    channels = 1 if value.dim() == 4 else -1
    return agree(recomputed.movedim(channels, -1), value.movedim(channels, -1))


def _second_pass(model: PreTrainedModel, arguments: Mapping[str, Any]) -> Callable[[], ModelOutput]:
    @cache
    def run() -> ModelOutput:
        root = ModelClone(Anatomy.of(model)).root
        return run_model(root, arguments, output_hidden_states=True)

    return run


def _is_time_first(
    stack: Stack,
    trace: ForwardTrace,
    hidden: Tensor,
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
) -> bool:
    """Whether blocks work on [sequence, batch, hidden], the trunk giving [batch, sequence, hidden].

    The shape tells, unless the batch is as large as it is long. Then a second forward pass of one
    row alone does, once for each list of blocks.
    """
    batch, sequence = hidden.shape[:2]
    if batch != sequence or batch == 1:
        return stack.shape[0] != batch
    blocks = next(module for module, twin in trace.clone.of.items() if twin is stack.blocks)
    if blocks not in _TIME_FIRST:
        alone = ForwardTrace(model, Anatomy.of(model))
        alone.run(_arguments(model, _one_row(inputs), alone.clone))
        trunk, output = alone.trunk()
        stack_alone = alone.main_stack(trunk, output["last_hidden_state"])
        _TIME_FIRST[blocks] = stack_alone is not None and stack_alone.shape[0] != 1
    return _TIME_FIRST[blocks]


_TIME_FIRST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _one_row(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of the first row; in multiple choice of the first choice."""
    tensors = {key: value for key, value in inputs.items() if isinstance(value, Tensor)}
    batch = next(len(value) for value in tensors.values() if value.dim())
    ids = tensors.get("input_ids")
    choices = ids.shape[1] if ids is not None and ids.dim() == 3 else None
    row = dict(inputs)
    for key, value in tensors.items():
        if value.shape[:1] == (batch,):
            has_choices = choices is not None and value.shape[1:2] == (choices,)
            row[key] = value[:1, :1] if has_choices else value[:1]
    return row


def _finished(trace: ForwardTrace, states: States) -> dict[int, Tensor]:
    """Hidden states of layers, finished by what the trunk does last (a final norm)."""
    stack, hidden = states.stack, states.raw
    if stack is None:
        return {}
    expected = hidden.transpose(0, 1) if states.time_first else hidden
    finish = None
    if (last := stack.last) is not None:
        ways = (
            way for way in trace.calls.candidate_ops(hidden, last) if _gives(way, last, expected)
        )
        finish = next(ways, TracedOps() if _gives(TracedOps(), last, expected) else None)
    if finish is None:
        raise UnsupportedHeadError(
            f"how {type(trace.clone.root).__name__} makes its final hidden state from its last "
            "block's output could not be seen, so what its head would read at another layer is not "
            "known. Leave `layer` out to explain the final layer."
        )
    finished = {i: finish(state) for i, state in stack.kept.items()}
    return {i: s.transpose(0, 1) if states.time_first else s for i, s in finished.items()}
