"""Prompts with the places of their sources: documents, messages, sentences, parts by the caller."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from normxlogit.errors import InputError, OptionError
from normxlogit.results.sources import Source
from normxlogit.text.chat import (
    apply_template,
    each_marked,
    is_chat,
    messages_of,
    reads_documents,
    render_chat,
    take_template_options,
    with_ending,
)
from normxlogit.text.documents import (
    Document,
    Placed,
    for_template,
    locate_documents,
    read_documents,
)
from normxlogit.text.literal import control_ids
from normxlogit.text.message import Message
from normxlogit.text.validation import check_text
from normxlogit.text.words import Span, checked_span, sentence_spans

INTRODUCTION = "Answer the question from the documents below.\n\n"
QUESTION = "Question: "
ANSWER = "\n\nAnswer:\n"
"""The end of a prompt where no chat template says whose turn it is."""

NAMED = ("documents", "messages", "sentences")
"""Names of sources; others are parts that the caller gives."""


@dataclass(frozen=True)
class SourcePrompt:
    """A prompt and its sources.

    Attributes:
        text: the prompt as the model is to read it.
        question: what is asked; "" if that cannot be told.
        template: the template of ours that placed documents, if one did.
        sources: the sources, in the order of the prompt.
        blocks: what goes when each of them goes: its first character and last + 1.
        parts: what is no template's, such as the messages of a chat.
        literal: what may hold no token of the template.
        messages: where the messages of a chat are.
        is_rendered: whether a chat template wrote it.
    """

    text: str
    question: str
    template: str | None
    sources: tuple[Source, ...]
    blocks: tuple[Span, ...]
    parts: tuple[Span, ...]
    literal: tuple[Span, ...]
    messages: tuple[Message, ...] = ()
    is_rendered: bool = False

    def cut(self, answer: str) -> str:
        """Return an answer that was generated, without what the model said after its turn.

        Where nothing but a template of ours tells whose turn it is, models are prone not to stop:
        they go on with questions of their own. `generate` is not told to stop there, because its
        `stop_strings` do not work with every tokenizer.
        """
        if self.template is None or self.is_rendered:
            return answer
        return answer.partition(f"\n{QUESTION.rstrip()}")[0].rstrip()


def make_prompt(
    tokenizer: PreTrainedTokenizerBase,
    question: Any,
    documents: Any,
    sources: Any,
    options: dict[str, Any],
) -> SourcePrompt:
    """Return the prompt of a question or a chat, with its sources.

    Args:
        tokenizer: may have a chat template.
        question: a text, or the messages of a chat.
        documents: texts or mappings, see `read_documents`; None if there are none.
        sources: one of `NAMED`, or a list of parts of the prompt; None for the documents, else the
            messages of a chat, else the sentences of a text.
        options: those of the chat template are taken out.

    Raises:
        InputError: something cannot be read, or there is no source.
        OptionError: `sources` is none of these, or an option does not fit.
    """
    if isinstance(question, Mapping) and question.get("documents") and documents is None:
        documents = question["documents"]
        question = {name: part for name, part in question.items() if name != "documents"}
    read = None if documents is None else read_documents(documents)
    if is_chat(question):
        messages = [dict(message) for message in messages_of(question)]
        prompt = _of_chat(tokenizer, messages, read, options)
    else:
        prompt = _of_text(tokenizer, question, read, options)
    return _with_sources(prompt, sources, has_documents=read is not None)


def _of_text(
    tokenizer: PreTrainedTokenizerBase,
    question: Any,
    documents: list[Document] | None,
    options: dict[str, Any],
) -> SourcePrompt:
    check_text((question,), False)
    if documents is None:
        whole = ((0, len(question)),)
        return SourcePrompt(question, question, None, (), (), whole, ())
    if getattr(tokenizer, "chat_template", None):
        message = {"role": "user", "content": question.strip()}
        return _of_chat(tokenizer, [message], documents, options)
    text, placed, question_span = _placed(documents, question.strip())
    return SourcePrompt(
        text=text + ANSWER,
        question=question,
        template=_template(ANSWER),
        sources=_document_sources(documents, placed),
        blocks=tuple(document.block for document in placed),
        parts=((0, len(text)),),
        literal=(*(span for document in placed for span in document.fields), question_span),
    )


def _of_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    documents: list[Document] | None,
    options: dict[str, Any],
) -> SourcePrompt:
    template_options = take_template_options(tokenizer, options)
    _check_labels(tokenizer, messages, template_options)
    if documents is None:
        text, located = render_chat(tokenizer, messages, template_options)
        return _rendered(text, located)
    number = _last_of_user(messages)
    question = messages[number]["content"]
    if reads_documents(tokenizer, template_options.get("tools")):
        with_documents = {**template_options, "documents": for_template(documents)}
        text, located = render_chat(tokenizer, messages, with_documents)
        placed = locate_documents(tokenizer, messages, text, with_ending(messages, with_documents))
        if placed is not None:
            prompt = _rendered(text, located)
            within = tuple(span for document in placed for span in document.fields)
            return replace(
                prompt,
                question=question,
                sources=_document_sources(documents, placed),
                blocks=tuple(document.block for document in placed),
                parts=(*prompt.parts, *within),
                literal=(*prompt.literal, *within),
            )
    content, placed, _ = _placed(documents, question.strip())
    message = {**messages[number], "content": content}
    messages = [*messages[:number], message, *messages[number + 1 :]]
    text, located = _render_without(tokenizer, messages, template_options)
    placed = [_moved(document, located[number].start) for document in placed]
    return replace(
        _rendered(text, located),
        question=question,
        template=_template(""),
        sources=_document_sources(documents, placed),
        blocks=tuple(document.block for document in placed),
    )


def _render_without(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> tuple[str, list[Message]]:
    """Render a chat without documents by a template that may read them."""
    try:
        return render_chat(tokenizer, messages, options)
    except InputError:
        if not reads_documents(tokenizer, options.get("tools")):
            raise
        # It goes through documents without a look at whether there are any.
        return render_chat(tokenizer, messages, {**options, "documents": []})


def _check_labels(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> None:
    """Raise `InputError` if what a message has beside its text spells a token of the template.

    A role, or the call of a tool, is written by the template as its own.
    """
    tokens = [str(tokenizer.convert_ids_to_tokens(i)) for i in sorted(control_ids(tokenizer))]
    for number, message in enumerate(messages, 1):
        labels = {name: value for name, value in message.items() if name != "content"}
        for label, marked in each_marked(labels):
            # A word alone, such as "user", is a name.
            spelled = next((t for t in tokens if t in label and not t.isalnum()), None)
            if spelled is None:
                continue
            others = [*messages]
            others[number - 1] = {**message, **marked}
            if _renders_otherwise(tokenizer, messages, others, options):
                raise InputError(
                    f"message {number} spells {spelled!r}, a token of the chat template, beside "
                    f"its text: {label!r:.80}. Leave it out there."
                )


def _renders_otherwise(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> bool:
    """Return whether the chat template writes something else of other messages, or refuses them."""
    options = with_ending(messages, options)
    text = apply_template(tokenizer, messages, options)
    try:
        return apply_template(tokenizer, others, options) != text
    except InputError:
        return True


def _rendered(text: str, located: Sequence[Message]) -> SourcePrompt:
    """Return a rendered chat whose sources are yet to be named."""
    spans = tuple((message.start, message.end) for message in located if message.end > 0)
    return SourcePrompt(text, "", None, (), (), spans, spans, tuple(located), True)


def _last_of_user(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the last message of the user, which documents are put before."""
    number = next(
        (n for n in reversed(range(len(messages))) if messages[n].get("role") == "user"), None
    )
    if number is None or not isinstance(messages[number].get("content"), str):
        raise InputError(
            "documents are put before the last message of the user, and this chat has none that is "
            "one text. Give it such a message."
        )
    return number


def _placed(documents: Sequence[Document], question: str) -> tuple[str, list[Placed], Span]:
    """Return documents and the question by our template, and the places of both."""
    text, placed = INTRODUCTION, list[Placed]()
    for number, document in enumerate(documents, 1):
        start = len(text)
        head = f"Document {number}"
        names = list[Span]()
        if document.name:
            names = [(start + len(head) + 2, start + len(head) + 2 + len(document.name))]
            head = f"{head} ({document.name})"
        first, kept = start + len(head) + 2, document.text.strip()
        text += f"{head}:\n{kept}\n\n"
        span = (first, first + len(kept))
        placed.append(Placed(*span, (start, len(text)), (span, *names)))
    text += QUESTION
    question_span = (len(text), len(text) + len(question))
    return text + question, placed, question_span


def _template(end: str) -> str:
    """Return our template as results print it."""
    document = "Document {number} ({name}):\n{text}\n\n"
    return f"{INTRODUCTION}{document}{QUESTION}{{question}}{end}"


def _moved(document: Placed, by: int) -> Placed:
    (first, last), fields = document.block, document.fields
    return Placed(
        document.start + by,
        document.end + by,
        (first + by, last + by),
        tuple((start + by, end + by) for start, end in fields),
    )


def _document_sources(
    documents: Sequence[Document], placed: Sequence[Placed]
) -> tuple[Source, ...]:
    return tuple(
        _source("document", document.name, document.text, place.start)
        for document, place in zip(documents, placed, strict=True)
    )


def _source(kind: str, name: str, text: str, start: int) -> Source:
    """Return a source whose text, without white space around it, begins at `start`."""
    kept = text.strip()
    lead = text.index(kept)
    sentences = tuple((a + lead, b + lead) for a, b in sentence_spans(kept))
    return Source(kind, name, text, start, start + len(kept), sentences)


def _with_sources(prompt: SourcePrompt, sources: Any, *, has_documents: bool) -> SourcePrompt:
    """Return the prompt with its sources."""
    if sources is None:
        default = "messages" if prompt.messages else "sentences"
        sources = "documents" if has_documents else default
    if isinstance(sources, str):
        if sources not in NAMED:
            raise OptionError(
                f"sources must be {', '.join(NAMED)} or a list of parts of the prompt, got "
                f"{sources!r:.80}."
            )
        if sources == "documents":
            if not has_documents:
                raise InputError(
                    "there are no documents, so none can be a source. Give them by documents=..., "
                    "or take sources='messages' or 'sentences'."
                )
            return prompt
        if sources == "messages":
            return _by_messages(prompt)
        return _by_sentences(prompt)
    return _by_parts(prompt, sources)


def _by_messages(prompt: SourcePrompt) -> SourcePrompt:
    if not prompt.messages:
        raise InputError(
            "sources='messages' needs a chat, and this is a text. Give a list of messages, or take "
            "sources='sentences'."
        )
    # An answer that the assistant has begun is no source of it.
    last = prompt.messages[-1]
    is_begun = last.role == "assistant" and not prompt.text[last.end :].strip()
    messages = prompt.messages[: len(prompt.messages) - is_begun]
    spans = [(m.role, m.start, m.end) for m in messages]
    # A message without text stands where the one before it does.
    named = {(start, end): role for role, start, end in reversed(spans) if end > start}
    ordered = sorted(named)
    return _of_spans(prompt, "message", [named[span] for span in ordered], ordered)


def _by_sentences(prompt: SourcePrompt) -> SourcePrompt:
    if prompt.sources:
        wholes = [(source.start, source.end) for source in prompt.sources]
        names = [s.name or f"document {n}" for n, s in enumerate(prompt.sources, 1)]
    elif prompt.messages:
        by_message = _by_messages(prompt).sources
        wholes = [(source.start, source.end) for source in by_message]
        names = [source.name for source in by_message]
    else:
        wholes, names = [(0, len(prompt.text))], [""]
    spans = [
        (span, name)
        for whole, name in zip(wholes, names, strict=True)
        for span in sentence_spans(prompt.text, [whole])
    ]
    return _of_spans(prompt, "sentence", [name for _, name in spans], [span for span, _ in spans])


def _by_parts(prompt: SourcePrompt, parts: Any) -> SourcePrompt:
    if not isinstance(parts, (list, tuple)) or not parts:
        raise OptionError(
            f"sources must be {', '.join(NAMED)} or a list of parts of the prompt, got "
            f"{parts!r:.80}."
        )
    spans = sorted(find_part(part, prompt.text, "the prompt") for part in parts)
    for (start, end), (later, last) in pairwise(spans):
        if end > later:
            raise InputError(
                f"the sources ({start}, {end}) and ({later}, {last}) overlap, so neither could be "
                "left out whole. Give parts that do not."
            )
    return _of_spans(prompt, "span", [""] * len(spans), spans)


def _of_spans(
    prompt: SourcePrompt, kind: str, names: Sequence[str], spans: Sequence[Span]
) -> SourcePrompt:
    texts = [prompt.text[start:end] for start, end in spans]
    kept = [n for n, text in enumerate(texts) if text.strip()]
    if not kept:
        raise InputError("the prompt has no text that the answer could rest on.")
    sources = [
        _source(kind, names[n], texts[n], spans[n][0] + texts[n].index(texts[n].strip()))
        for n in kept
    ]
    return replace(prompt, sources=tuple(sources), blocks=tuple(spans[n] for n in kept))


def find_part(part: Any, text: str, name: str) -> Span:
    """Return a part of a text, given by a text that occurs once in it or by its characters.

    Args:
        part: the part.
        text: the text.
        name: what it is called in messages.

    Raises:
        InputError: there is no such part, or it occurs several times.
    """
    if not isinstance(part, str):
        return checked_span(part, text)
    count = text.count(part) if part.strip() else 0
    if count != 1:
        times = f"occurs {count} times in {name}" if count else f"does not occur in {name}"
        raise InputError(
            f"{part!r:.80} {times}: give its first character and last + 1, as a tuple."
        )
    start = text.index(part)
    return start, start + len(part)
