"""Checks of texts and tokenizers before anything is encoded."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from normxlogit.data.option_checks import one_of
from normxlogit.data.tables import check_items, check_table
from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONG = ("error", "truncate", "window")
"""What to do with a text that is over the model's limit."""


def check_long(long: object) -> None:
    """Raise `OptionError` unless `long` is one of `LONG`."""
    one_of("long", long, LONG)


def check_several(texts: object) -> None:
    """Raise `InputError` for one text, and for what is no list or iterator of them."""
    check_table(texts)
    check_items(texts)
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InputError(
            f"expected a list or an iterator of texts, got {type(texts).__name__}: {texts!r:.80}."
        )


def check_text(parts: Sequence[Any], is_split: bool) -> None:
    """Raise `InputError` unless the parts are texts (or lists of words) that are not blank.

    Half a character, a surrogate without its pair, is in no text: no file could hold the result.
    """
    for part in parts:
        if is_split and (isinstance(part, str) or not isinstance(part, Sequence)):
            raise InputError(
                f"with is_split_into_words a text is a list of words; got {type(part).__name__}."
            )
        pieces = part if is_split else [part]
        for piece in pieces:
            if not isinstance(piece, str):
                raise InputError(f"expected text, got {type(piece).__name__}: {piece!r:.80}.")
            if half := lone_surrogate(piece):
                raise InputError(
                    f"character {half.start()} of the text is {half[0]!r}, half a surrogate pair, "
                    "which tokenizers cannot read. Decode the text anew, or leave it out."
                )
        if not any(piece.strip() for piece in pieces):
            raise InputError("the text is empty or blank, so there is nothing to explain.")


def check_same_vocabulary(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel") -> None:
    """Raise `ModelError` unless tokenizer and model have vocabularies of about the same size.

    Every token that the tokenizer was trained with needs an embedding; of those that were added to
    it (a padding token, those of images) only the ones that a text uses do. Embeddings without a
    token are padding, up to a multiple that is fast to multiply by, and so must be few.
    """
    rows, size = vocabulary_size(model), len(tokenizer)
    if tokenizer.vocab_size > rows or size < 0.9 * rows:
        raise ModelError(
            f"the tokenizer has {size} tokens and the model {rows}, so they do not belong "
            "together. Load both from the same place, or give tensors to normxlogit.attribute."
        )


def vocabulary_size(model: "PreTrainedModel") -> int:
    """Return how many tokens a model has embeddings for."""
    return int(model.config.get_text_config().vocab_size)


def max_length(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel") -> int | None:
    """Return the most tokens that tokenizer and model both accept; None if neither has a limit."""
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    rows, padding = (getattr(table, name, None) for name in ("num_embeddings", "padding_idx"))
    # RoBERTa counts positions from padding_idx + 1, so the table's first rows are never used.
    usable = rows if rows is None or padding is None else rows - padding - 1
    limits = (stated, usable, tokenizer.model_max_length)
    # Tokenizers without a limit say 10**30.
    return min((n for n in limits if isinstance(n, int) and 0 < n < 10**9), default=None)


def are_words(inputs: Any) -> bool:
    """Whether a list is one text's words rather than several texts."""
    is_list = isinstance(inputs, list) and bool(inputs)
    return is_list and all(isinstance(word, str) for word in inputs)
