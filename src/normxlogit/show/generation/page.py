"""Generations as HTML: an answer, and the words of the prompt that the parts of it rest on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation.layout import GenerationLayout
from normxlogit.show.generation.message import message
from normxlogit.show.html import Body
from normxlogit.show.markup import BarRow, bar_rows, bars
from normxlogit.show.meaning import is_signed, layer_names, score_meaning, unit_note
from normxlogit.show.templating import fill, script_data

WHOLE = "The whole answer"


@dataclass(frozen=True)
class Mark:
    """A part of the prompt or the answer, on the page.

    Attributes:
        text: what is shown of it.
        column: the number of its word among the columns; None if it is not marked as a word.
        cell: the number of its cell of the answer; None if it is not marked as one.
        share: its score as a share of the largest; None without colour.
        classes: its classes, besides that of the colour.
    """

    text: str
    column: int | None = None
    cell: int | None = None
    share: float | None = None
    classes: str = ""


@dataclass(frozen=True)
class PromptPart:
    """A message of a chat, the text between messages, or a prompt without any.

    Attributes:
        role: whose message it is; None if it is none.
        is_frame: whether it stands between messages.
        marks: its text.
    """

    role: str | None
    is_frame: bool
    marks: list[Mark]


def body(result: GenerationAttribution) -> Body:
    """Return the HTML of a generation: prompt, answer, and the words that it rests on."""
    layout = GenerationLayout(result)
    scores = layout.summed(layout.whole)
    layers = result.layers
    note = unit_note(layout.words)
    if len(layers) > 1:
        note += f" This is layer {layers[-1]} of {layer_names(layers)}."
    *_, rest = layout.shares(layout.whole).tolist()
    values = {
        "message": message(layout),
        "heading": "Conversation" if layout.words.messages else "Prompt",
        "prompt": list(_prompt(layout, scores)),
        "answer": list(_answer(layout, scores)),
        "meaning": score_meaning(layout.words, "the answer, or the selected part of it").shown(
            layout.scores[:, layout.coloured]
        ),
        "note": note,
        "cut": layout.cut,
        "explained": layout.explained or WHOLE,
        "words": _word_rows(layout, scores),
        "has_shares": layout.has_shares,
        "parts": _part_rows(layout),
        "rest_name": layout.rest_name,
        "rest_meaning": layout.rest_meaning,
        "rest": phrases.share(rest),
        "data": script_data(_data(layout)),
    }
    html = fill("generation.html", values)
    return Body(html, styles=("generation.css",), scripts=("generation.js",))


def _prompt(layout: GenerationLayout, scores: Floats) -> Iterator[PromptPart]:
    words, largest = layout.words, layout.scale(scores)
    placed = [
        (start, end, _mark(layout, column, text, scores, largest))
        for column, start, end, text in _placed(words)
    ]
    if not words.messages:
        yield PromptPart(None, False, _region(words.prompt, 0, placed)[0])
        return
    at = 0
    for turn in words.messages:
        frame, at = _region(words.prompt[: turn.start], at, placed)
        content, at = _region(words.prompt[: turn.end], at, placed)
        yield from _frame(frame)
        yield PromptPart(turn.role, False, content)
    yield from _frame(_region(words.prompt, at, placed)[0])


def _frame(marks: list[Mark]) -> Iterator[PromptPart]:
    """Put what stands between messages on one line, if there is anything."""
    if not any(mark.column is not None or mark.text.strip() for mark in marks):
        return
    texts = [mark.text for mark in marks]
    if marks[0].column is None:
        texts[0] = texts[0].lstrip()
    if marks[-1].column is None:
        texts[-1] = texts[-1].rstrip()
    lines = [
        replace(mark, text=text.replace("\n", "↵")) for mark, text in zip(marks, texts, strict=True)
    ]
    yield PromptPart(None, True, lines)


def _placed(words: GenerationAttribution) -> Iterator[tuple[int, int, int, str]]:
    """Find the columns of the prompt: for each its first character, last + 1, and its text.

    Special tokens that have no place of their own in the text are looked for where they follow.
    """
    prompt, at = words.prompt, 0
    answered = [*np.flatnonzero(words.segments == 1).tolist(), len(words)][0]
    if words.targets[0].position is not None:
        answered = min(answered, words.targets[0].position + 1)
    for column in range(answered):
        start, end = map(int, words.offsets[column])
        if not (words.special[column] or prompt[start:end].strip()):
            continue
        if end <= start:
            name, space = words.tokens[column], len(prompt[at:]) - len(prompt[at:].lstrip())
            place = next((p for p in (at, at + space) if prompt.startswith(name, p)), None)
            start, end = (at, at) if place is None else (place, place + len(name))
            text = phrases.one_line(name)
        else:
            start = max(at, end - len(prompt[start:end].lstrip()))
            text = phrases.visible(prompt[start:end])
        at = max(at, end)
        yield column, start, end, text


def _mark(layout: GenerationLayout, column: int, text: str, scores: Floats, largest: float) -> Mark:
    if not layout.coloured[column]:
        return Mark(text, column, classes="nx-special")
    score = float(scores[column])
    return Mark(text, column, share=0.0 if np.isnan(score) else score / largest)


def _region(text: str, at: int, placed: Sequence[tuple[int, int, Mark]]) -> tuple[list[Mark], int]:
    """Return the text from character `at` on, with the marks that begin in it; and its end."""
    parts, begin = list[Mark](), at
    for start, end, mark in placed:
        if begin <= start < len(text) or (start == end == len(text) and start >= at):
            parts += [*_between(text[at:start]), mark]
            at = max(at, end)
    return [*parts, *_between(text[at:])], max(at, len(text))


def _between(text: str) -> list[Mark]:
    """Return text that is not marked."""
    return [Mark(phrases.visible(text))] if text else []


def _answer(layout: GenerationLayout, scores: Floats) -> Iterator[Mark]:
    answer, largest, at = layout.words.answer, layout.scale(scores), 0
    words, is_part = layout.words, layout.explained is not None
    for column in np.flatnonzero((words.segments == 1) & ~words.special).tolist():
        start, end = map(int, words.offsets[column])
        if at <= start < end <= layout.cells[0].span[0]:
            yield from _between(answer[at:start])
            yield _mark(layout, column, phrases.visible(answer[start:end]), scores, largest)
            at = end
    whole = set(layout.whole)
    last = max(n for n, cell in enumerate(layout.cells) if not whole.isdisjoint(cell.targets))
    for number, cell in enumerate(layout.cells):
        start, end = cell.span
        yield from _between(answer[at:start])
        score = float(scores[cell.column]) if cell.column >= 0 else 0.0
        yield Mark(
            cell.text,
            cell=number,
            share=0.0 if np.isnan(score) or number >= last else score / largest,
            classes=" ".join(["nx-special"] * cell.special + ["nx-explained"] * is_part),
        )
        part = answer[start:end]
        yield from _between(part[len(part.rstrip()) :])
        at = max(at, end)
    yield from _between(answer[at:])


def _word_rows(layout: GenerationLayout, scores: Floats) -> list[BarRow]:
    rows = layout.top(scores)
    names = [phrases.one_line(layout.words.tokens[row]) for row in rows]
    bars = bar_rows(
        names, scores[rows].tolist(), layout.scale(scores), signed=is_signed(layout.words)
    )
    shares = layout.word_shares(scores, rows)
    return [replace(bar, share=share) for bar, share in zip(bars, shares, strict=True)]


def _part_rows(layout: GenerationLayout) -> list[BarRow]:
    *shares, _ = layout.shares(layout.whole).tolist()
    return [
        BarRow(phrases.one_line(part.name), phrases.share(share), drawn)
        for part, share, drawn in zip(layout.parts, shares, bars(shares), strict=True)
    ]


def _data(layout: GenerationLayout) -> dict[str, Any]:
    """Return the numbers that the script sums when a part of the answer is selected.

    `rows` has a row of scores for each cell, without the nan at its end; `columns` says of each
    word whether it may be listed (2), only coloured (1), or neither (0).
    """
    columns = [
        0 if not coloured else 2 if ranked else 1
        for coloured, ranked in zip(layout.coloured, layout.ranked, strict=True)
    ]
    rows = []
    for cell in layout.cells:
        scores = layout.summed(cell.targets).tolist()
        row = [None if np.isnan(score) else _rounded(score) for score in scores]
        while row and row[-1] is None:
            row.pop()
        rows.append(row)
    return {
        "signed": is_signed(layout.words),
        "shares": layout.has_shares,
        "names": [phrases.one_line(token) for token in layout.words.tokens],
        "columns": columns,
        "cells": [[cell.column, int(cell.special)] for cell in layout.cells],
        "chances": [_chance(layout, cell.targets) for cell in layout.cells],
        "rows": rows,
        "parts": [
            [_rounded(float(part.scores[cell.targets].sum())) for cell in layout.cells]
            for part in layout.parts
        ],
        "rest": [_rounded(float(layout.rest[cell.targets].sum())) for cell in layout.cells],
        "part_names": [phrases.one_line(part.name) for part in layout.parts],
    }


def _chance(layout: GenerationLayout, targets: Sequence[int]) -> float | None:
    """Return the probability of these tokens together; None if that of any is not known."""
    probabilities = [layout.words.targets[n].probability for n in targets]
    if None in probabilities:
        return None
    return _rounded(float(np.prod([p for p in probabilities if p is not None])))


def _rounded(value: float) -> float | int:
    """Round to four significant digits, which JSON writes shortest."""
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
