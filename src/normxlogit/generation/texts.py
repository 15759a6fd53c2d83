"""Generated text with its scores, and given text as if it had been generated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from normxlogit.data.option_checks import as_integer, whole_number
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.generation.recording import Generated, Recording
from normxlogit.generation.sequences import Continuation, generation_attribution
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree, probability
from normxlogit.model.targets import TargetIds
from normxlogit.model.trials.caching import without_cache
from normxlogit.model.trials.causality import hides_what_follows
from normxlogit.query import Query, ScoredBatch
from normxlogit.results.assemble import VocabularyLabels, provenance_of
from normxlogit.results.generation import GenerationAttribution
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder
from normxlogit.text.token_lookup import TokenLookup

_NOT_STEP_BY_STEP = (
    "assistant_model",
    "custom_generate",
    "guidance_scale",
    "negative_prompt_ids",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "streamer",
)
"""Options of `generate` with which decoding does not run one pass for each new token."""

_OTHER_PROMPTS = (
    "attention_mask",
    "encoder_outputs",
    "input_ids",
    "inputs",
    "inputs_embeds",
    "past_key_values",
    "position_ids",
)
"""Options of `generate` that replace the prompt."""


_PADDED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


class Generator:
    """Explains the text that a model generates, or a given text as if it had generated it."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name

    def generate(
        self, prompts: Sequence[Encoded], query: Query, options: Mapping[str, Any]
    ) -> list[list[GenerationAttribution]]:
        """Generate from a batch of prompts: for each its sequences.

        Raises:
            InputError, OptionError: the prompts or options do not fit the model.
            UnsupportedHeadError: the scores could not be vouched for.
        """
        recording = self.recording(prompts)
        output = recording.generate(**self.options(options, prompts))
        return self.results(recording, output, prompts, query)

    def answer(self, prompt: Encoded, options: Mapping[str, Any]) -> list[int]:
        """Generate from a prompt without explaining it; return the ids of the new tokens.

        Raises: as `answers`.
        """
        return self.answers([prompt], options)[0]

    @inference()
    def answers(self, prompts: Sequence[Encoded], options: Mapping[str, Any]) -> list[list[int]]:
        """Generate from a batch of prompts without explaining them; return the new tokens of each.

        Several prompts need a model that `takes_padding`.

        Raises:
            InputError, OptionError: the prompts or options do not fit the model.
            ModelError: it could not generate.
        """
        if self.option(options, "num_return_sequences") not in (None, 1):
            raise OptionError("one answer is explained at a time. Leave num_return_sequences out.")
        completed = self.options(options, prompts) | {"return_dict_in_generate": False}
        inputs = self._inputs(prompts)
        root = ModelClone(Anatomy.of(self.model)).root
        try:
            sequences = root.generate(**inputs, **completed)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise OptionError(f"{type(self.model).__name__}.generate: {reason}") from error
        except Exception as error:
            raise ModelError(
                f"{type(self.model).__name__} could not generate: {type(error).__name__}: {error}"
            ) from error
        start = 0 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        ends = self.option(options, "eos_token_id")
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        rows: list[list[int]] = sequences[:, start:].tolist()
        lengths = [next((n for n, i in enumerate(row, 1) if i in ends), len(row)) for row in rows]
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def recording(self, prompts: Sequence[Encoded]) -> Recording:
        """A recording of the generation from a batch of prompts, which is yet to run.

        Raises:
            UnsupportedHeadError: the model's state at a token depends on later tokens.
        """
        self._check_hides_what_follows()
        return Recording(self.model, self._inputs(prompts))

    def results(
        self,
        recording: Recording,
        output: Any,
        prompts: Sequence[Encoded],
        query: Query,
    ) -> list[list[GenerationAttribution]]:
        """Explain what was generated: for each prompt its sequences.

        Args:
            recording: what was kept while generating.
            output: what the model's `generate` returned.
            prompts: the prompts, in order.
            query: what is asked.
        """
        start = recording.start
        beams = output.get("beam_indices")
        ends = recording.ends if beams is None else (beams >= 0).sum(1)
        per_prompt = len(output.sequences) // len(prompts)
        owners = [prompt for prompt in prompts for _ in range(per_prompt)]
        with inference():
            generated = recording.explained(output.sequences, beams, ends)
            scored = self._score(generated, owners, query)
        results: list[list[GenerationAttribution]] = [[] for _ in prompts]
        for row, padded in enumerate(output.sequences):
            ids = padded[: start + int(ends[row])]
            before, new = ids[:start].tolist(), ids[start:].tolist()
            continuation = Continuation(owners[row], before, new, recording.is_cut(ids))
            results[row // per_prompt].append(self._result(continuation, generated, scored, row))
        return results

    def newest(
        self,
        recording: Recording,
        prompt: Encoded,
        before: Sequence[int],
        ids: Sequence[int],
        query: Query,
    ) -> GenerationAttribution:
        """Explain the last of the tokens `ids` that were generated so far after `before`."""
        with inference():
            sequences = torch.tensor([[*before, *ids]], device=recording.device)
            ends = torch.tensor([len(ids)], device=recording.device)
            generated = recording.explained(sequences, None, ends, since=len(ids) - 1)
            scored = self._score(generated, [prompt], query)
        return self._result(Continuation(prompt, before, ids), generated, scored, 0)

    def _score(self, generated: Generated, prompts: Sequence[Encoded], query: Query) -> ScoredBatch:
        forward = generated.forward
        if self.model.config.is_encoder_decoder and not forward.sources:
            raise UnsupportedHeadError(
                f"the encoder's states of {type(self.model).__name__} do not stand one to a token "
                "of the source, or are not of its decoder's width, so the source has no scores. "
                "Give tensors to normxlogit.attribute for the decoder's tokens alone."
            )
        forward.labels = VocabularyLabels(len(forward.labels), self.encoder)
        scored = query.score(forward, generated.targets, self._lookup(forward, prompts))
        # Generated text has an axis of targets even where it is one token.
        return replace(scored, has_target_axis=True)

    def _result(
        self, continuation: Continuation, generated: Generated, scored: ScoredBatch, row: int
    ) -> GenerationAttribution:
        provenance = provenance_of(self.model, self.name, scored)
        return generation_attribution(
            self.encoder, continuation, generated, scored, row, provenance
        )

    def options(self, options: Mapping[str, Any], prompts: Sequence[Encoded]) -> dict[str, Any]:
        """Check the options of `generate`, and add those that the tokenizer knows."""
        for name in _NOT_STEP_BY_STEP:
            if self.option(options, name) is not None:
                raise OptionError(
                    f"{name} does not go with explanations, which need one pass for each new "
                    "token. Generate first, and explain the answer as target of the prompt."
                )
        for name in _OTHER_PROMPTS:
            if options.get(name) is not None:
                raise OptionError(
                    f"{name} would put something in the place of the prompt whose tokens are "
                    "scored. Give all that the model is to read as the prompt."
                )
        completed = dict(options)
        if "layer" in completed:
            raise OptionError(
                "layer does not go with generating, which keeps the last layer's states. Generate "
                "first, and explain the answer as target of the prompt."
            )
        for name in ("max_length", "max_new_tokens", "num_beams", "num_return_sequences"):
            if (value := self._requested(options, name)) is not None:
                number = whole_number(name, value)
                if options.get(name) is not None:
                    completed[name] = number
        self._check_length(completed, max(map(len, prompts)))
        pad = as_integer(self.option(completed, "pad_token_id"))
        if pad is None or not 0 <= pad < self.encoder.vocabulary_size:
            completed["pad_token_id"] = self.encoder.filler
        if self.option(completed, "stop_strings") is not None:
            completed["tokenizer"] = self.encoder.tokenizer
        return completed

    def _check_length(self, options: Mapping[str, Any], longest: int) -> None:
        """Raise `InputError` if the caller asks for more tokens than the model has positions for.

        `longest` is the number of the longest prompt's tokens. A length that the model came with
        is nobody's request: its answers may well end before.
        """
        names = ("max_new_tokens", "max_length")
        if all(self._requested(options, name) is None for name in names):
            return
        limit, is_decoder = self.encoder.max_length, not self.model.config.is_encoder_decoder
        count, length = (self.option(options, name) for name in names)
        # The decoder of an encoder-decoder has one token before the new ones, of which the last is
        # not read again.
        before = longest if is_decoder else 0
        if count is None and length is not None:
            count = length - (longest if is_decoder else 1)
        if limit is not None and count is not None and before + count > limit:
            raise InputError(
                f"the prompt has {before} tokens and {count} are to be generated, and the model "
                f"takes {limit} in all. Shorten the prompt, or ask for fewer by max_new_tokens."
            )

    def option(self, options: Mapping[str, Any], name: str) -> Any:
        """An option of `generate`, else from the configuration among them, else the model's.

        Raises:
            OptionError: the configuration is of another kind.
        """
        requested = self._requested(options, name)
        default = getattr(self.model.generation_config, name, None)
        return default if requested is None else requested

    def _requested(self, options: Mapping[str, Any], name: str) -> Any:
        config = options.get("generation_config")
        if not isinstance(config, (GenerationConfig, NoneType)):
            raise OptionError(
                "generation_config must be a transformers.GenerationConfig, got "
                f"{type(config).__name__}. Give its options by name."
            )
        value = options.get(name)
        return getattr(config, name, None) if value is None else value

    def continued(
        self, prompt: Encoded, continuation: str | Sequence[int], query: Query
    ) -> GenerationAttribution:
        """Explain a given text as if the model had generated it, in one forward pass.

        Raises:
            InputError: it is empty, or too long.
        """
        has_encoder = self.model.config.is_encoder_decoder
        ids = self.encoder.continuation(prompt, continuation, is_answer=has_encoder)
        if not ids:
            raise InputError("the target is empty, so there is nothing to explain.")
        if query.contrast in ids:
            raise OptionError(
                f"the target holds the contrast {self.encoder.text_of([int(query.contrast)])!r}, "
                "which leaves nothing to explain there. Name another contrast."
            )
        inputs = self._inputs([prompt])
        before = self._decoder_start() if has_encoder else inputs["input_ids"][0].tolist()
        limit, length = self.encoder.max_length, len(before) + len(ids)
        if limit is not None and length > limit:
            raise InputError(
                f"prompt and target have {length} tokens, and the model takes {limit}. "
                "Shorten them."
            )
        # The last new token is predicted, not read.
        whole = torch.tensor([[*before, *ids[:-1]]])
        if has_encoder:
            inputs |= {"decoder_input_ids": whole, "decoder_attention_mask": torch.ones_like(whole)}
        else:
            inputs = {"input_ids": whole, "attention_mask": torch.ones_like(whole)}
        # Decoding reads a token at a time, which some models do in one pass without a cache only.
        inputs |= without_cache(self.model)
        with inference():
            self._check_hides_what_follows()
            forward = ForwardPass.run(self.model, inputs, layer=query.layer)
            device = forward.captured.states.raw.device
            targets = torch.tensor([ids], device=device)
            # Each new token is read at the position before it.
            positions = torch.arange(len(ids), device=device)[None] + len(before) - 1
            logits = forward.logits_at(positions, targets)
            probabilities = probability(logits, forward.totals_at(positions))
            sinks = forward.sinks[:, : len(before)]
            generated = Generated(
                forward, TargetIds(targets, positions), logits, probabilities, sinks
            )
            scored = self._score(generated, [prompt], query)
        return self._result(Continuation(prompt, before, ids), generated, scored, 0)

    def takes_padding(self) -> bool:
        """Whether padding changes nothing of what the model computes while generating.

        Tried once for each model, by generating a token with padding and without.
        """
        if self.model not in _PADDED:
            try:
                _PADDED[self.model] = self._is_padding_safe()
            except NormXLogitError:
                _PADDED[self.model] = False
        return _PADDED[self.model]

    def _is_padding_safe(self) -> bool:
        ids = torch.tensor([[5, 6, 7]], device=self.model.device if self._has_weights else "cpu")
        filler, mask = torch.full_like(ids, self.encoder.filler), torch.ones_like(ids)
        left = not self.model.config.is_encoder_decoder
        unpadded = slice(3, None) if left else slice(3)
        rows, masks = (
            ((filler, ids), (0 * mask, mask)) if left else ((ids, filler), (mask, 0 * mask))
        )
        states = []
        for row, row_mask in ((ids, mask), (torch.cat(rows, 1), torch.cat(masks, 1))):
            recording = Recording(self.model, {"input_ids": row, "attention_mask": row_mask})
            recording.generate(max_new_tokens=1, pad_token_id=self.encoder.filler, do_sample=False)
            states.append(recording.first_states())
        alone, padded = states
        return all(
            agree(theirs if theirs.shape == ours.shape else theirs[:, unpadded], ours)
            for theirs, ours in zip(padded, alone, strict=True)
        )

    @property
    def _has_weights(self) -> bool:
        """Whether the model's weights are on its device, rather than offloaded."""
        return self.model.device.type != "meta"

    def _inputs(self, prompts: Sequence[Encoded]) -> dict[str, Tensor]:
        rows: list[list[int]] = [p.windows[0].inputs["input_ids"] for p in prompts]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.encoder.filler)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        left = not self.model.config.is_encoder_decoder
        for n, row in enumerate(rows):
            tokens = slice(width - len(row), None) if left else slice(len(row))
            ids[n, tokens], mask[n, tokens] = torch.tensor(row), 1
        device = self.model.device if self._has_weights else ids.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def _decoder_start(self) -> list[int]:
        for config in (self.model.generation_config, self.model.config):
            for name in ("decoder_start_token_id", "bos_token_id"):
                if isinstance(start := getattr(config, name, None), int):
                    return [start]
        raise InputError(
            f"the configuration of {type(self.model).__name__} has no decoder_start_token_id, so "
            "what its decoder begins with is not known. Set it."
        )

    def _lookup(self, forward: ForwardPass, prompts: Sequence[Encoded]) -> TokenLookup:
        """What the tokenizer knows about rows that begin with these prompts."""
        parts = [(prompt, prompt.windows[0]) for prompt in prompts]
        side = "right" if self.model.config.is_encoder_decoder else "left"
        new = forward.mask.shape[1] - max(len(window) for _, window in parts)
        starts = 1 if self.model.config.is_encoder_decoder else 0
        return self.encoder.lookup(parts, side, [number >= starts for number in range(new)])

    def _check_hides_what_follows(self) -> None:
        if not hides_what_follows(self.model):
            raise UnsupportedHeadError(
                f"{type(self.model).__name__} reads what follows a token too, so what it says at a "
                "token changes as it goes on, and no score of it would be final. Explain the next "
                "token, one at a time."
            )
