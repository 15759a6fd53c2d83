"""What commands check before torch is imported, which takes longer than to say what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normxlogit.cli.model import ModelOptions, prefer_cached_data
from normxlogit.cli.options import READOUTS
from normxlogit.data.rows import Columns
from normxlogit.errors import InputError, OptionError
from normxlogit.methods import find_declaration
from normxlogit.methods.catalogue import default_method
from normxlogit.model.loading.names import DEMO, check_dtype, check_model_name

if TYPE_CHECKING:
    from normxlogit.results.text import Failure


def check_model(options: ModelOptions) -> None:
    """Find out whether there may be such a model, and is such a head.

    Raises:
        ModelError: the model is neither a folder with one, nor an id on the Hub.
        OptionError: there is no such dtype.
        InputError: there is no such head.
    """
    check_dtype(options.dtype)
    if options.model != DEMO:
        check_model_name(options.model, gguf_file=options.gguf_file)
    if options.head not in (None, DEMO) and not Path(options.head).exists():
        raise InputError(f"there is no file {options.head}.")


def check_method(
    name: str | None, options: Mapping[str, Any], layer: Any, head: str | None = None
) -> None:
    """Raise `OptionError` for a method, an option of it or a layer that does not exist."""
    default = default_method(has_head=head is not None)
    find_declaration(default if name is None else name).check(options, layer)


def check_readout(name: str | None) -> None:
    """Raise `OptionError` unless some model has this readout."""
    if name is not None and name not in READOUTS:
        raise OptionError(f"there is no readout {name!r:.80}; use one of {', '.join(READOUTS)}.")


def check_sampling(max_new_tokens: int, temperature: float | None, top_p: float | None) -> None:
    """Raise `OptionError` for a number that no model generates with."""
    from normxlogit.data.option_checks import real_number, whole_number

    whole_number("max_new_tokens", max_new_tokens)
    if temperature is not None and real_number("temperature", temperature, least=0) == 0:
        raise OptionError(
            "temperature must be above 0, got 0. For the likeliest tokens leave out --sample."
        )
    if top_p is not None:
        real_number("top_p", top_p, least=0, most=1)


def find_blank(inputs: Sequence[Any]) -> "list[Failure]":
    """Return why there is nothing to explain if that is so of every input; else an empty list.

    Args:
        inputs: texts, or a text with a second one or with choices.
    """
    from normxlogit.results.text import Failure
    from normxlogit.text.validation import check_text

    failures = []
    for item in inputs:
        text, *rest = item if isinstance(item, tuple) else (item,)
        try:
            check_text([text, *(rest[0] if rest and isinstance(rest[0], list) else rest)], False)
        except InputError as error:
            failures.append(Failure(item, error))
    return failures if len(failures) == len(inputs) else []


def check_source(
    source: str, columns: Columns, *, subset: str | None, split: str | None, strict: bool = True
) -> None:
    """Find out whether there are rows to read; if `strict`, in every file.

    Raises:
        InputError: there is nothing to read, or it lacks a column.
        OptionError: a subset or split of something other than a data set.
        MissingExtraError: what reads it is not installed.
    """
    from normxlogit.data.source import open_source

    prefer_cached_data(source)
    open_source(source, subset=subset, split=split).check(columns, strict=strict)
