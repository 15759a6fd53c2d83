"""The attribution head that belongs to a model."""

from os import PathLike
from typing import Any

from transformers import PreTrainedModel

from normxlogit.errors import InputError, OptionError
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.tasks.digest import digest

HeadSource = AttributionHead | str | PathLike[str]
"""An attribution head, or its file."""


def head_of_model(
    source: HeadSource, model: PreTrainedModel, tokenizer: Any, name: str
) -> AttributionHead:
    """Return a head, read from its file if need be, that was fitted to this very model.

    Raises:
        InputError: it is that of another model, or the file holds none.
        OptionError: it is something else.
    """
    if isinstance(source, AttributionHead):
        head = source
    elif isinstance(source, (str, PathLike)):
        head = AttributionHead.load(source)
    else:
        raise OptionError(f"head is an attribution head or its file; got {source!r:.80}.")
    if head.record.model.get("weights") != digest(model, tokenizer, of_any_dtype=True):
        raise InputError(
            f"this attribution head was fitted to {head.record.model.get('name')!s:.80}, and the "
            f"model is {name:.80}, or its weights, its labels or its tokenizer have changed since. "
            "Give the head of this model, or fit one."
        )
    return head
