"""A generation as it is shown: the answer in cells, the prompt in words, and their sums."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normxlogit.results.base import Floats
from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.scales import scale
from normxlogit.text.words import Span

WORDS = 8
"""How many words of the prompt are listed."""


@dataclass(frozen=True)
class Cell:
    """A token of the answer, or several that share a character.

    Attributes:
        text: what is shown of it.
        span: where that is in the answer; empty for what is not in the text.
        targets: the numbers of its tokens.
        special: whether it is a special token.
        column: the number of its word among the columns; -1 if it has none.
    """

    text: str
    span: Span
    targets: list[int]
    special: bool
    column: int


@dataclass(frozen=True)
class Part:
    """A message of a chat, the prompt, or the answer so far: its name and the sums over it.

    Attributes:
        name: what it is called.
        scores: float32 [answer].
    """

    name: str
    scores: Floats


class GenerationLayout:
    """A generation as it is shown: by words of the prompt, at its last layer.

    Attributes:
        words: with scores [answer, columns], the columns being words, those of the prompt first.
        scores: these scores, nan where a word is not before the token that is explained.
        ranked: whether a column is a word of the prompt that may be listed: not special, and of a
            chat inside a message, bool [columns].
        coloured: those, and the words of the answer, bool [columns].
        cells: the answer.
        parts: what the prompt consists of, and the answer so far.
        rest: the sums over special tokens and what frames a chat's messages, float32 [answer].
    """

    def __init__(self, result: GenerationAttribution) -> None:
        if "target" not in result.axes:
            result = replace(
                result,
                scores=result.scores[None],
                logits=None,
                axes=("target", *result.axes),
            )
        result = result.select(layer=result.layers[-1])
        self.words = words = result.words() if result.unit == "token" else result
        self.scores = words.scores
        in_prompt = words.segments == 0
        inside = np.array([self.message_at(int(start)) >= 0 for start in words.offsets[:, 0]])
        self.ranked: NDArray[np.bool_] = in_prompt & ~words.special & inside
        self.coloured: NDArray[np.bool_] = self.ranked | ((words.segments == 1) & ~words.special)
        self.cells = _cells(words)
        self.parts = list(self._parts())
        known = np.nansum(self.scores, -1)
        self.rest: Floats = known - sum(part.scores for part in self.parts)

    def message_at(self, character: int) -> int:
        """The number of the message that holds a character of the prompt, or -1.

        A text without messages is one.
        """
        if not self.words.messages:
            return 0
        spans = [(message.start, message.end) for message in self.words.messages]
        return next((n for n, (a, b) in enumerate(spans) if a <= character < b), -1)

    @property
    def whole(self) -> list[int]:
        """The targets that the answer as a whole consists of: all but special tokens."""
        plain = [n for n, special in enumerate(self.words.answer_special) if not special]
        return plain or list(range(len(self.words.targets)))

    def summed(self, targets: Sequence[int]) -> Floats:
        """The sums over these targets, [columns]; nan for what is not before the last of them."""
        total: Floats = np.nansum(self.scores[list(targets)], 0, dtype=np.float32)
        total[np.isnan(self.scores[targets[-1]])] = np.nan
        return total

    def scale(self, scores: Floats) -> float:
        """The score that gets the full colour: the largest, by size, that is no special token's."""
        return scale(np.nan_to_num(scores[self.coloured]))

    def top(self, scores: Floats, count: int = WORDS) -> list[int]:
        """The words of the prompt with the highest scores."""
        order = np.argsort(-scores, kind="stable")
        return [int(i) for i in order if self.ranked[i] and not np.isnan(scores[i])][:count]

    def targets_within(self, start: int, end: int) -> list[int]:
        """The answer's tokens with characters from `start` up to `end`."""
        return [
            n
            for n, (first, last) in enumerate(self.words.answer_offsets.tolist())
            if first < end and last > start and last > first
        ]

    def _parts(self) -> Iterator[Part]:
        words = self.words
        place = np.array([self.message_at(int(start)) for start in words.offsets[:, 0]])
        roles = [message.role for message in words.messages] or ["the prompt"]
        for number, role in enumerate(roles):
            own = self.ranked & (place == number)
            if own.any():
                yield Part(role, np.nansum(self.scores[:, own], -1))
        own = (words.segments == 1) & ~words.special
        yield Part("the answer", np.nansum(self.scores[:, own], -1))


def _cells(words: GenerationAttribution) -> list[Cell]:
    """The answer's tokens in order; those without a character of their own stand for themselves."""
    answer, cells = words.answer, list[Cell]()
    columns = np.flatnonzero((words.segments == 1) & ~words.special)
    reach = 0
    for n, (start, end) in enumerate(words.answer_offsets.tolist()):
        special = bool(words.answer_special[n])
        if end <= start:
            cells.append(
                Cell(phrases.token(words.targets[n].label), (reach, reach), [n], special, -1)
            )
            continue
        if cells and start < reach and cells[-1].span[0] < reach:
            before = cells.pop()
            start, end = before.span[0], max(end, reach)
            targets = [*before.targets, n]
        else:
            targets = [n]
        reach = end
        part = answer[start:end]
        if part.strip():
            start += len(part) - len(part.lstrip())
            text = phrases.visible(part.strip())
        else:
            text = phrases.one_line(part).replace(" ", "␣")
        own = [int(c) for c in columns if words.offsets[c, 0] < end and words.offsets[c, 1] > start]
        cells.append(Cell(text, (start, end), targets, special, own[0] if own else -1))
    return cells
