"""Questions with documents, the right answer, and the sources that it comes from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Sentence = tuple[int, int, int]
"""The number of a document, and a span of its characters."""


@dataclass(frozen=True)
class GoldQuestion:
    """A question whose sources are known.

    Attributes:
        question: what is asked.
        documents: what may answer it.
        gold: the numbers of the documents that the answer comes from, from 0; none if it is in
            none of them.
        sentences: within these, the sentences that it comes from, where they are known.
        answer: the right answer, or several with "|" between them; None if it is not known.
        kind: what kind of question it is; "" if there are none.
    """

    question: str
    documents: tuple[str, ...]
    gold: tuple[int, ...]
    sentences: tuple[Sentence, ...] = ()
    answer: str | None = None
    kind: str = ""

    def is_right(self, answer: str) -> bool | None:
        """Whether an answer has the right one's words in their order; None if none is known."""
        if self.answer is None:
            return None
        words = _words(answer)
        return any(_has(words, _words(right)) for right in self.answer.split("|"))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _has(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(
        words[start : start + len(part)] == part for start in range(len(words) - len(part) + 1)
    )
