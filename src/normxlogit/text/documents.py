"""Documents beside a question: as users give them, and where a chat template puts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from normxlogit.data.tables import check_table
from normxlogit.errors import InputError
from normxlogit.text.chat import MARK, apply_template, each_marked
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
        fields: the same of each of its parts: the text, and the name and others if they are there.
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
    text of a field, and what stands before and after the mark must stand around that text too. A
    text for which nothing changes is not in the prompt.

    Args:
        tokenizer: has the template.
        messages: the chat.
        text: as it was rendered.
        options: of the template, with the documents.

    Returns:
        None if a text is not there as it is, such as where a template writes it as JSON, or twice;
        or if documents are not there one after another in their order.
    """
    documents, placed = options["documents"], list[Placed]()
    for number, document in enumerate(documents):
        spans, of_text = list[Span](), None
        for name, value in document.items():
            for part, marked in each_marked(value):
                others = [*documents]
                others[number] = {**document, name: marked}
                try:
                    rendered = apply_template(tokenizer, messages, {**options, "documents": others})
                except InputError:  # it does more with the field than to write it
                    return None
                if rendered == text:
                    continue
                span = _place_of_mark(rendered, text, part)
                if span is None:
                    return None
                spans.append(span)
                if name == "text":
                    of_text = span
        if of_text is None:
            return None
        block = min(s for s, _ in spans), max(e for _, e in spans)
        placed.append(Placed(*of_text, block, tuple(spans)))
    blocks = [document.block for document in placed]
    in_order = all(end <= start for (_, end), (start, _) in pairwise(blocks))
    return placed if in_order else None


def _place_of_mark(rendered: str, text: str, part: str) -> Span | None:
    """Return where in a text a part stands that the mark stands for; None if it is not there."""
    if rendered.count(MARK) != 1:
        return None
    before, _, after = rendered.partition(MARK)
    start, end = len(before), len(text) - len(after)
    found = text[start : max(start, end)]
    if text != before + found + after or found.strip() != part.strip():
        return None
    start += len(found) - len(found.lstrip())
    return start, start + len(found.strip())
