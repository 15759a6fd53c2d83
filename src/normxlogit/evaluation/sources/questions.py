"""Questions with documents, the right answer, and the sources that it comes from."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normxlogit.data.plain import Plain, parse_json
from normxlogit.errors import InputError

Document = str | Mapping[str, str]
"""A text, or a mapping with it as "text"."""
Sentence = tuple[int, int, int]
"""The number of a document, and a span of its characters."""

_NAMES = ("question", "documents", "answer", "gold", "kind")
_OF_DOCUMENT = ("text", "title", "id")
_REMEDY = "docs/sources-results.md says what a question must have."


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
    documents: tuple[Document, ...]
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


def read_questions(path: str | Path, limit: int | None = None) -> list[GoldQuestion]:
    """Read questions from a file of JSON lines, as docs/sources-results.md describes them.

    Raises:
        InputError: it cannot be read, a line is no question, or there is none; the error names the
            line.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read questions from {path}: {reason}.") from error
    questions = list[GoldQuestion]()
    for number, line in enumerate(lines, 1):
        if line.strip() and (limit is None or len(questions) < limit):
            place = f"{path}, line {number}"
            questions.append(_read(Plain(parse_json(line, place), place, _REMEDY)))
    if not questions:
        raise InputError(f"there is no question in {path}. {_REMEDY}")
    return questions


def identity(path: str | Path) -> dict[str, Any]:
    """What identifies a file of questions, as plain data.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read questions from {path}: {error.strerror}.") from error
    return {
        "file": Path(path).name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def text_of(document: Document) -> str:
    """Return the text of a document."""
    return document if isinstance(document, str) else document["text"]


def _read(line: Plain) -> GoldQuestion:
    line.has_only(_NAMES)
    documents = tuple(_read_document(item) for item in line.get("documents").items(1))
    gold, sentences = list[int](), list[Sentence]()
    for item in line.get("gold").items():
        is_sentence = isinstance(item.value, Mapping)
        place = item.get("document") if is_sentence else item
        number = place.integer(0, len(documents) - 1)
        if number not in gold:
            gold.append(number)
        if is_sentence:
            item.has_only(("document", "sentence"))
            sentence, text = item.get("sentence"), text_of(documents[number])
            start = text.find(sentence.text())
            sentence.require(sentence.value and start >= 0, f"in the text of document {number}")
            sentences.append((number, start, start + len(sentence.value)))
    answer = line.value.get("answer")
    return GoldQuestion(
        line.get("question").text(),
        documents,
        tuple(gold),
        tuple(sentences),
        None if answer is None else line.get("answer").text(),
        line.get("kind").text() if "kind" in line.value else "",
    )


def _read_document(item: Plain) -> Document:
    if not isinstance(item.value, Mapping):
        return item.text()
    item.has_only(_OF_DOCUMENT)
    item.get("text")
    return item.entries(Plain.text)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _has(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(
        words[start : start + len(part)] == part for start in range(len(words) - len(part) + 1)
    )
