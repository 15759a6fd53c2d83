"""Prompts in batches."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from normxlogit.data.option_checks import whole_number
from normxlogit.errors import InputError, NormXLogitError
from normxlogit.generation.texts import Generator
from normxlogit.methods import find_declaration
from normxlogit.query import Query
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.text import Failure
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.tasks.splitting import explain_or_split
from normxlogit.text.chat import is_chat, take_template_options
from normxlogit.text.encoded import Encoded
from normxlogit.text.lengths import MOST_TOGETHER

Generated = GenerationAttribution | list[GenerationAttribution] | Failure
"""What becomes of a prompt: its sequence, or its sequences if several were asked for."""


def generate(
    generator: Generator,
    task_explainer: TaskExplainer,
    prompts: Sequence[Any],
    query: Query,
    batch_size: int,
    options: Mapping[str, Any],
    template: Mapping[str, Any],
) -> list[Generated]:
    """Generate from prompts: what came of each, in order; a `Failure` where nothing did.

    Raises:
        OptionError: the options do not fit the model.
    """
    batch_size = whole_number("batch_size", batch_size, most=MOST_TOGETHER)
    results: dict[int, Generated] = {}
    texts: dict[int, Encoded] = {}
    encoded = task_explainer.encode_all(prompts, InputOptions(template=template))
    for index, text in enumerate(encoded):
        if isinstance(text, InputError):
            results[index] = Failure(prompts[index], text)
        else:
            texts[index] = text

    def length(index: int) -> int:
        return len(texts[index])

    def sequences(batch: Sequence[int]) -> list[list[GenerationAttribution]]:
        return generator.generate([texts[index] for index in batch], query, options)

    groups = [sorted(texts, key=length)]
    if not generator.takes_padding():
        groups = [list(alike) for _, alike in itertools.groupby(groups[0], key=length)]
    for group in groups:
        for start in range(0, len(group), batch_size):
            batch = group[start : start + batch_size]
            for index, answer in zip(batch, explain_or_split(batch, sequences), strict=True):
                if isinstance(answer, NormXLogitError):
                    results[index] = Failure(prompts[index], answer)
                else:
                    results[index] = answer[0] if len(answer) == 1 else answer
    return [results[index] for index in range(len(prompts))]


def generation_query(method: str, readout: str | None, options: dict[str, Any]) -> Query:
    """The query for generated text; the method's own options are taken out of `options`."""
    names = find_declaration(method).options
    return Query(
        method=method,
        readout=readout,
        options={name: options.pop(name) for name in names if name in options},
    )


def template_options(
    tokenizer: Any, prompts: Sequence[Any], options: dict[str, Any]
) -> dict[str, Any]:
    """The options of the chat template, taken out of `options`, if a prompt is a chat."""
    return take_template_options(tokenizer, options) if any(map(is_chat, prompts)) else {}
