"""The log-probabilities of an answer with parts of its prompt removed.

Prompts that lack a part have the tokens before it in common with the whole prompt. Keys and values
of these are computed once, and only what comes after the part runs again, where the model gives the
same that way (`trials.cutting`); else every prompt is a fresh pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from normxlogit.errors import ModelError, NormXLogitError, UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree
from normxlogit.model.outputs import logits_of, run_model
from normxlogit.model.reruns import AT_ONCE, LOGITS_AT_ONCE
from normxlogit.model.trials.caching import without_cache
from normxlogit.model.trials.causality import hides_what_follows
from normxlogit.model.trials.cutting import Lengths, cache_can_be_cut, note_trial
from normxlogit.model.vocabulary import Vocabulary

TokenSpan = tuple[int, int]
"""The first token of a part of a prompt, and its last + 1."""

_MOST_WASTE = 1 / 8
"""The share of tokens that a batch may compute for nothing: padding, and what a row has in common
with the whole prompt beyond what all rows of the batch have."""

_FEW = 3

_SAME = 1e-4
"""The most by which a log-probability may differ from that of a fresh pass, in float32."""

KeysAndValues = list[tuple[Tensor, Tensor]]
"""Those of each layer, [1, heads, tokens, width]."""


@dataclass(frozen=True)
class _Variant:
    """A prompt without some of its parts.

    Attributes:
        removed: the parts, merged, in order.
        ids: its tokens.
        shared: how many of them it has in common with the whole prompt, from the first on; one at
            least is left over, as the answer's first token is predicted where it is read.
    """

    removed: tuple[TokenSpan, ...]
    ids: list[int]
    shared: int

    def rest(self, start: int) -> list[int]:
        """The tokens from a position on."""
        return self.ids[start:]


class Ablation:
    """Runs a model on an answer whose prompt lacks some of its parts.

    Attributes:
        cached: whether a prefix that prompts share is computed once and kept; None before it
            mattered.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt: Sequence[int],
        answer: Sequence[int],
        *,
        start: int,
        most_rows: int,
    ) -> None:
        """Prepare to run a model.

        Args:
            model: a causal language model; it is not changed.
            prompt: the ids of the prompt's tokens.
            answer: the ids of the answer's tokens.
            start: the token that stands for a prompt of which nothing is left.
            most_rows: how many prompts run together at most.

        Raises:
            UnsupportedHeadError: the model has an encoder, or reads what follows a token.
        """
        name = type(model).__name__
        if model.config.is_encoder_decoder or not hides_what_follows(model):
            raise UnsupportedHeadError(
                f"{name} reads its prompt in both directions, and sources are taken from the prompt"
                " of a model that reads from left to right. Load such a one."
            )
        self._model, self._prompt, self._answer = model, list(prompt), list(answer)
        self._start, self._most_rows = start, most_rows
        self._make_clone()
        self._kept: KeysAndValues | None = None
        self._known: dict[tuple[TokenSpan, ...], Tensor] = {}
        self.cached: bool | None = None

    def _make_clone(self) -> None:
        anatomy = Anatomy.of(self._model)
        self._clone = ModelClone(anatomy)
        self._vocabulary = Vocabulary.of(self._model, anatomy, self._clone)

    @property
    def device(self) -> torch.device:
        """The device that inputs are put on."""
        device = self._model.device
        return device if device.type != "meta" else torch.device("cpu")  # of offloaded weights

    @inference()
    def logprobs(self, removed: Sequence[Sequence[TokenSpan]]) -> Tensor:
        """Return the answer's log-probabilities given the prompt without some of its parts.

        Args:
            removed: for each row the parts that are removed; none for the whole prompt.

        Returns:
            In nats, of each token of the answer given the answer before it, float32 [rows, answer].

        Raises:
            ModelError: the model cannot run, or gives numbers that are not finite.
        """
        variants = [self._variant(parts) for parts in removed]
        missing = {v.removed: v for v in variants if v.removed not in self._known}
        if () not in self._known:
            self._run_whole()
            missing.pop((), None)
        if missing:
            self._settle_cache(list(missing.values()))
            for batch in self._batches(list(missing.values())):
                self._run_batch(batch)
        return torch.stack([self._known[variant.removed] for variant in variants])

    def _variant(self, parts: Sequence[TokenSpan]) -> _Variant:
        merged = list[TokenSpan]()
        for start, end in sorted(parts):
            if start >= end:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((start, end))
        edges = [0, *(edge for span in merged for edge in span), len(self._prompt)]
        ids = [i for first, last in list(pairwise(edges))[::2] for i in self._prompt[first:last]]
        first_removed = merged[0][0] if merged else len(self._prompt)
        shared = min(first_removed, len(ids) - 1) if ids else 0
        return _Variant(tuple(merged), ids or [self._start], shared)

    def _run_whole(self) -> None:
        """Run the whole prompt, and keep the keys and values of its tokens if they can be had."""
        whole = self._variant(())
        if cache_can_be_cut(self._model, self._lengths(len(self._prompt))) is not False:
            try:
                cache = DynamicCache()
                logits = self._logits([whole], 0, cache)
                self._kept = _keys_and_values(cache, len(self._prompt) + len(self._answer) - 1)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # of any kind: not every model has such a cache
                self._kept = None
        if self._kept is None:
            logits = self._logits([whole], 0)
        self._know(whole, logits[0])

    def _lengths(self, prompt: int) -> Lengths:
        """The length of a text whose prompt has so many tokens, and that of the whole text."""
        return prompt + len(self._answer), len(self._prompt) + len(self._answer)

    def _settle_cache(self, variants: Sequence[_Variant]) -> None:
        """Find out whether the cache can be cut, by the variant that would take most of it.

        It takes a fresh pass more, and so is not worth while for a variant or two.
        """
        cut = [variant for variant in variants if variant.shared]
        if self._kept is None or not cut:
            self.cached = self._kept is not None and self.cached
            return
        shortest = min(len(variant.ids) for variant in cut)
        lengths = self._lengths(shortest)
        holds = cache_can_be_cut(self._model, lengths)
        if holds is None:
            if len(variants) < _FEW:
                for variant in variants:
                    self._know(variant, self._logits([variant], 0)[0])
                return
            # Positions whose scale follows the length of the text show in a short one: as short as
            # any variant, and all of it but a token from the cache.
            short = self._variant([(shortest - 1, len(self._prompt) - 1)])
            most = max(cut, key=lambda variant: variant.shared)
            holds = self._is_same_cut(short) and self._is_same_cut(most)
            note_trial(self._model, lengths, holds)
        self.cached = holds
        if not holds:
            self._kept = None
            whole = self._variant(())
            self._know(whole, self._logits([whole], 0)[0])

    def _is_same_cut(self, variant: _Variant) -> bool:
        """Return whether a variant gives the same from the cut cache as in a fresh pass."""
        fresh = self._logits([variant], 0)[0]
        self._know(variant, fresh)
        try:
            cut = self._logits([variant], variant.shared)[0]
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of any kind: not every cache can be put together from parts
            return False
        if fresh.dtype in (torch.bfloat16, torch.float16):
            return agree(cut, fresh)
        difference = self._answer_logprobs(cut) - self._answer_logprobs(fresh)
        return bool(difference.abs().max() <= _SAME)

    def _batches(self, variants: Sequence[_Variant]) -> Iterator[list[_Variant]]:
        """Put variants together that share about as much, and whose rests are about as long."""
        rows = self._most_rows
        if self._vocabulary is not None:
            logits = len(self._answer) * max(1, self._vocabulary.size)
            rows = min(rows, max(1, LOGITS_AT_ONCE // logits))
        ordered = sorted(variants, key=lambda v: (self._shared(v), len(v.ids)), reverse=True)
        batch = list[_Variant]()
        for variant in ordered:
            if variant.removed in self._known:
                continue
            if batch and not self._fits([*batch, variant], rows):
                yield batch
                batch = []
            batch.append(variant)
        if batch:
            yield batch

    def _shared(self, variant: _Variant) -> int:
        return variant.shared if self._kept is not None else 0

    def _fits(self, batch: Sequence[_Variant], rows: int) -> bool:
        start = min(map(self._shared, batch))
        needed = sum(len(v.ids) - self._shared(v) + len(self._answer) for v in batch)
        run = len(batch) * (max(len(v.ids) for v in batch) - start + len(self._answer))
        # Where a cache cannot be cut, padding may change a text as well, for the same reasons.
        lengths = {len(v.ids) for v in batch}
        is_alike = len(lengths) == 1 or (
            self._kept is not None
            and bool(cache_can_be_cut(self._model, self._lengths(min(lengths))))
        )
        is_small = len(batch) <= rows and run <= AT_ONCE
        return is_alike and is_small and run - needed <= _MOST_WASTE * needed

    def _run_batch(self, batch: Sequence[_Variant]) -> None:
        try:
            logits = self._logits(batch, min(map(self._shared, batch)))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2
            self._run_batch(batch[:half])
            self._run_batch(batch[half:])
            return
        for variant, of_row in zip(batch, logits, strict=True):
            self._know(variant, of_row)

    def _know(self, variant: _Variant, logits: Tensor) -> None:
        """Keep the answer's log-probabilities; `logits` are [answer, vocabulary]."""
        logprobs = self._answer_logprobs(logits)
        if not logprobs.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave the answer probabilities that are not finite "
                "numbers. Load the model in float32, or give an answer that it can say."
            )
        self._known[variant.removed] = logprobs.cpu()

    def _answer_logprobs(self, logits: Tensor) -> Tensor:
        """[answer, vocabulary] -> [answer], in float32."""
        ids = torch.tensor(self._answer, device=logits.device)
        values = logits.float()
        return values.gather(-1, ids[:, None])[:, 0] - values.logsumexp(-1)

    def _logits(
        self, variants: Sequence[_Variant], start: int, cache: DynamicCache | None = None
    ) -> Tensor:
        """Run variants of the prompt with the answer, from a position on that they share.

        Args:
            variants: the rows.
            start: where to begin; what is before is taken from what was kept.
            cache: an empty one to fill, if `start` is 0.

        Returns:
            The logits by which the answer's tokens are predicted, [rows, answer, vocabulary].
        """
        count, answer = len(variants), len(self._answer)
        rests = [[*variant.rest(start), *self._answer[:-1]] for variant in variants]
        width = max(map(len, rests))
        # Padded on the right, where what a causal model reads before is not touched by it.
        ids = torch.tensor([rest + [self._start] * (width - len(rest)) for rest in rests])
        ids = ids.to(self.device)
        if start:
            assert self._kept is not None
            cache = DynamicCache(
                [
                    tuple(part[:, :, :start].expand(count, -1, -1, -1) for part in layer)
                    for layer in self._kept
                ]
            )
        if cache is None:
            # Some models keep something of the longest text so far, such as the scale of dynamic
            # positions: a fresh pass is one of a clone that has read nothing.
            self._make_clone()
            flags = without_cache(self._model)
        else:
            flags = {"past_key_values": cache, "use_cache": True}
        inputs = {"input_ids": ids, "attention_mask": ids.new_ones(count, start + width)}
        lasts = torch.tensor([len(rest) - answer for rest in rests])
        positions = lasts[:, None] + torch.arange(answer)  # [rows, answer]
        try:
            with ExitStack() as stack:
                if self._vocabulary is not None:
                    stack.enter_context(self._vocabulary.reading(positions))
                logits = logits_of(run_model(self._clone.root, inputs, **flags), None)
        except (torch.OutOfMemoryError, NormXLogitError):
            raise
        except Exception as error:
            raise ModelError(
                f"{type(self._model).__name__} could not run on a prompt without some of its "
                f"parts: {type(error).__name__}: {error}"
            ) from error
        assert logits is not None
        if self._vocabulary is not None and self._vocabulary.called:
            return logits
        return logits[torch.arange(count)[:, None], positions.to(logits.device)]


def _keys_and_values(cache: DynamicCache, length: int) -> KeysAndValues | None:
    """Return what a cache holds; None unless each layer has keys and values of every token."""
    kept = KeysAndValues()
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            return None
        if layer.keys.dim() != 4 or not layer.keys.shape[2] == layer.values.shape[2] == length:
            return None
        kept.append((layer.keys, layer.values))
    return kept or None
