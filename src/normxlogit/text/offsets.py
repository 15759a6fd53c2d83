"""Offsets for tokenizers that do not tell which characters a token stands for.

Their tokens are looked for in the text, one after the other, without the marks that tokenizers put
on them. Where one is not found the text is refused: a wrong place would be worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from normxlogit.errors import InputError
from normxlogit.text.words import Span

_BEFORE = ("▁", "Ġ", "##")
_AFTER = ("</w>", "@@")


@dataclass(frozen=True)
class Found:
    """The part of `tokenizers.Encoding` that is needed of it."""

    ids: list[int]
    tokens: list[str]
    sequence_ids: list[int | None] = field(default_factory=list)
    offsets: list[Span] = field(default_factory=list)

    @property
    def word_ids(self) -> list[int | None]:
        """None for all tokens: such tokenizers do not tell words either."""
        return [None] * len(self.ids)


def with_offsets(
    batch: BatchEncoding, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> BatchEncoding:
    """A batch of one, text or pair, with the places of its tokens.

    Raises:
        InputError: a token is not found, or the two texts of a pair cannot be told apart.
    """
    ids: list[int] = batch["input_ids"][0]
    found = Found(ids, [str(token) for token in tokenizer.convert_ids_to_tokens(ids)])
    special = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    sequence, cursor = 0, 0
    for number, (token, is_special) in enumerate(zip(found.tokens, special, strict=True)):
        unknown = ids[number] == tokenizer.unk_token_id
        if is_special and not unknown:
            found.sequence_ids.append(None)
            found.offsets.append((0, 0))
            continue
        begun = 0 in found.sequence_ids
        if len(texts) == 2 and sequence == 0 and begun and found.sequence_ids[-1] is None:
            sequence, cursor = 1, 0
        span = _place(token, texts[sequence], cursor, unknown)
        if span is None:
            raise InputError(
                f"{type(tokenizer).__name__} does not tell which characters a token stands for, "
                f"and {token!r} could not be found in {texts[sequence][cursor : cursor + 30]!r}. "
                "Give tensors to normxlogit.attribute."
            )
        found.sequence_ids.append(sequence)
        found.offsets.append(span)
        cursor = span[1]
    if len(texts) == 2 and sequence == 0:
        raise InputError(
            f"{type(tokenizer).__name__} does not tell the two texts of a pair apart. Give tensors "
            "to normxlogit.attribute."
        )
    encodings: Any = [found]
    return BatchEncoding(batch.data, encoding=encodings, n_sequences=len(texts))


def _place(token: str, text: str, cursor: int, unknown: bool) -> Span | None:
    """Where the token stands next, nothing but white space being passed over."""
    rest = text[cursor:]
    start = cursor + len(rest) - len(rest.lstrip())
    if unknown:
        length = len((text[start:].split(maxsplit=1) or [""])[0])
        return (start, start + length) if length else None
    for mark in _BEFORE:
        token = token.removeprefix(mark)
    for mark in _AFTER:
        token = token.removesuffix(mark)
    if not token:
        return cursor, cursor
    end = start + len(token)
    return (start, end) if text[start:end].lower() == token.lower() else None
