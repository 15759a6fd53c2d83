"""The layout of a generation: the answer in cells, the prompt in words, and their sums."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.results.base import Floats
from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.scales import scale
from normxlogit.show.text.claims import claim_of, has_sizes, shares
from normxlogit.text.words import Span

WORDS = 8
"""How many words of the prompt are listed."""


@dataclass(frozen=True)
class Cell:
    """A token of the answer, or several that share a character: the least that can be selected.

    Attributes:
        text: what is shown of it.
        span: where that is in the answer; empty if it is not in the text.
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
    """A message of a chat, the prompt, or the answer so far.

    Attributes:
        name: what it is called.
        scores: the sums over it, float32 [answer].
    """

    name: str
    scores: Floats


class GenerationLayout:
    """A generation by words of the prompt, at its last layer.

    Attributes:
        words: the generation; its columns are words, those of the prompt first.
        scores: its scores [answer, columns], nan where a word is not before the token explained.
        ranked: whether a column is a word of the prompt that may be listed: not special, and of a
            chat inside a message, bool [columns].
        coloured: those, and the words of the answer, bool [columns].
        cells: the answer.
        parts: the parts of the prompt, and the answer so far.
        rest: the sums over special tokens and what frames a chat's messages, float32 [answer].
        has_shares: whether words have shares of the total.
    """

    def __init__(self, result: GenerationAttribution) -> None:
        result = result.with_target_axis().select(layer=result.layers[-1])
        self.words = words = result.words() if result.unit == "token" else result
        self.scores = words.scores
        self._messages = np.array([self.message_at(int(start)) for start in words.offsets[:, 0]])
        in_message = (words.segments == 0) & ~words.special & (self._messages >= 0)
        self.ranked: NDArray[np.bool_] = in_message
        self.coloured: NDArray[np.bool_] = in_message | self._in_answer
        self.cells = _cells(words, np.flatnonzero(self._in_answer))
        self.parts = list(self._parts())
        # What is in no part is shown as a sum of its own, so that all sums together are the total.
        total = np.nansum(self.scores, -1)  # [answer]
        self.rest: Floats = total - sum(part.scores for part in self.parts)
        self.has_shares = has_sizes(words)

    @property
    def _in_answer(self) -> NDArray[np.bool_]:
        """Whether a column is a word of the answer, bool [columns]."""
        in_answer: NDArray[np.bool_] = (self.words.segments == 1) & ~self.words.special
        return in_answer

    def message_at(self, character: int) -> int:
        """Return the number of the message that holds a character of the prompt, or -1.

        A text without messages counts as one.
        """
        if not self.words.messages:
            return 0
        spans = [(message.start, message.end) for message in self.words.messages]
        return next((n for n, (a, b) in enumerate(spans) if a <= character < b), -1)

    @property
    def explained(self) -> str | None:
        """The part of the answer that is explained, in quotation marks; None if it is all."""
        start, end = self.cells[0].span[0], self.cells[-1].span[1]
        answer = self.words.answer
        if not (answer[:start].strip() or answer[end:].strip()):
            return None
        text = phrases.one_line(answer[start:end].strip() or self.cells[0].text)
        return phrases.quoted(phrases.shortened(text))

    @property
    def rest_name(self) -> str:
        """The name of what is in no part."""
        return "the template" if self.words.messages else "special tokens"

    @property
    def rest_meaning(self) -> str | None:
        """A clause that says what that is, unless its name does."""
        if not self.words.messages:
            return None
        return "what the model's chat template adds to the messages"

    @property
    def cut(self) -> str | None:
        """Where a limit ended the answer, if one did."""
        count = self.words.cut_after
        return None if count is None else f"cut after {count:,} token{'s' * (count > 1)}, the limit"

    @property
    def whole(self) -> list[int]:
        """The targets that the answer as a whole consists of: all but special tokens."""
        plain = [n for n, special in enumerate(self.words.answer_special) if not special]
        return plain or list(range(len(self.words.targets)))

    def summed(self, targets: Sequence[int]) -> Floats:
        """Return the sums over these targets, [columns]; nan where the last of them has no score.

        A word of the answer counts for the tokens after it only: as nothing for those before, which
        could not see it, and not at all unless it stands before the last of them.
        """
        total: Floats = np.nansum(self.scores[list(targets)], 0, dtype=np.float32)
        total[np.isnan(self.scores[targets[-1]])] = np.nan
        return total

    def word_shares(self, scores: Floats, rows: Sequence[int]) -> list[str]:
        """Return the share of each of these words in the total of all that may be listed.

        Signs aside, as text; empty where sizes say nothing.
        """
        listed = self.ranked & ~np.isnan(scores)
        parts = shares(np.where(listed, scores, 0), claim_of(self.words))
        return [""] * len(rows) if parts is None else [phrases.share(parts[row]) for row in rows]

    def shares(self, targets: Sequence[int]) -> NDArray[np.float64]:
        """Return the sum over each part, and last over what is in none, for these targets.

        As shares of all their sizes, float64 [parts + 1].
        """
        parts = [*(part.scores for part in self.parts), self.rest]
        sums = np.stack(parts)[:, list(targets)].sum(1, dtype=np.float64)
        shares: NDArray[np.float64] = sums / (np.abs(sums).sum() or 1.0)
        return shares

    def scale(self, scores: Floats) -> float:
        """Return the score that gets the full colour: the largest of a column with a colour.

        Special tokens, sinks above all, may have scores so large that all words would be pale.
        """
        return scale(np.nan_to_num(scores[self.coloured]))

    def top(self, scores: Floats, count: int = WORDS) -> list[int]:
        """Return the words of the prompt with the highest scores."""
        order = np.argsort(-scores, kind="stable")
        return [int(i) for i in order if self.ranked[i] and not np.isnan(scores[i])][:count]

    def targets_within(self, start: int, end: int) -> list[int]:
        """Return the answer's tokens with characters from `start` up to `end`."""
        return [
            n
            for n, (first, last) in enumerate(self.words.answer_offsets.tolist())
            if first < end and last > start and last > first
        ]

    def _parts(self) -> Iterator[Part]:
        roles = [message.role for message in self.words.messages] or ["the prompt"]
        for number, role in enumerate(roles):
            inside = self.ranked & (self._messages == number)
            if inside.any():
                yield Part(role, np.nansum(self.scores[:, inside], -1))
        yield Part("the answer", np.nansum(self.scores[:, self._in_answer], -1))


def _cells(words: GenerationAttribution, columns: NDArray[np.intp]) -> list[Cell]:
    """Cut the answer into cells; tokens without a character of their own stand for themselves.

    Args:
        words: the generation.
        columns: the numbers of the answer's words among its columns.
    """
    answer, cells = words.answer, list[Cell]()
    reach = 0  # the last character + 1 of the cells so far
    for n, (start, end) in enumerate(words.answer_offsets.tolist()):
        special = bool(words.answer_special[n])
        if end <= start:
            text = phrases.token(words.targets[n].label)
            cells.append(Cell(text, (reach, reach), [n], special, -1))
            continue
        targets = [n]
        if cells and start < reach and cells[-1].span[0] < reach:
            # The token begins inside the cell before it: both are bytes of one character, such as
            # an emoji, and only together they can be pointed at.
            before = cells.pop()
            start, end = before.span[0], max(end, reach)
            targets = [*before.targets, n]
        reach = end
        part = answer[start:end]
        if part.strip():
            # The space before a word is part of its token, and is left out of what is marked.
            start += len(part) - len(part.lstrip())
            text = phrases.visible(part.strip())
        else:
            text = phrases.one_line(part).replace(" ", "␣")
        overlap = (words.offsets[columns, 0] < end) & (words.offsets[columns, 1] > start)
        column = int(columns[overlap][0]) if overlap.any() else -1
        cells.append(Cell(text, (start, end), targets, special, column))
    return cells
