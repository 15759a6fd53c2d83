"""What generating computes, kept: the final state and ||x^0|| of every position, once.

A clone of the model generates, so that the user's has neither hooks nor flags. The first forward
pass is watched as any other; of the further ones two modules are.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.generation.stopping_criteria import StoppingCriteriaList

from normxlogit.errors import ModelError, NormXLogitError, OptionError, UnsupportedHeadError
from normxlogit.model.capture import Capture, read_trace
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.forward import SINK, ForwardPass
from normxlogit.model.numerics import first_tensor, magnitude, norms_of, probability, tolerance
from normxlogit.model.targets import TargetIds
from normxlogit.model.trace import ForwardTrace
from normxlogit.model.vocabulary import Vocabulary


@dataclass(frozen=True)
class Step:
    """What one forward pass while generating gave.

    Attributes:
        ids: the tokens that it was fed, [rows, positions].
        hidden: final states of the new positions, [rows, positions, hidden].
        norms: ||x^0|| of these in float32, [rows, positions].
        total: log-sum-exp of the logits at the last position in float32, [rows].
        best: the largest of these logits, [rows].
        best_id: whose it is, [rows].
    """

    ids: Tensor
    hidden: Tensor
    norms: Tensor
    total: Tensor
    best: Tensor
    best_id: Tensor


@dataclass(frozen=True)
class Generated:
    """Sequences and the forward pass that explains them.

    Attributes:
        forward: over the prompts and all new tokens but the last.
        asked: the new tokens, as targets, and the positions they were predicted at, [rows, new];
            -1 after the end of a sequence.
        logits, probabilities: the model's own for these, before any sampling options act, float32
            [rows, new].
        sinks: which of the prompts' tokens are attention sinks, bool [rows, prompt].
    """

    forward: ForwardPass
    asked: TargetIds
    logits: Tensor
    probabilities: Tensor
    sinks: Tensor


class _Ends(StoppingCriteriaList):
    """Stops as other criteria do, and keeps at which length each row was through."""

    lengths: Tensor | None = None

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Whether each row is through."""
        done: Tensor = super().__call__(input_ids, scores, **kwargs)
        length = torch.full_like(done, input_ids.shape[1], dtype=torch.long)
        if self.lengths is None or len(self.lengths) != len(done):
            self.lengths, self._done = length, done
        else:
            self.lengths = torch.where(self._done, self.lengths, length)
            self._done = self._done | done
        return done


class Recording:
    """Generates with a clone of a model, and keeps the states."""

    def __init__(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> None:
        """Prepare to generate.

        Args:
            model: it is not changed.
            inputs: `input_ids` and `attention_mask` [batch, sequence], padded on the left unless
                it is an encoder-decoder.
        """
        self._model, self._inputs = model, dict(inputs)
        self._anatomy = Anatomy.of(model)
        self._trace = ForwardTrace(model, self._anatomy, trails=True)
        self._first: Capture | None = None
        self._replayed: Capture | None = None
        self._ends: _Ends | None = None
        self._counts_positions = False
        self._steps: list[Step] = []
        self._hidden = self._norms = torch.empty(0)
        self._peaks = torch.zeros_like(self._inputs["input_ids"], dtype=torch.float32)

    @property
    def start(self) -> int:
        """How many tokens the sequences begin with before the new ones."""
        return self._steps[0].hidden.shape[1]

    @property
    def ends(self) -> Tensor:
        """How many new tokens each sequence has, [rows]; what follows is filler. Not of beams."""
        assert self._ends is not None
        assert self._ends.lengths is not None
        return self._ends.lengths - self.start

    @property
    def device(self) -> torch.device:
        """Where the states are."""
        return self._steps[0].hidden.device

    @torch.inference_mode()
    def generate(self, **options: Any) -> Any:
        """The model's `generate`, with its options.

        Raises:
            OptionError, ModelError: it fails on these options or inputs.
        """
        root = self._trace.clone.root
        before = {k: v for k, v in vars(root).items() if k == "forward"}
        root.__dict__["forward"] = self._recorded(root.forward)
        criteria = root._get_stopping_criteria

        def watched(*args: Any, **kwargs: Any) -> _Ends:
            self._ends = _Ends(criteria(*args, **kwargs))
            return self._ends

        root.__dict__["_get_stopping_criteria"] = watched
        try:
            return root.generate(
                **self._inputs,
                **options
                | {
                    "return_dict_in_generate": True,
                    "output_scores": False,
                    "disable_compile": True,  # a compiled step would run without what records it
                },
            )
        except (NormXLogitError, torch.OutOfMemoryError):
            raise
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise OptionError(f"{type(self._model).__name__}.generate: {reason}") from error
        except Exception as error:
            raise ModelError(
                f"{type(self._model).__name__} could not generate: {type(error).__name__}: {error}"
            ) from error
        finally:
            del root.__dict__["forward"], root.__dict__["_get_stopping_criteria"]
            vars(root).update(before)
            self._trace.release()

    def explained(
        self, sequences: Tensor, beams: Tensor | None, ends: Tensor, since: int = 0
    ) -> Generated:
        """The forward pass, put together, that made sequences.

        Args:
            sequences: prompts and new tokens, int64 [rows, tokens]; of an encoder-decoder what the
                decoder starts with and new tokens.
            beams: which row of each step a sequence's token came from, int64 [rows, new]; None if
                all steps have the rows of `sequences`.
            ends: how many new tokens each sequence has, [rows].
            since: the number of the first new token to explain.

        Raises:
            UnsupportedHeadError: the states do not give the logits that the model generated with.
        """
        first, steps = self._first, self._steps
        assert first is not None
        assert first.states.stack is not None
        rows, start = len(sequences), self.start
        new = sequences.shape[1] - start
        has_beams = beams is not None
        steps, own = steps[:new], torch.arange(rows, device=sequences.device)
        beams = own[:, None].expand(-1, new) if beams is None else beams[:, :new].clamp_min(0)
        prompts = beams[:, 0] * len(first.logits) // len(steps[0].total)
        owners = [prompts, *(beams[:, n] for n in range(1, new))]
        more = len(self._steps) - new  # on MPS transformers looks one pass late whether to stop
        if more < 0 or (more > 1 and not has_beams):
            raise UnsupportedHeadError(self._mixed_up())
        hidden, norms, fed = (
            torch.cat([getattr(step, name)[o] for step, o in zip(steps, owners, strict=True)], 1)
            for name in ("hidden", "norms", "ids")
        )
        total, best, best_id = (
            torch.stack([getattr(step, name)[beams[:, n]] for n, step in enumerate(steps)], 1)
            for name in ("total", "best", "best_id")
        )
        total, best, best_id = total[:, since:], best[:, since:], best_id[:, since:]
        order = torch.arange(new, device=sequences.device)
        alive, positions = order < ends[:, None], (start - 1 + order).expand(rows, -1)
        first_read, inputs = (
            positions[:, :1],
            self._inputs_of(sequences[:, :-1], prompts, alive[:, : new - 1]),
        )
        read = inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()
        if not torch.equal(fed[read], sequences[:, :-1][read]):
            raise UnsupportedHeadError(self._mixed_up())
        elsewhere = self._elsewhere(first)
        assert elsewhere.states.stack is not None
        captured = replace(
            elsewhere,
            inputs=inputs,
            states=replace(
                elsewhere.states,
                raw=hidden,
                stack=replace(elsewhere.states.stack, shape=hidden.shape, norms=norms),
                time_first=False,
            ),
            source=None if first.source is None else first.source.rows(prompts),
            logits=first.logits[prompts],
        )
        forward = ForwardPass(self._model, captured, read=first_read)
        alive, positions = alive[:, since:], positions[:, since:]
        difference = (forward.logits_at(positions, best_id) - best).abs()[alive].amax()
        scale = magnitude(first.logits.float()).maximum(best[alive].abs().amax())
        if not difference <= tolerance(hidden.dtype, first.logits.dtype) * scale:
            raise UnsupportedHeadError(
                f"the states that {type(self._model).__name__} generated with do not give its "
                f"logits (relative difference {float(difference / scale):.1e}), so scores could "
                "not be vouched for. Generate first, and explain the answer as target of the "
                "prompt."
            )
        ids = sequences[:, start + since :]
        asked = TargetIds(ids.masked_fill(~alive, -1), positions.masked_fill(~alive, -1))
        logits = forward.logits_at(positions, ids)
        sinks = (self._peaks > SINK)[prompts]
        return Generated(forward, asked, logits, probability(logits, total), sinks)

    def first_states(self) -> list[Tensor]:
        """What the first pass computed: final states and norms; of a source too."""
        first, step = self._first, self._steps[0]
        assert first is not None
        source = [] if first.source is None else [first.source.tokens]
        return [step.hidden, step.norms, *source]

    def _mixed_up(self) -> str:
        return (
            f"{type(self._model).__name__} made other passes than one for each new token, or read "
            "other tokens than those of the text, while it generated (guidance and caches that "
            "hold other text do this), so its states cannot be told to be those of the text. "
            "Generate first, and explain the answer as target of the prompt."
        )

    def _recorded(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        names = list(inspect.signature(forward).parameters)

        @functools.wraps(forward)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            outputs = forward(*args, **kwargs)
            given = dict(zip(names, args, strict=False)) | kwargs
            new = self._begin(given, outputs) if self._first is None else self._go_on()
            fed = given.get("decoder_input_ids", given.get("input_ids"))
            if fed is None or fed.shape[1] < new[0].shape[1]:
                raise UnsupportedHeadError(
                    f"{type(self._model).__name__} was fed something else than tokens while it "
                    "generated, so its states cannot be told to be those of the text."
                )
            fed = fed[:: len(fed) // len(new[0]), -new[0].shape[1] :]
            logits = outputs.logits[:, -1].float()
            best = logits.max(-1)
            states, norms = (values.to(logits.device) for values in new)
            total = logits.logsumexp(-1)
            self._steps.append(Step(fed, states, norms, total, best.values, best.indices))
            return outputs

        return recorded

    def _begin(self, given: Mapping[str, Any], outputs: Any) -> tuple[Tensor, Tensor]:
        """The states and norms of the first pass; what there is to be watched in the others.

        Beams and samples begin with copies of the prompt, of which one is kept.
        """
        trace, model = self._trace, self._model
        count = len(outputs.logits) // len(self._inputs["input_ids"])
        if outputs.get("encoder_last_hidden_state") is not None:
            outputs = copy.copy(outputs)
            outputs["encoder_last_hidden_state"] = outputs["encoder_last_hidden_state"][::count]
        arguments = {k: v for k, v in given.items() if isinstance(v, Tensor)}
        self._counts_positions = arguments.get("position_ids") is not None
        vocabulary = Vocabulary.of(model, self._anatomy, trace.clone)
        first = read_trace(model, trace, arguments, outputs, vocabulary)
        trace.release()
        states = first.states
        if states.stack is None or states.norms is None or states.raw.dim() != 3:
            raise UnsupportedHeadError(
                f"the embeddings of {type(model).__name__} do not stand one to a position while it "
                "generates. Generate first, and explain the answer as target of the prompt."
            )

        def on_embedding(_module: nn.Module, args: Any, kwargs: Any) -> None:
            norms = norms_of(first_tensor((*args, *kwargs.values())))
            self._norms = norms.T if states.time_first else norms

        def on_state(_module: nn.Module, _args: Any, output: Any) -> None:
            self._hidden = output["last_hidden_state"]

        if first.source is None:
            mask = self._inputs["attention_mask"].repeat_interleave(count, 0).bool()
            self._peaks = states.peaks(mask)[::count]
        block = next(states.stack.blocks.children())
        block.register_forward_pre_hook(on_embedding, with_kwargs=True)
        first.trunk.register_forward_hook(on_state)
        new = states.raw[::count].clone(), states.norms[::count].clone()
        self._first = replace(
            first, logits=first.logits[::count, -1:].clone(), gathered=True, inputs={}
        )
        return new

    def _go_on(self) -> tuple[Tensor, Tensor]:
        """The states and norms of the position that a further pass added."""
        hidden, norms = self._hidden, self._norms
        known = self.start + len(self._steps) - 1
        if hidden.shape[1] == known + 1:  # no cache: everything again
            hidden, norms = hidden[:, -1:], norms[:, -1:]
        if hidden.shape[1] != 1 or norms.shape != hidden.shape[:2]:
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} computed {hidden.shape[1]} positions in one step of "
                "generating, so they do not stand one to a new token (assisted generation and "
                "prompts in chunks do this). Leave that option out."
            )
        return hidden, norms

    def _inputs_of(self, sequences: Tensor, owner: Tensor, alive: Tensor) -> dict[str, Any]:
        """What the model would take to compute the same in one pass."""
        own = {key: value[owner] for key, value in self._inputs.items()}
        if self._first is not None and self._first.source is not None:
            start = sequences.shape[1] - alive.shape[1]
            mask = torch.cat([torch.ones_like(sequences[:, :start]), alive.long()], 1)
            return own | {"decoder_input_ids": sequences, "decoder_attention_mask": mask}
        mask = torch.cat([own["attention_mask"], alive.long()], 1)
        own |= {"input_ids": sequences, "attention_mask": mask}
        if self._counts_positions:
            own["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
        return own

    def _elsewhere(self, first: Capture) -> Capture:
        """The capture on a clone of its own, to be replayed while the other one still runs."""
        if self._replayed is None:
            clone = ModelClone(self._anatomy)
            original = {twin: module for module, twin in self._trace.clone.of.items()}
            assert first.states.stack is not None
            blocks = clone.of[original[first.states.stack.blocks]]
            stack = replace(first.states.stack, blocks=blocks)
            self._replayed = replace(
                first,
                clone=clone,
                states=replace(first.states, stack=stack),
                trunk=clone.of[original[first.trunk]],
                towers=[(clone.of[original[t]], output) for t, output in first.towers],
                vocabulary=Vocabulary.of(self._model, self._anatomy, clone),
            )
        return self._replayed
