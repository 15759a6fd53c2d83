"""Text to model inputs: a tokenizer, the model's limits, and the windows of long texts."""

import copy
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError, OptionError
from normxlogit.text.chat import render_chat
from normxlogit.text.decoding import token_spans
from normxlogit.text.encoded import Encoded, Window, batch_units
from normxlogit.text.literal import spell_out
from normxlogit.text.message import Message
from normxlogit.text.offsets import recover_offsets
from normxlogit.text.reader import Reader
from normxlogit.text.token_lookup import TokenLookup
from normxlogit.text.validation import (
    check_same_vocabulary,
    check_text,
    max_length,
    vocabulary_size,
)
from normxlogit.text.words import Span


class Encoder(Reader):
    """Encodes texts for a model, and decodes tokens.

    The user's tokenizer is copied, because calls change its state. Several threads may share an
    encoder.

    Attributes:
        max_length: the most tokens that the model accepts; None if unknown.
        vocabulary_size: how many tokens the model has embeddings for; the tokenizer may have more.
        pads: whether texts of different lengths can be padded to one batch.
        padding_side: the side that the tokenizer pads on.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        """Copy a tokenizer.

        Raises:
            ModelError: it is not this model's.
        """
        check_same_vocabulary(tokenizer, model)
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()
        self._tokenized: Mapping[tuple[str, ...], BatchEncoding] = {}
        self._specials = set(tokenizer.all_special_ids)
        names = ("bos", "eos", "cls", "sep", "pad")
        self._markers = {getattr(tokenizer, f"{name}_token_id") for name in names}
        self._tokenizer.truncation_side = "right"
        self.max_length = max_length(tokenizer, model)
        self.vocabulary_size = vocabulary_size(model)
        self.pads = tokenizer.pad_token_id is not None
        self.padding_side: str = tokenizer.padding_side

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the lock, which no other process could share."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def reading(self, items: Iterable[Any]) -> "Encoder":
        """Return an encoder that has tokenized texts and pairs together, faster than one by one.

        Those that are neither, or that the tokenizer cannot read, it tokenizes as they come.
        """
        encoder = object.__new__(type(self))
        vars(encoder).update(vars(self), _tokenized=self._tokenized_together(items))
        return encoder

    def _tokenized_together(self, items: Iterable[Any]) -> dict[tuple[str, ...], BatchEncoding]:
        """Return the tokens of each text and pair, by its parts; none of a slow tokenizer."""
        tokenized: dict[tuple[str, ...], BatchEncoding] = {}
        if not self._tokenizer.is_fast:
            return tokenized
        whole = [item if isinstance(item, tuple) else (item,) for item in items]
        texts = dict.fromkeys(parts for parts in whole if all(isinstance(p, str) for p in parts))
        for count in (1, 2):
            several = [parts for parts in texts if len(parts) == count]
            if not several:
                continue
            try:
                batch = self._call(zip(*several, strict=True), False)
            except Exception:  # of one of them; it is raised again when that is read
                continue
            for number, (parts, encoding) in enumerate(
                zip(several, batch.encodings or [], strict=True)
            ):
                values = {name: [rows[number]] for name, rows in batch.items()}
                tokenized[parts] = BatchEncoding(values, [encoding])
        return tokenized

    def token(self, number: int) -> str:
        """Return the token with that id, as the tokenizer spells it."""
        return str(self._tokenizer.convert_ids_to_tokens(number))

    def text_of(self, ids: Sequence[int]) -> str:
        """Decode tokens, including special ones; their spellings if they decode to nothing."""
        with self._lock:
            text = self._decode(ids)
        return text or "".join(map(self.token, ids))

    def id_of(self, target: Any) -> int:
        """Return the id of a language model's target: an id, or text of one token.

        Text is looked up as is, then with a space before it, which words have within a text.

        Raises:
            OptionError: there is no such token, or the text is several.
        """
        if isinstance(target, str):
            ids = [self._ids(text, add_special_tokens=False) for text in (target, f" {target}")]
            if not ids[0] or any(number == self._tokenizer.unk_token_id for number in ids[0]):
                raise OptionError(f"this model has no token for {target!r}.")
            single = next((spelling for spelling in ids if len(spelling) == 1), None)
            if single is None:
                parts = ", ".join(f"{self.token(number)} = {number}" for number in ids[0])
                raise OptionError(
                    f"{target!r} is {len(ids[0])} tokens to this model ({parts}), and one is named "
                    "here. Name one of them by its id, or another word."
                )
            number: int | None = single[0]
        else:
            number = as_integer(target)
        if number is None:
            raise OptionError(f"a token is named by its text or id; got {target!r:.80}.")
        if not 0 <= number < len(self._tokenizer):
            raise OptionError(
                f"there is no token {number}; ids go from 0 to {len(self._tokenizer) - 1}."
            )
        if not self._is_known(number):
            raise OptionError(self._unknown(number))
        return number

    @property
    def mask_token(self) -> tuple[str, int] | None:
        """The mask token and its id, if the tokenizer has one and the model an embedding for it."""
        name, number = self._tokenizer.mask_token, self._tokenizer.mask_token_id
        return None if number is None or not self._is_known(number) else (str(name), number)

    def special_id(self, name: str) -> int:
        """Return the id of a special token: "mask", "pad", "unk" or "eos".

        Raises:
            OptionError: the tokenizer has none, or the model no embedding for it.
        """
        number = getattr(self._tokenizer, f"{name}_token_id")
        if number is None:
            raise OptionError(f"the tokenizer has no {name} token. Give another token's id.")
        if not self._is_known(number):
            raise OptionError(self._unknown(number))
        return int(number)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The copy of the tokenizer."""
        return self._tokenizer

    @property
    def filler(self) -> int:
        """An id to pad rows with where a mask hides it: pad, else EOS, else 0.

        The model looks up its embedding all the same, so it is one that the model has.
        """
        for number in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if number is not None and self._is_known(number):
                return int(number)
        return 0

    def counts(self, texts: Iterable[str]) -> Counter[int]:
        """Count each token id, including special ones, in texts of any length."""
        counts: Counter[int] = Counter()
        for text in texts:
            check_text((text,), False)
            counts.update(self._ids(text))
        return counts

    def lookup(
        self, parts: Sequence[tuple[Encoded, Window]], side: str, generated: Sequence[bool] = ()
    ) -> TokenLookup:
        """Return what methods may ask about the tokens of a batch.

        Args:
            parts: for each row the text and the window of it that the row holds.
            side: where rows are padded.
            generated: for each generated token, which stands after the text in every row, whether
                it is a unit by itself, if units are not parts of the text.
        """

        def token(name: str) -> int:
            return self.special_id(name) if name in ("mask", "pad") else self.id_of(name)

        def units(unit: Any) -> Tensor:
            return torch.from_numpy(batch_units(parts, side, generated, unit))

        mask = self.mask_token
        return TokenLookup(units, token, None if mask is None else mask[1])

    def is_special(self, number: int) -> bool:
        """Return whether a token id is one of the tokenizer's special tokens."""
        return number in self._specials

    def answer(self, ids: Sequence[int]) -> tuple[str, list[Span]]:
        """Decode new tokens without the special ones; return the text and each token's characters.

        Tokens that only together make one character (an emoji, say) all get that character, and
        special tokens an empty span where they stand.
        """
        spoken = [i for i in ids if not self.is_special(i)]
        with self._lock:
            text = self._decode(spoken)
            decoded = iter(token_spans(spoken, text, self._decode))
        spans, end = list[Span](), 0
        for number in ids:
            spans.append((end, end) if self.is_special(number) else next(decoded))
            end = spans[-1][1]
        return text, spans

    def continuation(
        self, prompt: Encoded, target: str | Sequence[int], *, is_answer: bool
    ) -> list[int]:
        """Return the token ids of a text that continues a prompt.

        Args:
            prompt: the prompt.
            target: the continuation as text, or its ids.
            is_answer: whether the target is a text by itself, which ends with EOS, as a
                sequence-to-sequence decoder writes it.

        Raises:
            InputError: the tokenizer cannot read the target, or the model has no embedding for one
                of its tokens.
            OptionError: an id is not in the vocabulary.
        """
        if not isinstance(target, str):
            return [self.id_of(number) for number in target]
        ids = self._continuation(prompt, target, is_answer)
        self._check_known(ids)
        return ids

    def _continuation(self, prompt: Encoded, target: str, is_answer: bool) -> list[int]:
        if is_answer:
            return self._ids(text_target=target)
        before = prompt.windows[0].inputs["input_ids"]
        # Tokenized with the prompt, a word keeps the space before it; but only if that leaves the
        # prompt's own tokens as they are (BPE may merge across the boundary).
        if not prompt.messages:
            whole = self._ids(prompt.texts[0] + target)
            if whole[: len(before)] == before:
                return whole[len(before) :]
        return self._ids(target, add_special_tokens=False)

    def chat(self, chat: Any, options: Mapping[str, Any] | None = None) -> Encoded:
        """Encode a chat, up to where the assistant is to answer or to go on.

        Tokens that the tokenizer's template puts around the messages count as special.

        Args:
            chat: messages, each with "role" and "content", a text or parts of text; see
                `text.chat.messages_of`.
            options: of the template; see `text.chat.take_template_options`.

        Raises:
            InputError: the messages are malformed, or the tokenizer has no chat template, or one
                that changes a message's text.
        """
        text, spans = render_chat(self._tokenizer, chat, options)
        batch = self._tokenize([text], False, add_special_tokens=False)
        encoded = self._encoded([text], False, batch, batch)
        if self.max_length is not None and len(encoded) > self.max_length:
            raise InputError(
                f"the chat has {len(encoded)} tokens and the model takes {self.max_length}. "
                "Shorten it."
            )
        return encoded.within([(message.start, message.end) for message in spans], spans)

    def prompt(
        self,
        text: str,
        parts: Sequence[Span],
        literal: Sequence[Span],
        messages: Sequence[Message],
        *,
        is_rendered: bool,
    ) -> Encoded:
        """Encode a prompt of any length; raises as `encode`.

        Args:
            text: the prompt.
            parts: the first character and last + 1 of what is no template's, and so not special.
            literal: the same of what holds no token of the template; see `text.literal`.
            messages: where the messages of a chat are.
            is_rendered: whether a chat template wrote it, with all special tokens.
        """
        check_text((text,), False)
        batch = self._tokenize([text], False, add_special_tokens=not is_rendered)

        def encode(part: str) -> Any:
            return self._tokenize([part], False, add_special_tokens=False)[0]

        batch = spell_out(batch, text, literal, self._tokenizer, encode)
        return self._encoded([text], False, batch, batch).within(parts, messages)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def _ids(self, text: str | None = None, **options: Any) -> list[int]:
        try:
            with self._lock:
                batch = self._tokenizer(text, verbose=False, **options)
        except Exception as error:  # tokenizers raise errors of many kinds
            read = options.get("text_target", text)
            raise InputError(f"the tokenizer could not read {read!r:.80}: {error}") from error
        return list(batch["input_ids"])

    def _is_known(self, number: int) -> bool:
        """Whether the model has an embedding for a token of the tokenizer."""
        return number < self.vocabulary_size

    def _check_known(self, ids: Sequence[int]) -> None:
        """Raise `InputError` if the model has no embedding for one of the tokens."""
        unknown = next((number for number in ids if not self._is_known(number)), None)
        if unknown is not None:
            raise InputError(self._unknown(unknown))

    def _unknown(self, number: int) -> str:
        return (
            f"the tokenizer has the token {self.token(number)!r} (id {number}), and the model has "
            f"embeddings for {self.vocabulary_size} tokens only. Leave it out, or give the model "
            f"one by model.resize_token_embeddings({len(self._tokenizer)}) and train it."
        )

    def batch(self, windows: Sequence[Window], side: str) -> dict[str, Tensor]:
        """Return the inputs of windows as tensors [batch, sequence], padded on `side`."""
        padded: dict[str, Any]
        # Equal lengths need no padding, which a tokenizer without a pad token refuses.
        if len({len(window) for window in windows}) == 1:
            padded = {name: [w.inputs[name] for w in windows] for name in windows[0].inputs}
        else:
            padded = dict(self._tokenizer.pad([w.inputs for w in windows], padding_side=side))
        inputs = {name: torch.tensor(values) for name, values in padded.items()}
        # Only a pad token can be unknown to the model here.
        ids = inputs["input_ids"]
        return inputs | {"input_ids": ids.masked_fill(ids >= self.vocabulary_size, self.filler)}

    def inputs_of(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Return the model's inputs for a text or the two of a pair, which may be blank."""
        batch = self._tokenize(texts, False)
        names = (name for name in self._tokenizer.model_input_names if name in batch)
        return {name: list(batch[name][0]) for name in names}

    @property
    def _input_names(self) -> Sequence[str]:
        names: list[str] = self._tokenizer.model_input_names
        return names

    def _check_serves(self, is_split: bool, long: str) -> None:
        if not self._tokenizer.is_fast and (is_split or long == "window"):
            raise InputError(
                f"{type(self._tokenizer).__name__} is not a fast tokenizer, so it can neither take "
                "split words nor make windows. Give whole texts, or use long='truncate'."
            )

    def _tokenize(self, parts: Sequence[Any], is_split: bool, **cut: Any) -> BatchEncoding:
        ahead = None if is_split or cut else self._tokenized.get(tuple(parts))
        try:
            batch = ahead
            if batch is None:
                batch = self._call(([part] for part in parts), is_split, **cut)
        except Exception as error:  # tokenizers raise errors of many kinds
            raise InputError(f"the tokenizer could not read the text: {error}") from error
        for ids in batch["input_ids"]:
            self._check_known(ids)
        return batch if self._tokenizer.is_fast else recover_offsets(batch, parts, self._tokenizer)

    def _call(self, columns: Iterable[Any], is_split: bool, **cut: Any) -> BatchEncoding:
        """Tokenize texts, or with two columns pairs."""
        with self._lock:
            batch: BatchEncoding = self._tokenizer(
                *map(list, columns),
                is_split_into_words=is_split,
                return_attention_mask=True,
                verbose=False,
                **cut,
            )
        return batch
