"""Generations in a terminal: the answer, and for each of its sentences the words it rests on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation.layout import WORDS, GenerationLayout
from normxlogit.show.generation.message import message
from normxlogit.show.meaning import is_signed, score_meaning
from normxlogit.show.terminal import DIM, LABEL, bar_lines, field, legend, provenance, sentence
from normxlogit.text.words import sentence_spans

SENTENCES = 12
"""For how many sentences of an answer words are listed."""


def render(result: GenerationAttribution, *, streamed: bool = False) -> RenderableType:
    """Return what rich prints of a generation, without its answer if that has been `streamed`."""
    return GenerationReport(result, streamed)


@dataclass(frozen=True)
class GenerationReport:
    """A generation as rich prints it."""

    result: GenerationAttribution
    streamed: bool

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        layout, width = GenerationLayout(self.result), options.max_width
        answer = layout.words.answer
        yield sentence(message(layout))
        yield Text()
        prompt = " ".join(phrases.visible(_prompt(layout.words)).split())
        yield field("Prompt", Text(phrases.shortened(prompt, 2 * width - 30)))
        if not self.streamed:
            yield field("Answer", Text(phrases.visible(answer.strip()), LABEL, overflow="fold"))
        if layout.cut is not None:
            yield field("Ended" if self.streamed else "", Text(layout.cut, DIM))
        # The space after a sentence belongs to the first token of the next one.
        ends = ((a, a + len(answer[a:b].rstrip())) for a, b in sentence_spans(answer))
        spans = [span for span in ends if layout.targets_within(*span)]
        parts = [("", layout.whole, WORDS)]
        if len(spans) > 1:
            parts = [
                (f"{_quoted(answer[a:b], width)} ", layout.targets_within(a, b), 5)
                for a, b in spans[:SENTENCES]
            ]
        listed = []
        for name, targets, count in parts:
            scores = layout.summed(targets)
            rows = layout.top(scores, count)
            listed.append(scores[rows])
            yield Text()
            yield Text.assemble((name, LABEL), ("rests most on", DIM))
            yield from _words(layout, targets, rows, width)
        if len(spans) > SENTENCES:
            yield Text()
            yield Text(f"The first {SENTENCES} of {len(spans)} sentences.", DIM)
        yield Text()
        meaning = score_meaning(layout.words, "it").shown(np.concatenate(listed))
        yield from legend(meaning, " ".join(_notes(layout)))
        yield Text()
        yield provenance(layout.words)


def _quoted(part: str, width: int) -> str:
    """Return a sentence of the answer on a line."""
    line = " ".join(phrases.visible(part).split())
    return phrases.quoted(phrases.shortened(line, max(20, width - 20)))


def _prompt(words: GenerationAttribution) -> str:
    """Return the prompt, or what a chat's last message says."""
    if not words.messages:
        return words.prompt
    last = words.messages[-1]
    return f"{last.role}: {words.prompt[last.start : last.end]}"


def _words(
    layout: GenerationLayout, targets: Sequence[int], rows: Sequence[int], width: int
) -> Iterator[Text]:
    """Yield the words that these tokens rest on, by number, and the sums over parts."""
    scores = layout.summed(targets)
    names = [phrases.one_line(layout.words.tokens[row]) for row in rows]
    yield from bar_lines(
        names,
        scores[list(rows)],
        width,
        [False] * len(rows),
        layout.word_shares(scores, rows),
        signed=is_signed(layout.words),
    )
    yield Text(f"  Sums, as shares: {', '.join(_shares(layout, list(targets)))}", DIM)


def _shares(layout: GenerationLayout, targets: list[int]) -> Iterator[str]:
    """Yield the sum over each part, and over what is in none, as a share of all their sizes."""
    names = [*(phrases.one_line(part.name) for part in layout.parts), layout.rest_name]
    for name, share in zip(names, layout.shares(targets).tolist(), strict=True):
        yield f"{name} {phrases.share(share)}"


def _notes(layout: GenerationLayout) -> Iterator[str]:
    """Yield sentences that say what shares are of, and what is meant by the template."""
    if layout.has_shares:
        yield "A word's % is of the scores of all words of the prompt, signs aside."
    if layout.rest_meaning is not None:
        yield f"{layout.rest_name.capitalize()} is {layout.rest_meaning}."
