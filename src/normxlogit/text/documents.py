"""Documents beside a question: as users give them, and where a chat template puts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from normxlogit.data.tables import check_table
from normxlogit.errors import InputError
from normxlogit.text.chat import MARK, apply_template
from normxlogit.text.validation import check_text
from normxlogit.text.words import Span

_NAMES = ("title", "id", "name")
"""The fields that may name a document; the first that is there does."""


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        text: its text.
        name: its title or id; "" if it has none.
        fields: all that was given of it, for a chat template.
    """

    text: str
    name: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_documents(documents: Any) -> list[Document]:
    """Return documents that were given as texts, or as mappings with a "text".

    Raises:
        InputError: there is none, one is empty or no text, or two are alike.
    """
    check_table(documents)
    if isinstance(documents, np.ndarray):
        documents = documents.tolist()
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Sequence):
        raise InputError(
            "documents must be a list of texts, or of mappings with a title and a text; got "
            f"{type(documents).__name__}: {documents!r:.80}."
        )
    read = [_document(item, number) for number, item in enumerate(documents, 1)]
    if not read:
        raise InputError(
            "there are no documents, so there is nothing that the answer could rest on. Give one "
            "at least."
        )
    first: dict[str, int] = {}
    for number, document in enumerate(read, 1):
        before = first.setdefault(document.text.strip(), number)
        if before != number:
            raise InputError(
                f"documents {before} and {number} have the same text, so that each is there when "
                "the other is left out. Give it once."
            )
    return read


def _document(item: Any, number: int) -> Document:
    fields = item if isinstance(item, Mapping) else {"text": item}
    if "text" not in fields:
        names = ", ".join(map(str, fields)) or "none"
        raise InputError(f"document {number} has no text; its fields: {names:.80}.")
    text = fields["text"]
    if isinstance(text, str) and not text.strip():
        raise InputError(f"document {number} is empty. Leave it out.")
    name = next((str(fields[key]) for key in _NAMES if fields.get(key) not in (None, "")), "")
    try:
        check_text((text,), False)
        if name.strip():
            check_text((name,), False)
    except InputError as error:
        raise InputError(f"document {number}: {error}") from error
    return Document(text, " ".join(name.split()), dict(fields))


@dataclass(frozen=True)
class Placed:
    """A document in a prompt.

    Attributes:
        start, end: the first character and last + 1 of its text, without white space around it.
        block: the same of all that goes when the document goes.
        fields: the same of each of its parts: the text, and the name if it is there.
    """

    start: int
    end: int
    block: Span
    fields: tuple[Span, ...]


def for_template(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Return documents as chat templates take them: with a title, a text, and a number as id."""
    return [
        {"title": document.name, "doc_id": number, **document.fields, "text": document.text}
        for number, document in enumerate(documents, 1)
    ]


def locate_documents(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    text: str,
    options: Mapping[str, Any],
) -> list[Placed] | None:
    """Locate each document in a chat that its template rendered.

    As for messages (`text.chat`), the chat is rendered once more with a mark in the place of each
    field, and what stands before and after the mark must stand around the field too.

    Args:
        tokenizer: has the template.
        messages: the chat.
        text: as it was rendered.
        options: of the template, with the documents.

    Returns:
        None if a document is not there as it is, such as where a template writes it as JSON.
    """
    documents, placed = options["documents"], list[Placed]()
    for number, document in enumerate(documents):
        spans: dict[str, Span] = {}
        for name, value in document.items():
            if not isinstance(value, str) or not value.strip():
                continue
            marked = [*documents]
            marked[number] = {**document, name: MARK}
            rendered = apply_template(tokenizer, messages, {**options, "documents": marked})
            if rendered.count(MARK) != 1:
                continue
            before, _, after = rendered.partition(MARK)
            start, end = len(before), len(text) - len(after)
            part = text[start : max(start, end)]
            if text != before + part + after or part.strip() != value.strip():
                continue
            start += len(part) - len(part.lstrip())
            spans[name] = (start, start + len(part.strip()))
        if "text" not in spans:
            return None
        block = min(s for s, _ in spans.values()), max(e for _, e in spans.values())
        placed.append(Placed(*spans["text"], block, tuple(spans.values())))
    blocks = sorted(document.block for document in placed)
    overlap = any(end > start for (_, end), (start, _) in pairwise(blocks))
    return None if overlap else placed
