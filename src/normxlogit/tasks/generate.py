"""Prompts in batches."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from normxlogit.errors import InputError, NormXLogitError, OptionError, without_traceback
from normxlogit.generation.texts import Generator
from normxlogit.query import Query
from normxlogit.results.text import Failure
from normxlogit.tasks import Reader, Reading
from normxlogit.text.encoded import Encoded


def generated(
    generator: Generator,
    reader: Reader,
    prompts: Sequence[Any],
    query: Query,
    batch_size: int,
    options: Mapping[str, Any],
) -> list[Any]:
    """What is generated from prompts, each in its place; a `Failure` where it could not be.

    Raises:
        OptionError: the options do not fit the model.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError(f"batch_size must be a number from 1, got {batch_size!r}.")
    found: dict[int, Any] = {}
    texts: dict[int, Encoded] = {}
    for index, prompt in enumerate(prompts):
        try:
            texts[index] = reader.encode(prompt, Reading())
        except InputError as error:
            found[index] = Failure(prompt, without_traceback(error))

    def length(index: int) -> int:
        return len(texts[index])

    order = sorted(texts, key=length)
    groups = [order]
    if not generator.takes_padding():
        groups = [list(alike) for _, alike in itertools.groupby(order, key=length)]
    for group in groups:
        for start in range(0, len(group), batch_size):
            keys = group[start : start + batch_size]
            found.update(_tried(generator, texts, keys, query, options, prompts))
    return [found[index] for index in range(len(prompts))]


def _tried(
    generator: Generator,
    texts: Mapping[int, Encoded],
    keys: Sequence[int],
    query: Query,
    options: Mapping[str, Any],
    prompts: Sequence[Any],
) -> dict[int, Any]:
    """Generate from prompts together; if that fails, one by one, to tell which of them it is."""
    try:
        results = generator.generate([texts[key] for key in keys], query, options)
    except OptionError:
        raise
    except NormXLogitError as error:
        if len(keys) == 1:
            return {keys[0]: Failure(prompts[keys[0]], without_traceback(error))}
        parts = [_tried(generator, texts, [key], query, options, prompts) for key in keys]
        return {key: result for part in parts for key, result in part.items()}
    return {
        key: sequences[0] if len(sequences) == 1 else sequences
        for key, sequences in zip(keys, results, strict=True)
    }
