"""Which characters of the text tokens stand for, where the tokenizer does not say.

Slow tokenizers report no offsets. `recover_offsets` searches for each of their tokens in the text,
in order, without the marks that tokenizers put on them. If a token is not there the text is
refused: a wrong offset would be worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from normxlogit.errors import InputError
from normxlogit.text.words import Span

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

_PREFIXES = ("▁", "Ġ", "##")
"""Marks before a token: a space (SentencePiece, byte-level BPE), or none before it (WordPiece)."""

_SUFFIXES = ("</w>", "@@")
"""Marks after a token: the end of a word, or no end (older BPE)."""


@dataclass(frozen=True)
class RecoveredEncoding:
    """The part of `tokenizers.Encoding` that `Encoder` uses."""

    ids: list[int]
    tokens: list[str]
    sequence_ids: list[int | None] = field(default_factory=list)
    offsets: list[Span] = field(default_factory=list)

    @property
    def word_ids(self) -> list[int | None]:
        """None for all tokens: slow tokenizers report no words either."""
        return [None] * len(self.ids)


def recover_offsets(
    batch: "BatchEncoding", texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase"
) -> "BatchEncoding":
    """Return a batch of one text or pair with the offsets of its tokens.

    Raises:
        InputError: a token is not in the text, or the two texts of a pair cannot be told apart.
    """
    from transformers import BatchEncoding  # the rest is read without it

    ids: list[int] = batch["input_ids"][0]
    encoding = RecoveredEncoding(ids, [str(t) for t in tokenizer.convert_ids_to_tokens(ids)])
    special = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    sequence, cursor = 0, 0
    for number, (token, is_special) in enumerate(zip(encoding.tokens, special, strict=True)):
        # The unknown token is special to transformers, but stands for characters of the text.
        unknown = ids[number] == tokenizer.unk_token_id
        if is_special and not unknown:
            encoding.sequence_ids.append(None)
            encoding.offsets.append((0, 0))
            continue
        # A special token after tokens of the first text is the separator: the second text begins.
        begun = 0 in encoding.sequence_ids
        if len(texts) == 2 and sequence == 0 and begun and encoding.sequence_ids[-1] is None:
            sequence, cursor = 1, 0
        span = _next_span(token, texts[sequence], cursor, unknown)
        if span is None:
            raise InputError(
                f"{type(tokenizer).__name__} does not tell which characters a token stands for, "
                f"and {token!r} could not be found in {texts[sequence][cursor : cursor + 30]!r}. "
                "Give tensors to normxlogit.attribute."
            )
        encoding.sequence_ids.append(sequence)
        encoding.offsets.append(span)
        cursor = span[1]
    if len(texts) == 2 and sequence == 0:
        raise InputError(
            f"{type(tokenizer).__name__} does not tell the two texts of a pair apart. Give tensors "
            "to normxlogit.attribute."
        )
    encodings: Any = [encoding]
    return BatchEncoding(batch.data, encoding=encodings, n_sequences=len(texts))


def _next_span(token: str, text: str, cursor: int, unknown: bool) -> Span | None:
    """Return the characters of a token that begins at `cursor`, white space skipped.

    None if it is not there. Nothing but white space may be skipped: searching further would find
    some tokens by accident, and all that follow with them.
    """
    rest = text[cursor:]
    start = cursor + len(rest) - len(rest.lstrip())
    if unknown:
        # The characters it replaced are lost. Take those up to the next space: if that is too many,
        # the next token is missed and the text refused.
        length = len((text[start:].split(maxsplit=1) or [""])[0])
        return (start, start + length) if length else None
    for prefix in _PREFIXES:
        token = token.removeprefix(prefix)
    for suffix in _SUFFIXES:
        token = token.removesuffix(suffix)
    if not token:
        return cursor, cursor
    end = start + len(token)
    # Tokenizers may lower the text's case; any other normalization is a mismatch.
    return (start, end) if text[start:end].lower() == token.lower() else None


def joined_word_offsets(
    parts: Sequence[Sequence[str]], encoding: Any, segments: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return offsets in the text of words joined by spaces, and word numbers over a whole pair.

    Given split words, a tokenizer counts characters within each word, and words within each text.
    """
    starts = [[0, *accumulate(len(word) + 1 for word in words)] for words in parts]
    offsets, numbers = list(encoding.offsets), [-1] * len(segments)
    for i, (segment, word) in enumerate(zip(segments, encoding.word_ids, strict=True)):
        if segment >= 0:
            begin, end = offsets[i]
            offsets[i] = (begin + starts[segment][word], end + starts[segment][word])
            numbers[i] = word + (len(parts[0]) if segment else 0)
    return offsets, numbers
