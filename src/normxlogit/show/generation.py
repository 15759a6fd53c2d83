"""Generations: an answer, and the words of the prompt that the parts of it rest on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation_layout import WORDS, Exhibit
from normxlogit.show.markup import legend, look, signed, track
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


def body(result: GenerationAttribution) -> str:
    """HTML of a generation: prompt, answer, and the words that it rests on."""
    shown = Exhibit(result)
    scores = shown.summed(shown.whole)
    meaning = phrases.meaning(shown.words, "the answer, or what is selected of it")
    layers = result.layers
    note = (
        f" Shown is layer {layers[-1]}, of {phrases.layer_names(layers)}."
        if len(layers) > 1
        else ""
    )
    data = _json(_data(shown))
    return (
        '<div class="nx-columns">\n<div class="nx-main">\n'
        '<p class="nx-hint" hidden>Point at a word of the answer, or select several, to see what '
        "they rest on.<span> With the keyboard: arrows move, Shift+arrows extend, Esc shows the "
        "whole answer.</span></p>\n"
        f"{_prompt(shown, scores)}{_answer(shown, scores)}"
        f"{legend(meaning, f'{meaning.sentence} {phrases.unit_note(shown.words)}{note}')}"
        "</div>\n"
        f'<aside class="nx-panel">{_panel(shown, scores)}</aside>\n</div>\n'
        f'<script type="application/json">{data}</script>\n'
    )


def _prompt(shown: Exhibit, scores: Floats) -> str:
    words, largest = shown.words, shown.scale(scores)
    placed = list(_placed(words))
    marks = [
        (start, end, _mark(shown, column, text, scores, largest))
        for column, start, end, text in placed
    ]
    if not words.messages:
        inner = f'<div class="nx-text" dir="auto">{_region(words.prompt, 0, marks)[0]}</div>\n'
        heading = "Prompt"
    else:
        heading = "Conversation"
        inner, at = "", 0
        for message in words.messages:
            frame, at = _region(words.prompt[: message.start], at, marks)
            content, at = _region(words.prompt[: message.end], at, marks)
            inner += _frame(frame)
            inner += (
                f'<section class="nx-message"><h4>{escape(phrases.visible(message.role))}</h4>'
                f'<div class="nx-text" dir="auto">{content}</div></section>\n'
            )
        inner += _frame(_region(words.prompt, at, marks)[0])
    return (
        f'<h3>{heading}</h3>\n<div class="nx-prompt" tabindex="0" role="region" '
        f'aria-label="{heading}">\n{inner}</div>\n'
    )


def _frame(html: str) -> str:
    """What stands between messages, on one line."""
    html = html.strip().replace("\n", "↵")
    return f'<div class="nx-frame">{html}</div>\n' if html else ""


def _placed(words: GenerationAttribution) -> Iterator[tuple[int, int, int, str]]:
    """The columns of the prompt, each with its first character, last + 1, and its text.

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
            found = next((p for p in (at, at + space) if prompt.startswith(name, p)), None)
            start, end = (at, at) if found is None else (found, found + len(name))
            text = phrases.one_line(name)
        else:
            start = max(at, end - len(prompt[start:end].lstrip()))
            text = phrases.visible(prompt[start:end])
        at = max(at, end)
        yield column, start, end, text


def _mark(shown: Exhibit, column: int, text: str, scores: Floats, largest: float) -> str:
    score = float(scores[column])
    if shown.coloured[column]:
        looks = look(0.0 if np.isnan(score) else score / largest)
    else:
        looks = ' class="nx-special"'
    return f'<mark data-column="{column}"{looks}>{escape(text)}</mark>'


def _region(text: str, at: int, marks: Sequence[tuple[int, int, str]]) -> tuple[str, int]:
    """The text from a character on as HTML with the marks that begin in it; where it ends."""
    html, begin = "", at
    for start, end, mark in marks:
        if begin <= start < len(text) or (start == end == len(text) and start >= at):
            html += escape(phrases.visible(text[at:start])) + mark
            at = max(at, end)
    return html + escape(phrases.visible(text[at:])), max(at, len(text))


def _answer(shown: Exhibit, scores: Floats) -> str:
    answer, largest, at, html = shown.words.answer, shown.scale(scores), 0, ""
    words, explained = shown.words, _explained(shown)
    for column in np.flatnonzero((words.segments == 1) & ~words.special).tolist():
        start, end = map(int, words.offsets[column])
        if at <= start < end <= shown.cells[0].span[0]:
            mark = _mark(shown, column, phrases.visible(answer[start:end]), scores, largest)
            html += escape(phrases.visible(answer[at:start])) + mark
            at = end
    last = max((n for n, cell in enumerate(shown.cells) if cell.targets[-1] in shown.whole))
    for number, cell in enumerate(shown.cells):
        start, end = cell.span
        html += escape(phrases.visible(answer[at:start])) if start > at else ""
        score = float(scores[cell.column]) if cell.column >= 0 else 0.0
        share = 0.0 if np.isnan(score) or number >= last else score / largest
        names = ["nx-special"] * cell.special + ["nx-explained"] * (explained != WHOLE)
        looks = look(share, " ".join(names))
        html += f'<mark data-cell="{number}"{looks}>{escape(cell.text)}</mark>'
        part = answer[start:end]
        trailing = part[len(part.rstrip()) :]
        html += escape(phrases.visible(trailing))
        at = max(at, end)
    html += escape(phrases.visible(answer[at:]))
    return (
        f'<h3>Answer</h3>\n<div class="nx-text nx-answer" dir="auto" aria-label="Answer">{html}'
        '</div>\n<p class="nx-live" aria-live="polite"></p>\n'
    )


def _panel(shown: Exhibit, scores: Floats) -> str:
    rows = shown.top(scores)
    listed = scores[rows]
    low, high = float(-listed.min(initial=0.0)), float(listed.max(initial=0.0))
    largest = shown.scale(scores)
    words = "".join(
        f'<tr><th scope="row" dir="auto">{escape(phrases.one_line(shown.words.tokens[row]))}</th>'
        f'<td class="nx-number">{signed(score, largest)}</td>{track(score, low, high)}</tr>\n'
        for row, score in zip(rows, listed.tolist(), strict=True)
    )
    sums = np.array([float(part.scores[shown.whole].sum()) for part in shown.parts])
    low, high = float(-sums.min(initial=0.0)), float(sums.max(initial=0.0))
    parts = "".join(
        f'<tr><th scope="row">{escape(phrases.one_line(part.name))}</th>'
        f'<td class="nx-number">{signed(score, phrases.scale(sums))}</td>'
        f"{track(score, low, high)}</tr>\n"
        for part, score in zip(shown.parts, sums.tolist(), strict=True)
    )
    rest = float(shown.rest[shown.whole].sum())
    return (
        f'<h3 class="nx-what">{escape(_explained(shown))}</h3>\n'
        '<p class="nx-chance nx-quiet"></p>\n'
        '<p><button class="nx-clear" type="button" hidden>Show the whole answer</button></p>\n'
        '<table class="nx-bars nx-words">'
        "<caption>rests most on these words of the prompt</caption>\n"
        f"<tbody>\n{words}</tbody></table>\n"
        '<table class="nx-bars nx-parts"><caption>and in sum, on all words of</caption>\n'
        f"<tbody>\n{parts}</tbody></table>\n"
        '<p class="nx-quiet nx-rest-note">Not listed or coloured, dotted: '
        f"{_rest_name(shown)}, together "
        f'<span class="nx-rest">{signed(rest, max(abs(rest), 1e-6))}</span>.</p>\n'
    )


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
