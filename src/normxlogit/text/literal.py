"""Texts in a prompt whose spellings of the template's tokens are text, and never the tokens.

A tokenizer reads "<|im_end|>" as the token that ends a message wherever it stands, in a document
too. So where a part of the prompt that is not the template's spells such a token, its spelling is
cut after the first character and both parts are read by themselves.
"""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from normxlogit.errors import InputError
from normxlogit.text.offsets import RecoveredEncoding
from normxlogit.text.words import Span, owners


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids of special tokens, and of added ones that the chat template writes."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = tokenizer.added_tokens_decoder.items()
    written = {i for i, token in added if token.content.strip() and token.content in template}
    unknown = {tokenizer.unk_token_id}  # stands for characters of the text
    return frozenset({*tokenizer.all_special_ids, *written} - unknown)


def spell_out(
    batch: BatchEncoding,
    text: str,
    parts: Sequence[Span],
    tokenizer: PreTrainedTokenizerBase,
    encode: Callable[[str], Any],
) -> BatchEncoding:
    """Return a batch of one text in which parts of it hold no token of the template.

    Args:
        batch: the text in tokens, with offsets.
        text: the text.
        parts: the first character and last + 1 of each part that is to be read as text.
        tokenizer: made the batch.
        encode: makes an encoding of a text, without the tokens that a tokenizer adds.

    Raises:
        InputError: a part holds a token that the tokenizer cannot read otherwise.
    """
    (encoding,) = batch.encodings or []
    controls = control_ids(tokenizer)
    owner = owners(text, encoding.offsets, parts)
    spelled = {
        number
        for number, token in enumerate(encoding.ids)
        if token in controls and owner[number] >= 0 and encoding.sequence_ids[number] is not None
    }
    if not spelled:
        return batch
    ids, tokens, offsets, sequences = list[int](), list[str](), list[Span](), list[Any]()
    for number, (token, name, span, sequence) in enumerate(
        zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.sequence_ids, strict=True)
    ):
        pieces = [(token, name, span)]
        if number in spelled:
            pieces = _spelling(text, (span[0], span[1]), controls, encode)
        for piece in pieces:
            for values, value in zip((ids, tokens, offsets), piece, strict=True):
                values.append(value)  # type: ignore[attr-defined]
            sequences.append(sequence)
    data = {**batch.data, "input_ids": [ids], "attention_mask": [[1] * len(ids)]}
    if "token_type_ids" in data:
        data["token_type_ids"] = [[0] * len(ids)]
    whole: Any = [RecoveredEncoding(ids, tokens, sequences, offsets)]
    return BatchEncoding(data, encoding=whole, n_sequences=1)


def _spelling(
    text: str, span: Span, controls: frozenset[int], encode: Callable[[str], Any]
) -> list[tuple[int, str, Span]]:
    """Return the tokens of a part of the text, none of them one of the template's."""
    start, end = span
    if end - start < 2:
        raise InputError(
            f"the tokenizer reads {text[start:end]!r} as a token of its template, whatever stands "
            "around it. Leave that character out of documents, messages and answers."
        )
    pieces = list[tuple[int, str, Span]]()
    for first, last in ((start, start + 1), (start + 1, end)):
        encoding = encode(text[first:last])
        for token, name, (a, b) in zip(
            encoding.ids, encoding.tokens, encoding.offsets, strict=True
        ):
            place = (first + a, first + b)
            if token in controls:
                pieces += _spelling(text, place, controls, encode)
            else:
                pieces.append((token, name, place))
    return pieces
