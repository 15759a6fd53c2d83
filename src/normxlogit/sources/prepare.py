"""From a prompt and its answer to a case: both in tokens, with the place of each source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError, OptionError, TooLongError
from normxlogit.generation.texts import Generator
from normxlogit.results.sources import Source
from normxlogit.sources.ablation import Ablation, TokenSpan
from normxlogit.sources.case import Case
from normxlogit.sources.prompt import SourcePrompt, find_part
from normxlogit.text.encoded import Encoded
from normxlogit.text.literal import control_ids
from normxlogit.text.words import Span, first_visible, owners, sentence_spans

MOST_NEW = 128
"""How many tokens an answer has at most, if the caller names no limit."""


@dataclass(frozen=True)
class Answer:
    """An answer in tokens.

    Attributes:
        ids: its tokens, an end token too.
        text: its text.
        offsets: first character and last + 1 of each token in it.
    """

    ids: tuple[int, ...]
    text: str
    offsets: tuple[Span, ...]


def prepare(
    generator: Generator,
    prompt: SourcePrompt,
    answer: Any,
    spans: Any,
    options: Mapping[str, Any],
    most_rows: int,
) -> tuple[Case, list[Span]]:
    """Return the case of a prompt and an answer, and the parts of the answer to be explained.

    Args:
        generator: of the model.
        prompt: the prompt and its sources.
        answer: the answer's text; None to generate one.
        spans: the parts of the answer, each a text that occurs in it once or its characters; None
            for its sentences.
        options: those of the model's `generate`.
        most_rows: how many prompts run together at most.

    Raises:
        TooLongError: the model does not take as many tokens.
        InputError: the answer is empty or cannot be read, or it has no such part.
        OptionError: an option does not fit.
        ModelError: the model cannot generate.
    """
    encoded = encode(generator, prompt)
    sources = _token_spans(encoded, prompt.blocks)
    for number, (start, end) in enumerate(sources, 1):
        if start == end:
            raise InputError(f"source {number} has no token that the model reads. Leave it out.")
    if answer is None:
        answered = _generated(generator, prompt, encoded, sources, options)
    else:
        for name in options:
            if not hasattr(generator.model.generation_config, name):
                raise OptionError(
                    f"neither the method nor generate has an option {name!r}. Leave it out."
                )
        answered = _given(generator, encoded, answer)
        _check_length(generator, prompt, encoded, sources, len(answered.ids))
    parts = _parts_of_answer(answered, spans)
    case = Case(
        generator=generator,
        prompt=encoded,
        ids=tuple(encoded.windows[0].inputs["input_ids"]),
        answer=answered.text,
        answer_ids=answered.ids,
        spans=tuple(numbers for _, numbers in parts),
        sources=tuple(sources),
        sentences=tuple(_sentences(encoded, source) for source in prompt.sources),
        ablation=Ablation(
            generator.model,
            encoded.windows[0].inputs["input_ids"],
            answered.ids,
            start=_start(generator),
            most_rows=most_rows,
        ),
    )
    return case, [span for span, _ in parts]


def encode(generator: Generator, prompt: SourcePrompt) -> Encoded:
    """Return a prompt in tokens."""
    return generator.encoder.prompt(
        prompt.text,
        prompt.parts,
        prompt.literal,
        prompt.messages,
        is_rendered=prompt.is_rendered,
    )


def _token_spans(encoded: Encoded, spans: Sequence[Span]) -> list[TokenSpan]:
    """Return the first token and last + 1 of parts of a prompt, which are in order.

    A token is in the part that holds its first visible character.
    """
    text, starts = encoded.texts[0], [start for start, _ in spans]
    tokens = np.flatnonzero(~encoded.special)
    firsts = [
        min(first_visible(text, start, end), end - 1) if end > start else start
        for start, end in encoded.offsets[tokens].tolist()
    ]
    owner = np.searchsorted(starts, firsts, "right") - 1
    ends = np.array([end for _, end in spans])
    owner[np.array(firsts) >= ends[owner]] = -1
    token_spans = []
    for number in range(len(spans)):
        inside = tokens[owner == number]
        first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        token_spans.append((first, last))
    return token_spans


def _sentences(encoded: Encoded, source: Source) -> tuple[TokenSpan, ...]:
    lead = source.text.index(source.text.strip())
    shift = source.start - lead
    return tuple(_token_spans(encoded, [(a + shift, b + shift) for a, b in source.sentences]))


def _start(generator: Generator) -> int:
    """Return the token that stands for a prompt of which nothing is left."""
    tokenizer = generator.encoder.tokenizer
    bos = tokenizer.bos_token_id
    return generator.encoder.filler if bos is None else int(bos)


def _check_length(
    generator: Generator,
    prompt: SourcePrompt,
    encoded: Encoded,
    sources: Sequence[TokenSpan],
    answer: int,
) -> None:
    """Raise `TooLongError` if the model does not take the prompt with so many answer's tokens."""
    limit, length = generator.encoder.max_length, len(encoded)
    if limit is None or length + answer <= limit:
        return
    what = "sources" if prompt.sources[0].kind != "document" else "documents"
    room = limit - answer - (length - sum(end - start for start, end in sources))
    fitting = list[int]()
    for number, (start, end) in enumerate(sources, 1):
        if end - start <= room:
            fitting.append(number)
            room -= end - start
    if room < 0 and length < limit:
        way_out = (
            f"Beside the prompt there is room for {limit - length}. Give a shorter answer, or set "
            "max_new_tokens to that"
        )
    elif room < 0:
        way_out = (
            f"Without the {what} that would still be {limit - room}. Shorten the rest of the "
            "prompt, or the answer"
        )
    elif not fitting:
        way_out = f"None of the {what} fits. Shorten them"
    elif len(fitting) == 1:
        way_out = f"Of the {what} number {fitting[0]} fits. Leave out the others, or shorten them"
    else:
        way_out = f"Of the {what} {_ranges(fitting)} fit. Leave out the others, or shorten them"
    raise TooLongError(
        f"the prompt has {length} tokens and the answer {answer}, and the model takes {limit} in "
        f"all. {way_out}."
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in words, such as "1 to 3 and 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [str(a) if a == b else f"{a} to {b}" if b > a + 1 else f"{a}, {b}" for a, b in runs]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _generated(
    generator: Generator,
    prompt: SourcePrompt,
    encoded: Encoded,
    sources: Sequence[TokenSpan],
    options: Mapping[str, Any],
) -> Answer:
    limit, options = generator.encoder.max_length, dict(options)
    lengths = ("max_new_tokens", "max_length", "generation_config")
    if not any(options.get(name) is not None for name in lengths):
        _check_length(generator, prompt, encoded, sources, 1)
        room = MOST_NEW if limit is None else limit - len(encoded)
        options["max_new_tokens"] = min(MOST_NEW, room)
    elif isinstance(count := options.get("max_new_tokens"), int) and count > 0:
        _check_length(generator, prompt, encoded, sources, count)
    options.setdefault("do_sample", False)
    ids = generator.answer(encoded, options)
    text, offsets = generator.encoder.answer(ids)
    kept = prompt.cut(text)
    if kept != text:
        offsets = [(start, min(end, len(kept))) for start, end in offsets if start < len(kept)]
        text, ids = kept, ids[: len(offsets)]
    if not text.strip():
        raise InputError(
            "the model said nothing: its answer is empty. Ask otherwise, or give an answer by "
            "answer=..."
        )
    return Answer(tuple(ids), text, tuple(offsets))


def _given(generator: Generator, encoded: Encoded, answer: Any) -> Answer:
    if not isinstance(answer, str):
        raise InputError(f"the answer must be a text, got {type(answer).__name__}: {answer!r:.80}.")
    if not answer.strip():
        raise InputError("the answer is empty, so there is nothing to explain. Give one, or none.")
    encoder = generator.encoder
    whole = [(0, len(answer))]
    alone = encoder.prompt(answer, whole, whole, (), is_rendered=True)
    spelled = list(alone.windows[0].inputs["input_ids"])
    ids = encoder.continuation(encoded, answer, is_answer=False)
    # What the answer spells of the template is text, as in a document.
    if control_ids(encoder.tokenizer) & set(ids):
        ids = spelled
    if spelled == ids:
        offsets = [
            (start, start if special else end)
            for (start, end), special in zip(
                alone.offsets.tolist(), alone.special.tolist(), strict=True
            )
        ]
        return Answer(tuple(ids), answer, tuple(offsets))
    # Together with the prompt's end it makes other tokens, which are decoded.
    text, decoded = encoder.answer(ids)
    shift = len(answer) - len(answer.lstrip()) - (len(text) - len(text.lstrip()))
    if text.strip() == answer.strip():
        return Answer(tuple(ids), answer, tuple((max(0, a + shift), b + shift) for a, b in decoded))
    return Answer(tuple(ids), text, tuple(decoded))


def _parts_of_answer(answer: Answer, spans: Any) -> list[tuple[Span, NDArray[np.intp]]]:
    """Return parts of the answer, each with the numbers of its tokens."""
    if spans is None:
        named = sentence_spans(answer.text)
    elif isinstance(spans, (list, tuple)) and spans:
        named = [find_part(part, answer.text, f"the answer {answer.text!r:.80}") for part in spans]
    else:
        raise OptionError(
            "spans must be a list of parts of the answer, each a text that occurs in it once or "
            f"its first character and last + 1; got {spans!r:.80}."
        )
    # Special tokens, such as the end of the text, have no characters and are in no part.
    tokens = np.array([n for n, (a, b) in enumerate(answer.offsets) if b > a])
    offsets = np.array([answer.offsets[n] for n in tokens], np.int32).reshape(-1, 2)
    parts = []
    for start, end in named:
        numbers = tokens[owners(answer.text, offsets, [(start, end)]) >= 0]
        text = answer.text[start:end]
        if len(numbers) and text.strip():
            start += len(text) - len(text.lstrip())
            parts.append(((start, start + len(text.strip())), numbers))
        elif spans is not None:
            raise InputError(f"the part ({start}, {end}) of the answer holds no token.")
    if not parts:
        raise InputError("the answer has no token with text, so there is nothing to explain.")
    return parts
