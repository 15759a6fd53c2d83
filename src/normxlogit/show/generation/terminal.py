"""Generations in a terminal: the answer, and for each of its sentences the words it rests on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation.layout import WORDS, GenerationLayout, Part
from normxlogit.show.meaning import score_meaning
from normxlogit.show.terminal import DIM, LABEL, bar_lines, field, legend, provenance
from normxlogit.text.words import sentence_spans

SENTENCES = 12
"""For how many sentences of an answer words are listed."""


def render(result: GenerationAttribution) -> RenderableType:
    """Return what rich prints of a generation."""
    return GenerationReport(result)


@dataclass(frozen=True)
class GenerationReport:
    """A generation as rich prints it."""

    result: GenerationAttribution

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        layout, width = GenerationLayout(self.result), options.max_width
        answer = layout.words.answer
        prompt = " ".join(phrases.visible(_prompt(layout.words)).split())
        yield field("Prompt", Text(phrases.shortened(prompt, 2 * width - 30)))
        yield field("Answer", Text(phrases.visible(answer.strip()), LABEL, overflow="fold"))
        # The space after a sentence belongs to the first token of the next one.
        ends = ((a, a + len(answer[a:b].rstrip())) for a, b in sentence_spans(answer))
        spans = [span for span in ends if layout.targets_within(*span)]
        if len(spans) < 2:
            yield Text()
            yield Text("rests most on", DIM)
            yield from _words(layout, layout.whole, width, WORDS)
        for start, end in spans[:SENTENCES] if len(spans) > 1 else ():
            sentence = " ".join(phrases.visible(answer[start:end]).split())
            quoted = f"“{phrases.shortened(sentence, max(20, width - 20))}”"
            yield Text()
            yield Text.assemble((quoted, LABEL), (" rests most on", DIM))
            yield from _words(layout, layout.targets_within(start, end), width, 5)
        if len(spans) > SENTENCES:
            yield Text()
            yield Text(f"The first {SENTENCES} of {len(spans)} sentences.", DIM)
        yield Text()
        yield from legend(score_meaning(layout.words, "it"), "")
        yield Text()
        yield provenance(layout.words)


def _prompt(words: GenerationAttribution) -> str:
    """Return the prompt, or what a chat's last message says."""
    if not words.messages:
        return words.prompt
    message = words.messages[-1]
    return f"{message.role}: {words.prompt[message.start : message.end]}"


def _words(
    layout: GenerationLayout, targets: Sequence[int], width: int, count: int
) -> Iterator[Text]:
    """Yield the words that these tokens rest on, and the sums over parts."""
    scores = layout.summed(targets)
    rows = layout.top(scores, count)
    names = [phrases.one_line(layout.words.tokens[row]) for row in rows]
    yield from bar_lines(names, scores[rows], width, [False] * len(rows))
    yield Text(f"  Sums, as shares: {', '.join(_shares(layout, list(targets)))}", DIM)


def _shares(layout: GenerationLayout, targets: list[int]) -> Iterator[str]:
    """Yield the sum over each part, and over what is in none, as a share of all their sizes."""
    frame = "the template" if layout.words.messages else "special tokens"
    parts = [*layout.parts, Part(frame, layout.rest)]
    sums = [float(part.scores[targets].sum()) for part in parts]
    whole = sum(map(abs, sums)) or 1.0
    for part, total in zip(parts, sums, strict=True):
        share = 100 * total / whole
        yield f"{phrases.one_line(part.name)} {share:.{0 if abs(share) >= 10 else 1}f} %"
