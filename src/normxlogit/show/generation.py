"""Generations: an answer, and the words of the prompt that the parts of it rest on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from normxlogit.results.base import Floats
from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation_layout import WORDS, Exhibit
from normxlogit.show.markup import BarRow, bar_rows, signed
from normxlogit.show.templating import fill
from normxlogit.text.words import sentence_spans

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.text import Text

ASSETS = ("generation.css", "generation.js")

WHOLE = "The whole answer"

SENTENCES = 12
"""For how many sentences of an answer the terminal lists words."""

PLOT = (60, 80)
"""How many tokens of the answer and words of the prompt a plot has at most."""


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
    """A message of a chat, what stands between messages, or a prompt without any.

    Attributes:
        role: whose message it is; None if it is none.
        is_frame: whether it stands between messages.
        marks: its text.
    """

    role: str | None
    is_frame: bool
    marks: list[Mark]


def body(result: GenerationAttribution) -> Markup:
    """Return the HTML of a generation: prompt, answer, and the words that it rests on."""
    shown = Exhibit(result)
    scores = shown.summed(shown.whole)
    layers = result.layers
    note = phrases.unit_note(shown.words)
    if len(layers) > 1:
        note += f" Shown is layer {layers[-1]}, of {phrases.layer_names(layers)}."
    rest = float(shown.rest[shown.whole].sum())
    values = {
        "heading": "Conversation" if shown.words.messages else "Prompt",
        "prompt": list(_prompt(shown, scores)),
        "answer": list(_answer(shown, scores)),
        "meaning": phrases.meaning(shown.words, "the answer, or what is selected of it"),
        "note": note,
        "explained": _explained(shown),
        "words": _word_rows(shown, scores),
        "parts": _part_rows(shown),
        "rest_name": _rest_name(shown),
        "rest": signed(rest, max(abs(rest), 1e-6)),
        "data": Markup(_json(_data(shown))),
    }
    return fill("generation.html", values)


def _prompt(shown: Exhibit, scores: Floats) -> Iterator[PromptPart]:
    words, largest = shown.words, shown.scale(scores)
    placed = [
        (start, end, _mark(shown, column, text, scores, largest))
        for column, start, end, text in _placed(words)
    ]
    if not words.messages:
        yield PromptPart(None, False, _region(words.prompt, 0, placed)[0])
        return
    at = 0
    for message in words.messages:
        frame, at = _region(words.prompt[: message.start], at, placed)
        content, at = _region(words.prompt[: message.end], at, placed)
        yield from _frame(frame)
        yield PromptPart(message.role, False, content)
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


def _mark(shown: Exhibit, column: int, text: str, scores: Floats, largest: float) -> Mark:
    if not shown.coloured[column]:
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


def _answer(shown: Exhibit, scores: Floats) -> Iterator[Mark]:
    answer, largest, at = shown.words.answer, shown.scale(scores), 0
    words, is_part = shown.words, _explained(shown) != WHOLE
    for column in np.flatnonzero((words.segments == 1) & ~words.special).tolist():
        start, end = map(int, words.offsets[column])
        if at <= start < end <= shown.cells[0].span[0]:
            yield from _between(answer[at:start])
            yield _mark(shown, column, phrases.visible(answer[start:end]), scores, largest)
            at = end
    last = max(n for n, cell in enumerate(shown.cells) if cell.targets[-1] in shown.whole)
    for number, cell in enumerate(shown.cells):
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


def _word_rows(shown: Exhibit, scores: Floats) -> list[BarRow]:
    rows = shown.top(scores)
    names = [phrases.one_line(shown.words.tokens[row]) for row in rows]
    return bar_rows(names, scores[rows].tolist(), shown.scale(scores))


def _part_rows(shown: Exhibit) -> list[BarRow]:
    sums = np.array([float(part.scores[shown.whole].sum()) for part in shown.parts])
    names = [phrases.one_line(part.name) for part in shown.parts]
    return bar_rows(names, sums.tolist(), phrases.scale(sums))


def _explained(shown: Exhibit) -> str:
    """The whole answer, unless only some of its tokens are explained."""
    start, end = shown.cells[0].span[0], shown.cells[-1].span[1]
    answer = shown.words.answer
    if not (answer[:start].strip() or answer[end:].strip()):
        return WHOLE
    text = answer[start:end].strip()
    return f"“{phrases.shortened(phrases.one_line(text)) or shown.cells[0].text}”"


def _rest_name(shown: Exhibit) -> str:
    frame = " and what stands around the messages" if shown.words.messages else ""
    return f"special tokens{frame}"


def _data(shown: Exhibit) -> dict[str, Any]:
    """What the script needs: for each cell a row of scores, and what the numbers stand for."""
    columns = [
        0 if not coloured else 2 if ranked else 1
        for coloured, ranked in zip(shown.coloured, shown.ranked, strict=True)
    ]
    targets = shown.words.targets
    chances = []
    for cell in shown.cells:
        own = [targets[n].probability for n in cell.targets]
        known = [p for p in own if p is not None]
        chances.append(_rounded(float(np.prod(known))) if len(known) == len(own) else None)
    rows = []
    for cell in shown.cells:
        row = [None if np.isnan(s) else _rounded(s) for s in shown.summed(cell.targets).tolist()]
        while row and row[-1] is None:
            row.pop()
        rows.append(row)
    return {
        "names": [phrases.one_line(token) for token in shown.words.tokens],
        "columns": columns,
        "cells": [[cell.column, int(cell.special)] for cell in shown.cells],
        "chances": chances,
        "rows": rows,
        "parts": [
            [_rounded(float(part.scores[cell.targets].sum())) for cell in shown.cells]
            for part in shown.parts
        ],
        "rest": [_rounded(float(shown.rest[cell.targets].sum())) for cell in shown.cells],
        "part_names": [phrases.one_line(part.name) for part in shown.parts],
    }


def _rounded(value: float) -> float | int:
    """Four significant digits, which JSON writes shortest."""
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _json(data: Any) -> str:
    """JSON that nothing in an HTML script element can be mistaken in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


def render(result: GenerationAttribution) -> "RenderableType":
    """What rich prints of a generation."""
    return Report(result)


@dataclass(frozen=True)
class Report:
    """A generation as rich prints it."""

    result: GenerationAttribution

    def __rich_console__(self, _console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        from normxlogit.show.terminal import DIM, LABEL, field, legend

        shown = Exhibit(self.result)
        prompt = " ".join(phrases.visible(_asked(shown.words)).split())
        yield field("Prompt", Text(phrases.shortened(prompt, 2 * options.max_width - 30)))
        yield field(
            "Answer", Text(phrases.visible(shown.words.answer.strip()), LABEL, overflow="fold")
        )
        spans = [s for s in sentence_spans(shown.words.answer) if shown.targets_within(*s)]
        several, room = len(spans) > 1, max(20, options.max_width - 20)
        for start, end in spans[:SENTENCES] if several else [(0, 0)]:
            targets = shown.targets_within(start, end) if several else shown.whole
            what = " ".join(phrases.visible(shown.words.answer[start:end]).split())
            yield Text()
            if several:
                yield Text.assemble(
                    (f"“{phrases.shortened(what, room)}”", LABEL), (" rests most on", DIM)
                )
            else:
                yield Text("rests most on", DIM)
            yield from _lines(shown, targets, options.max_width, 5 if several else WORDS)
        if len(spans) > SENTENCES:
            yield Text()
            yield Text(f"The first {SENTENCES} of {len(spans)} sentences.", DIM)
        yield Text()
        yield from legend(phrases.meaning(shown.words, "it"), "")
        yield Text()
        made = shown.words.provenance
        yield Text(f"{phrases.how(shown.words)}; model {phrases.visible(made.model)}", DIM)


def _asked(words: GenerationAttribution) -> str:
    """The prompt, or what a chat's last message says."""
    if not words.messages:
        return words.prompt
    message = words.messages[-1]
    return f"{message.role}: {words.prompt[message.start : message.end]}"


def _lines(shown: Exhibit, targets: Sequence[int], width: int, count: int) -> "Iterator[Text]":
    """The words that these tokens rest on, and the sums over parts."""
    from rich.text import Text

    from normxlogit.show.terminal import DIM, bar_lines

    scores = shown.summed(targets)
    rows = shown.top(scores, count)
    names = [phrases.one_line(shown.words.tokens[row]) for row in rows]
    yield from bar_lines(names, scores[rows], width, [False] * len(rows))
    sums = np.array([part.scores[list(targets)].sum() for part in shown.parts])
    told = [
        f"{phrases.one_line(part.name)} {phrases.number(score, phrases.scale(sums))}"
        for part, score in zip(shown.parts, sums.tolist(), strict=True)
    ]
    yield Text(f"  Sums: {', '.join(told)}", DIM)


def figure(result: GenerationAttribution) -> "Figure":
    """A heat map of the answer's tokens by the prompt's words, the strongest if they are many.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from normxlogit.show.plot import draw_heat, new_figure, signs

    shown = Exhibit(result)
    cells = [cell for cell in shown.cells if not cell.special] or shown.cells
    columns = [int(i) for i in np.flatnonzero(shown.ranked)]
    scores = np.stack([shown.summed(cell.targets) for cell in cells])
    notes = []
    kept = list(range(len(cells)))
    if len(kept) > PLOT[0]:
        notes.append(f"the {PLOT[0]} strongest of the answer's {len(kept)} tokens")
        kept = phrases.strongest(np.nan_to_num(scores[:, columns]).T, kept, PLOT[0])
    if len(columns) > PLOT[1]:
        notes.append(f"the {PLOT[1]} strongest of the prompt's {len(columns)} words")
        columns = phrases.strongest(np.nan_to_num(scores[kept]), columns, PLOT[1])
    part = scores[np.ix_(kept, columns)]
    drawn = new_figure(3.0 + 0.19 * max(len(columns), 10), 2.2 + 0.19 * max(len(kept), 4))
    axes = drawn.subplots()
    draw_heat(axes, part, phrases.scale(np.nan_to_num(part)))
    names = [phrases.shortened(phrases.one_line(shown.words.tokens[i]), 24) for i in columns]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=8, parse_math=False)
    labels = [phrases.shortened(cells[i].text.replace("\n", "↵"), 24) for i in kept]
    axes.set_yticks(range(len(kept)), labels, fontsize=8, parse_math=False)
    axes.set_ylabel("token of the answer")
    meaning = phrases.meaning(shown.words, "the token")
    lines = ["word of the prompt", signs(meaning), *notes]
    axes.set_xlabel("\n".join(lines), parse_math=False)
    return drawn
