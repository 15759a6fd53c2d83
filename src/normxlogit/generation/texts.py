"""From prompts to generated text with its scores."""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import InputError, NormXLogitError, OptionError, UnsupportedHeadError
from normxlogit.generation.recording import Generated, Recording
from normxlogit.model.forward import ForwardPass, hides_what_follows
from normxlogit.model.numerics import agree, probability
from normxlogit.model.targets import Asked
from normxlogit.query import Query, TensorAttribution
from normxlogit.results.assemble import provenance_of
from normxlogit.results.base import Floats, Prediction, Target
from normxlogit.results.generation import GenerationAttribution
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder
from normxlogit.text.token_lookup import TokenLookup
from normxlogit.text.words import word_numbers

_NOT_STEP_BY_STEP = (
    "assistant_model",
    "custom_generate",
    "guidance_scale",
    "negative_prompt_ids",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "streamer",
)
"""Options of `generate` that make other passes than one for each new token."""

_OTHER_PROMPTS = (
    "attention_mask",
    "encoder_outputs",
    "input_ids",
    "inputs",
    "inputs_embeds",
    "past_key_values",
    "position_ids",
)
"""Options of `generate` that put something in the place of the prompt."""


_PADDED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


class Generator:
    """Explains what a model generates, or would have to say to generate a given text."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name

    def generate(
        self, prompts: Sequence[Encoded], query: Query, options: Mapping[str, Any]
    ) -> list[list[GenerationAttribution]]:
        """Generate from prompts that run together: for each its sequences.

        Raises:
            InputError, OptionError: the prompts or options do not fit the model.
            UnsupportedHeadError: the scores could not be vouched for.
        """
        recording = self.recording(prompts)
        given = self.options(options, prompts)
        output = recording.generate(**given)
        return self.results(recording, output, prompts, query)

    def recording(self, prompts: Sequence[Encoded]) -> Recording:
        """What will record the generating from prompts that run together.

        Raises:
            UnsupportedHeadError: the model reads what follows a token too.
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
        """What was generated, explained: for each prompt its sequences."""
        start = recording.start
        with torch.inference_mode():
            beams = output.get("beam_indices")
            ends = recording.ends if beams is None else (beams >= 0).sum(1)
            found = recording.explained(output.sequences, beams, ends)
            each = len(output.sequences) // len(prompts)
            owners = [prompt for prompt in prompts for _ in range(each)]
            answer = query.answer(found.forward, found.asked, self._wording(found.forward, owners))
        results: list[list[GenerationAttribution]] = [[] for _ in prompts]
        for row, ids in enumerate(output.sequences.tolist()):
            new = ids[start : start + int(ends[row])]
            results[row // each].append(
                self.attribution(prompts[row // each], ids[:start], new, row, found, answer, query)
            )
        return results

    def newest(
        self,
        recording: Recording,
        prompt: Encoded,
        before: Sequence[int],
        ids: Sequence[int],
        query: Query,
    ) -> GenerationAttribution:
        """The last of the tokens generated so far, explained; for the rest see `attribution`."""
        with torch.inference_mode():
            sequences = torch.tensor([[*before, *ids]], device=recording.device)
            ends = torch.tensor([len(ids)], device=recording.device)
            found = recording.explained(sequences, None, ends, since=len(ids) - 1)
            answer = query.answer(
                found.forward, found.asked, self._wording(found.forward, [prompt])
            )
        return self.attribution(prompt, before, ids, 0, found, answer, query)

    def options(self, options: Mapping[str, Any], prompts: Sequence[Encoded]) -> dict[str, Any]:
        """The options of `generate`, checked and completed."""
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
        given = dict(options)
        if "layer" in given:
            raise OptionError(
                "layer does not go with generating, which keeps the last layer's states. Generate "
                "first, and explain the answer as target of the prompt."
            )
        for name in ("max_new_tokens", "num_beams", "num_return_sequences"):
            value = given.get(name)
            is_number = hasattr(value, "__index__") and not isinstance(value, bool)
            if name in given and value is not None and not (is_number and value >= 1):
                raise OptionError(f"{name} must be a number from 1, got {value!r}.")
        count = given.get("max_new_tokens")
        limit = self.encoder.max_length
        longest = max(map(len, prompts))
        if self.model.config.is_encoder_decoder:
            longest = 0
        if limit is not None and count and longest + count > limit:
            raise InputError(
                f"the prompt has {longest} tokens and {count} are to be generated, and the "
                f"model takes {limit} in all. Shorten the prompt, or ask for fewer."
            )
        if self.option(given, "pad_token_id") is None:
            given["pad_token_id"] = self.encoder.filler
        if self.option(given, "stop_strings"):
            given["tokenizer"] = self.encoder.tokenizer
        return given

    def option(self, options: Mapping[str, Any], name: str) -> Any:
        """An option of `generate`: as given, or from the configuration that is given or the
        model's.
        """
        config = options.get("generation_config") or self.model.generation_config
        return options.get(name, getattr(config, name, None))

    def continued(
        self, prompt: Encoded, continuation: str | Sequence[int], query: Query
    ) -> GenerationAttribution:
        """Explain a given text as if the model had generated it, in one forward pass.

        Raises:
            InputError: it is empty, or too long.
        """
        is_both = self.model.config.is_encoder_decoder
        ids = self.encoder.continuation(prompt, continuation, is_answer=is_both)
        if not ids:
            raise InputError("the target is empty, so there is nothing to explain.")
        if query.contrast in ids:
            raise OptionError(
                f"the target holds the contrast {self.encoder.text_of([int(query.contrast)])!r}, "
                "which leaves nothing to explain there. Name another contrast."
            )
        inputs = self._inputs([prompt])
        before = self._decoder_start() if is_both else inputs["input_ids"][0].tolist()
        limit, length = self.encoder.max_length, len(before) + len(ids)
        if limit is not None and length > limit:
            raise InputError(
                f"prompt and target have {length} tokens, and the model takes {limit}. "
                "Shorten them."
            )
        whole = torch.tensor([[*before, *ids[:-1]]])
        if is_both:
            inputs |= {"decoder_input_ids": whole, "decoder_attention_mask": torch.ones_like(whole)}
        else:
            inputs = {"input_ids": whole, "attention_mask": torch.ones_like(whole)}
        with torch.inference_mode():
            self._check_hides_what_follows()
            forward = ForwardPass.run(self.model, inputs, layer=query.layer)
            place = forward.captured.states.raw.device
            targets = torch.tensor([ids], device=place)
            positions = torch.arange(len(ids), device=place)[None] + len(before) - 1
            asked = Asked(targets, positions)
            answer = query.answer(forward, asked, self._wording(forward, [prompt]))
            logits = forward.logits_at(positions, targets)
            chances = probability(logits, forward.totals_at(positions))
            sinks = forward.sinks[:, : len(before)]
            found = Generated(forward, asked, logits, chances, sinks)
        return self.attribution(prompt, before, ids, 0, found, answer, query)

    def attribution(
        self,
        prompt: Encoded,
        before: Sequence[int],
        ids: Sequence[int],
        row: int,
        found: Generated,
        answer: TensorAttribution,
        query: Query,
    ) -> GenerationAttribution:
        """What was found for one row, as a result.

        Args:
            prompt: the prompt's text and tokens.
            before: the tokens that the model continued, those of the prompt or of its decoder.
            ids: the new tokens; those that `found` has are explained, which are the last.
            row: which row of the batch it is.
            found: the forward pass of the batch.
            answer: its scores.
            query: what was asked.
        """
        if self.model.config.is_encoder_decoder and not answer.sources:
            raise UnsupportedHeadError(
                f"the encoder's states of {type(self.model).__name__} do not stand one to a token "
                "of the source, or are not of its decoder's width, so the source has no scores. "
                "Give tensors to normxlogit.attribute for the decoder's tokens alone."
            )
        encoder, new = self.encoder, len(ids)
        since = new - min(new, found.logits.shape[1])
        text, offsets = encoder.answer(ids)
        special = np.array([encoder.is_special(i) for i in ids])
        starts = len(before) if answer.sources else 0
        kept = found.forward.mask[row].cpu().numpy().copy()
        kept[answer.sources + len(before) + new - 1 :] = False

        def of(values: Tensor | None) -> Floats | None:
            if values is None:
                return None
            array = values.float().cpu().numpy()[..., kept]
            last = np.full((*array.shape[:-1], 1), np.nan, np.float32)
            return np.concatenate([array, last], -1)

        spread = answer.scores.dim() == 2 + (query.layer == "all")
        scores, values = (
            None if v is None else of((v[row, None] if spread else v[row])[: new - since])
            for v in (answer.scores, answer.values)
        )
        assert scores is not None
        numbers = word_numbers((text,), offsets, [-1 if s else 0 for s in special], [None] * new)
        after = int(prompt.words.max(initial=-1)) + 1
        nothing = [(0, 0)] * starts
        tokens = (*prompt.tokens, *map(encoder.token, before[:starts]), *map(encoder.token, ids))
        positions = range(len(tokens) - new - 1, len(tokens) - 1)
        targets = tuple(
            Target(
                label=encoder.text_of([number]),
                id=number,
                logit=float(found.logits[row, n]),
                probability=float(found.probabilities[row, n]),
                position=positions[since + n],
            )
            for n, number in enumerate(ids[since:])
        )
        known = prompt.special.copy()
        if not starts:
            own = found.forward.mask[row, : found.sinks.shape[1]]
            known |= found.sinks[row, own].cpu().numpy()
        return GenerationAttribution(
            texts=(prompt.texts[0], text),
            tokens=tokens,
            scores=scores,
            special=np.concatenate([known, np.ones(starts, np.bool_), special]),
            offsets=np.concatenate(
                [prompt.offsets, np.array([*nothing, *offsets], np.int32).reshape(-1, 2)]
            ),
            segments=np.concatenate(
                [prompt.segments, np.full(starts, -1), np.where(special, -1, 1)]
            ).astype(np.int32),
            word_numbers=np.concatenate(
                [prompt.words, np.full(starts, -1), np.where(numbers < 0, -1, numbers + after)]
            ).astype(np.int32),
            messages=prompt.messages,
            axes=("target",) + ("layer",) * (query.layer == "all"),
            targets=targets,
            layers=tuple(answer.layers),
            prediction=Prediction(found.forward.problem.value, targets, ()),
            provenance=provenance_of(
                self.model,
                self.name,
                query,
                answer,
                None if answer.contrast is None else encoder.text_of([int(answer.contrast[row])]),
            ),
            norms=of(None if answer.norms is None else answer.norms[row]),
            logits=values,
            notes={
                name: tuple(noted[row][: new - since].tolist())
                for name, noted in answer.notes.items()
            },
            answer_offsets=np.array(offsets, np.int32).reshape(-1, 2)[since:],
            answer_special=special[since:],
        )

    def takes_padding(self) -> bool:
        """Whether padding leaves alone what the model computes while generating.

        Found out once for each model, by generating a token with padding and without.
        """
        if self.model not in _PADDED:
            try:
                _PADDED[self.model] = self._is_padding_safe()
            except NormXLogitError:
                _PADDED[self.model] = False
        return _PADDED[self.model]

    def _is_padding_safe(self) -> bool:
        ids = torch.tensor([[5, 6, 7]], device=self.model.device if self._is_here else "cpu")
        filler, mask = torch.full_like(ids, self.encoder.filler), torch.ones_like(ids)
        left = not self.model.config.is_encoder_decoder
        own = slice(3, None) if left else slice(3)
        rows, masks = (
            ((filler, ids), (0 * mask, mask)) if left else ((ids, filler), (mask, 0 * mask))
        )
        found = []
        for row, row_mask in ((ids, mask), (torch.cat(rows, 1), torch.cat(masks, 1))):
            recording = Recording(self.model, {"input_ids": row, "attention_mask": row_mask})
            recording.generate(max_new_tokens=1, pad_token_id=self.encoder.filler, do_sample=False)
            found.append(recording.first_states())
        alone, beside = found
        return all(
            agree(ours if ours.shape == theirs.shape else ours[:, own], theirs)
            for ours, theirs in zip(beside, alone, strict=True)
        )

    @property
    def _is_here(self) -> bool:
        """Whether the model's weights are on the device that it names."""
        return self.model.device.type != "meta"

    def _inputs(self, prompts: Sequence[Encoded]) -> dict[str, Tensor]:
        rows: list[list[int]] = [p.windows[0].inputs["input_ids"] for p in prompts]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.encoder.filler)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        left = not self.model.config.is_encoder_decoder
        for n, row in enumerate(rows):
            own = slice(width - len(row), None) if left else slice(len(row))
            ids[n, own], mask[n, own] = torch.tensor(row), 1
        place = self.model.device if self._is_here else ids.device
        return {"input_ids": ids.to(place), "attention_mask": mask.to(place)}

    def _decoder_start(self) -> list[int]:
        for config in (self.model.generation_config, self.model.config):
            for name in ("decoder_start_token_id", "bos_token_id"):
                if isinstance(start := getattr(config, name, None), int):
                    return [start]
        raise InputError(
            f"the configuration of {type(self.model).__name__} has no decoder_start_token_id, so "
            "what its decoder begins with is not known. Set it."
        )

    def _wording(self, forward: ForwardPass, prompts: Sequence[Encoded]) -> TokenLookup:
        """What is known of the tokens of rows that begin with these prompts."""
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
