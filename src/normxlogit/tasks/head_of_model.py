"""The attribution head that belongs to a model."""

from importlib.resources import files
from os import PathLike
from typing import Any

from transformers import PreTrainedModel

from normxlogit.errors import InputError, OptionError
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.model.loading.names import DEMO
from normxlogit.tasks.digest import digest

HeadSource = AttributionHead | str | PathLike[str]
"""An attribution head, its file, or "demo" for that of the model inside this package."""


def read_head(source: HeadSource) -> AttributionHead:
    """Return a head, read from its file if need be.

    Raises:
        InputError: the file holds none.
        OptionError: it is something else.
    """
    if isinstance(source, AttributionHead):
        return source
    if not isinstance(source, (str, PathLike)):
        raise OptionError(f"head is an attribution head or its file; got {source!r:.80}.")
    if source == DEMO:
        source = str(files("normxlogit") / DEMO / "attribution_head.safetensors")
    return AttributionHead.load(source)


def head_of_model(
    source: HeadSource, model: PreTrainedModel, tokenizer: Any, name: str
) -> AttributionHead:
    """Return a head, see `read_head`, that was fitted to this very model.

    Raises:
        InputError: it is that of another model, or the file holds none.
        OptionError: it is something else.
    """
    head = read_head(source)
    if head.record.model.get("weights") != digest(model, tokenizer, of_any_dtype=True):
        raise InputError(
            f"this attribution head was fitted to {head.record.model.get('name')!s:.80}, and the "
            f"model is {name:.80}, or its weights, its labels or its tokenizer have changed since. "
            f"Give the head of this model, or fit one.{_rounding(head, model)}"
        )
    return head


def _rounding(head: AttributionHead, model: PreTrainedModel) -> str:
    """What to try first where one of both was loaded in float16 and the other was not.

    Weights that went through float16 may be others in bfloat16, in which models are compared.
    """
    fitted, loaded = head.record.model.get("dtype"), str(model.dtype).removeprefix("torch.")
    if (fitted == "float16") == (loaded == "float16"):
        return ""
    return (
        f" If it is the same model, loaded in {loaded}: load it in {fitted!s:.20}, as it was for "
        "the fit."
    )
