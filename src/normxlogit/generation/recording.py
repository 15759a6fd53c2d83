"""Records what generating computes: the final state and ||x^0|| of every position, once each.

A clone of the model generates, so that the user's has neither hooks nor flags. The first forward
pass, over the prompt, is traced as any other; in the further ones, of one position each, hooks on
two modules keep its state and norm. Side by side the states are those of one pass over prompt and
answer.
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

from normxlogit.errors import ModelError, NormXLogitError, OptionError, UnsupportedHeadError
from normxlogit.generation.steps import SequenceEnds, Step
from normxlogit.model.capture import Capture, read_trace
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.forward import SINK, ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.numerics import allowance, first_tensor, norms_of, probability
from normxlogit.model.targets import TargetIds
from normxlogit.model.trace import ForwardTrace
from normxlogit.model.trials.caching import without_cache
from normxlogit.model.vocabulary import Vocabulary


@dataclass(frozen=True)
class Generated:
    """Sequences and the forward pass that explains them.

    Attributes:
        forward: over the prompts and all new tokens but the last.
        targets: the new tokens, and the positions they were predicted at, [rows, new]; -1
            after the end of a sequence.
        logits, probabilities: the model's for these tokens, before temperature and other sampling
            options, float32 [rows, new].
        sinks: which of the prompts' tokens are attention sinks, bool [rows, prompt].
    """

    forward: ForwardPass
    targets: TargetIds
    logits: Tensor
    probabilities: Tensor
    sinks: Tensor


_LIKELIEST = 64
"""How many tokens show how far apart logits lie."""


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
        self._ends: SequenceEnds | None = None
        self._counts_positions = False
        self._steps: list[Step] = []
        # What the two hooks saw in the latest pass.
        self._hidden = self._norms = torch.empty(0)
        self._peaks = torch.zeros_like(self._inputs["input_ids"], dtype=torch.float32)

    @property
    def start(self) -> int:
        """The number of tokens before the new ones."""
        return self._steps[0].hidden.shape[1]

    @property
    def ends(self) -> Tensor:
        """The number of new tokens of each sequence, [rows]; padding follows. Not for beams."""
        assert self._ends is not None
        assert self._ends.lengths is not None
        return self._ends.lengths - self.start

    def is_cut(self, ids: Tensor) -> bool:
        """Return whether a limit of tokens ended a sequence; see `SequenceEnds.is_cut`."""
        assert self._ends is not None
        return self._ends.is_cut(ids)

    @property
    def device(self) -> torch.device:
        """The device of the states."""
        return self._steps[0].hidden.device

    @inference()
    def generate(self, **options: Any) -> Any:
        """Call the model's `generate` with its options, and record its forward passes.

        Raises:
            OptionError, ModelError: it fails on these options or inputs.
        """
        root = self._trace.clone.root
        before = {k: v for k, v in vars(root).items() if k == "forward"}
        root.__dict__["forward"] = self._recorded(root.forward)
        criteria = root._get_stopping_criteria  # `generate` makes them, so it is asked there

        def watched(*args: Any, **kwargs: Any) -> SequenceEnds:
            self._ends = SequenceEnds(criteria(*args, **kwargs))
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
        """Assemble the forward pass over whole sequences from the steps that made them.

        Args:
            sequences: prompts and new tokens, int64 [rows, tokens]; for an encoder-decoder, the
                decoder's start tokens and new tokens.
            beams: which row of each step a sequence's token came from, int64 [rows, new]; None if
                all steps have the rows of `sequences`.
            ends: the number of new tokens of each sequence, [rows].
            since: the number of the first new token to explain.

        Raises:
            UnsupportedHeadError: the states do not give the logits that the model generated with.
        """
        rows, start = len(sequences), self.start
        new = sequences.shape[1] - start
        has_beams = beams is not None
        more = len(self._steps) - new  # on MPS transformers looks one pass late whether to stop
        # A beam search runs on after the best sequence has ended; nothing else makes more passes.
        if more < 0 or (more > 1 and not has_beams):
            raise UnsupportedHeadError(self._unlike_the_text())
        steps = self._steps[:new]
        # A beam's rows change places from step to step, so each token's row is looked up: beams is
        # [rows, new], and -1 after the end, where any row will do.
        every = torch.arange(rows, device=sequences.device)
        beams = every[:, None].expand(-1, new) if beams is None else beams[:, :new].clamp_min(0)
        # The first step's rows are prompts, each for several beams or samples side by side.
        prompts = beams[:, 0] * len(steps[0].hidden) // len(steps[0].total)
        owners = [prompts, *(beams[:, n] for n in range(1, new))]
        hidden, norms, fed = (  # [rows, start + new - 1, ...]: the last token is never fed
            torch.cat([getattr(step, name)[o] for step, o in zip(steps, owners, strict=True)], 1)
            for name in ("hidden", "norms", "ids")
        )
        total, best, best_id = (  # [rows, new - since]
            torch.stack(
                [getattr(step, name)[beams[:, n]] for n, step in enumerate(steps)][since:], 1
            )
            for name in ("total", "best", "best_id")
        )
        order = torch.arange(new, device=sequences.device)
        # A token is predicted at the position before it.
        alive, positions = order < ends[:, None], (start - 1 + order).expand(rows, -1)
        first_read = positions[:, :1]
        inputs = self._inputs_of(sequences[:, :-1], prompts, alive[:, : new - 1])
        # What the steps were fed must be the text. It is not if an option put something else into
        # a pass (guidance), or if the beams are not where they are said to have been.
        read = inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()
        if not torch.equal(fed[read], sequences[:, :-1][read]):
            raise UnsupportedHeadError(self._unlike_the_text())
        captured = self._assembled(hidden, norms, inputs, prompts)
        forward = ForwardPass(self._model, captured, read=first_read)
        alive, positions = alive[:, since:], positions[:, since:]
        replayed = forward.logits_at(positions, best_id)
        self._check_logits(replayed[alive], best[alive], prompts[alive.nonzero()[:, 0]])
        ids = sequences[:, start + since :]
        logits = forward.logits_at(positions, ids)
        return Generated(
            forward,
            TargetIds(ids.masked_fill(~alive, -1), positions.masked_fill(~alive, -1)),
            logits,
            probability(logits, total),
            sinks=(self._peaks > SINK)[prompts],
        )

    def _assembled(
        self, hidden: Tensor, norms: Tensor, inputs: dict[str, Any], prompts: Tensor
    ) -> Capture:
        """Return the first pass's capture with the states of all steps in place of its own.

        Args:
            hidden: final states [rows, sequence, hidden].
            norms: ||x^0||, [rows, sequence].
            inputs: with which the model would compute these in one pass.
            prompts: the prompt of each row, int64 [rows].
        """
        first = self._on_second_clone()
        assert first.states.stack is not None
        stack = replace(first.states.stack, shape=hidden.shape, norms=norms)
        return replace(
            first,
            inputs=inputs,
            states=replace(first.states, raw=hidden, stack=stack, time_first=False),
            source=None if first.source is None else first.source.rows(prompts),
            logits=first.logits[prompts],
        )

    def _check_logits(self, replayed: Tensor, best: Tensor, prompts: Tensor) -> None:
        """Raise unless the head, replayed on the assembled states, gives each step's best logit.

        Both are [tokens], as are the prompts that the tokens were generated for.
        """
        first, hidden = self._first, self._steps[0].hidden
        assert first is not None
        width, dtypes = self._width_of_logits[prompts], (hidden.dtype, first.logits.dtype)
        excess = ((replayed - best).abs() / allowance(width, best.abs(), *dtypes)).amax()
        if not excess <= 1:
            raise UnsupportedHeadError(
                f"the states that {type(self._model).__name__} generated with do not give its "
                f"logits (off by {float(excess):.1e} times what rounding may make), so scores "
                "could not be vouched for. Generate first, and explain the answer as target of the "
                "prompt."
            )

    @functools.cached_property
    def _width_of_logits(self) -> Tensor:
        """How far apart the likeliest tokens' logits lie in the first pass, float32 [prompts].

        Only theirs, as models set the logits of tokens that are not to be generated to -1e9.
        """
        assert self._first is not None
        logits = self._first.logits[:, 0].float()
        likeliest = logits.topk(min(_LIKELIEST, logits.shape[-1])).values
        return likeliest[:, 0] - likeliest[:, -1]

    def first_states(self) -> list[Tensor]:
        """Return final states and norms of the first pass, and an encoder's states if any."""
        first, step = self._first, self._steps[0]
        assert first is not None
        source = [] if first.source is None else [first.source.tokens]
        return [step.hidden, step.norms, *source]

    def _unlike_the_text(self) -> str:
        return (
            f"while generating, {type(self._model).__name__} made other passes than one for each "
            "new token, or read other tokens than those of the text (guidance and caches that hold "
            "other text do this), so its states may not be those of the text. Generate first, and "
            "explain the answer as target of the prompt."
        )

    def _recorded(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a model's forward to keep a `Step` of each call."""
        names = list(inspect.signature(forward).parameters)

        @functools.wraps(forward)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            outputs = forward(*args, **kwargs)
            arguments = dict(zip(names, args, strict=False)) | kwargs
            is_first = self._first is None
            hidden, norms = self._begin(arguments, outputs) if is_first else self._newest()
            fed = arguments.get("decoder_input_ids", arguments.get("input_ids"))
            if fed is None or fed.shape[1] < hidden.shape[1]:
                raise UnsupportedHeadError(
                    f"{type(self._model).__name__} was fed something other than tokens while it "
                    "generated, so its states may not be those of the text."
                )
            # Of copies of a prompt one, and without a cache, where all tokens are fed each time,
            # the new ones.
            fed = fed[:: len(fed) // len(hidden), -hidden.shape[1] :]
            logits = outputs.logits[:, -1].float()  # [rows, vocabulary]
            best = logits.max(-1)
            hidden, norms = hidden.to(logits.device), norms.to(logits.device)
            total = logits.logsumexp(-1)
            self._steps.append(Step(fed, hidden, norms, total, best.values, best.indices))
            return outputs

        return recorded

    def _begin(self, arguments: Mapping[str, Any], outputs: Any) -> tuple[Tensor, Tensor]:
        """Capture the first pass, and hook the two modules that are read in the others.

        Beams and samples begin with copies of the prompt side by side, of which one is kept.

        Returns:
            The states [prompts, positions, hidden] and the norms [prompts, positions].
        """
        trace, model = self._trace, self._model
        count = len(outputs.logits) // len(self._inputs["input_ids"])
        if outputs.get("encoder_last_hidden_state") is not None:
            outputs = copy.copy(outputs)
            outputs["encoder_last_hidden_state"] = outputs["encoder_last_hidden_state"][::count]
        tensors = {k: v for k, v in arguments.items() if isinstance(v, Tensor)}
        self._counts_positions = tensors.get("position_ids") is not None
        vocabulary = Vocabulary.of(model, self._anatomy, trace.clone)
        first = read_trace(model, trace, tensors, outputs, vocabulary)
        trace.release()
        states = first.states
        if states.stack is None or states.norms is None or states.raw.dim() != 3:
            raise UnsupportedHeadError(
                f"{type(model).__name__} does not have one embedding per position while it "
                "generates. Generate first, and explain the answer as target of the prompt."
            )

        def on_embedding(_module: nn.Module, args: Any, kwargs: Any) -> None:
            norms = norms_of(first_tensor((*args, *kwargs.values())))
            self._norms = norms.T if states.time_first else norms

        def on_state(_module: nn.Module, _args: Any, output: Any) -> None:
            self._hidden = output["last_hidden_state"]

        # Sinks show in the norms between layers, which are traced in the first pass only.
        if first.source is None:
            mask = self._inputs["attention_mask"].repeat_interleave(count, 0).bool()
            self._peaks = states.peaks(mask)[::count]
        block = next(states.stack.blocks.children())
        block.register_forward_pre_hook(on_embedding, with_kwargs=True)
        first.trunk.register_forward_hook(on_state)
        # Clones, as a slice would keep all copies in memory; and of the logits, large as they are,
        # the last position's, since no target is read before it.
        hidden, norms = states.raw[::count].clone(), states.norms[::count].clone()
        self._first = replace(
            first, logits=first.logits[::count, -1:].clone(), gathered=True, inputs={}
        )
        return hidden, norms

    def _newest(self) -> tuple[Tensor, Tensor]:
        """Return states and norms, [rows, 1, ...], of the position that the latest pass added."""
        hidden, norms = self._hidden, self._norms
        recorded = self.start + len(self._steps) - 1
        if hidden.shape[1] == recorded + 1:  # no cache: everything again
            hidden, norms = hidden[:, -1:], norms[:, -1:]
        if hidden.shape[1] != 1 or norms.shape != hidden.shape[:2]:
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} computed {hidden.shape[1]} positions in one step of "
                "generating, instead of one per new token (assisted generation and prompts in "
                "chunks do this). Leave that option out."
            )
        return hidden, norms

    def _inputs_of(self, sequences: Tensor, owner: Tensor, alive: Tensor) -> dict[str, Any]:
        """Return the inputs with which the model would compute the same in one pass.

        Args:
            sequences: tokens that were fed, int64 [rows, tokens].
            owner: the prompt of each row, int64 [rows].
            alive: which of the new tokens come before a sequence's end, bool [rows, new - 1].
        """
        inputs: dict[str, Any] = {key: value[owner] for key, value in self._inputs.items()}
        inputs |= without_cache(self._model)
        if self._first is not None and self._first.source is not None:
            start = sequences.shape[1] - alive.shape[1]
            mask = torch.cat([torch.ones_like(sequences[:, :start]), alive.long()], 1)
            return inputs | {"decoder_input_ids": sequences, "decoder_attention_mask": mask}
        mask = torch.cat([inputs["attention_mask"], alive.long()], 1)
        inputs |= {"input_ids": sequences, "attention_mask": mask}
        if self._counts_positions:
            # As `generate` counts them: padding on the left is not counted.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
        return inputs

    def _on_second_clone(self) -> Capture:
        """Return the first pass's capture on another clone of the model.

        A stream explains tokens while the first clone is still generating: a replay on that one
        would go through the recording forward and its hooks, and be taken for a step.
        """
        if self._replayed is None:
            first = self._first
            assert first is not None
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
