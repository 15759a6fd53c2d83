"""Chats rendered by a tokenizer's template, with the place of each message in the prompt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import jinja2
import numpy as np
import regex
from jinja2 import meta
from transformers import PreTrainedTokenizerBase

from normxlogit.errors import InputError, OptionError, first_line
from normxlogit.text.message import Message
from normxlogit.text.words import Span

MARK = "normxlogit-message"
"""Takes the place of a message's text. It is letters and a hyphen, unlike anything in a template,
so that none escapes it, trims it or has it elsewhere."""

_OF_TRANSFORMERS = ("add_generation_prompt", "continue_final_message")
"""Options of `apply_chat_template` that do something with any template."""

_TO_TEMPLATE = ("tools", "documents")

_KNOWN = (*_OF_TRANSFORMERS, *_TO_TEMPLATE)

_MESSAGES = "messages"
"""The key by which data sets and requests hold a chat."""

_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")

_GENERATION = regex.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""Transformers' own tag, which jinja2 does not know."""


def take_template_options(
    tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]
) -> dict[str, Any]:
    """Take the options of the chat template out of `options`.

    These are the ones that transformers defines, and the variables that the template itself reads,
    such as `enable_thinking`.

    Raises:
        OptionError: tools or documents, which the template does not read.
    """
    reads = _variables(tokenizer, options.get("tools"))
    template_options = {
        name: options.pop(name) for name in list(options) if name in reads or name in _KNOWN
    }
    for name in template_options:
        if name not in reads and name not in _OF_TRANSFORMERS:
            raise OptionError(
                f"the chat template does not read {name}, so the model would not see them. Leave "
                "them out, or put them into a message."
            )
    return template_options


def reads_documents(tokenizer: PreTrainedTokenizerBase, tools: Any = None) -> bool:
    """Return whether the chat template reads documents."""
    return "documents" in _variables(tokenizer, tools)


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    chat: Any,
    options: Mapping[str, Any] | None = None,
) -> tuple[str, list[Message]]:
    """Render a chat with its template; return the prompt and its messages.

    The prompt is what transformers' `apply_chat_template` makes of the same messages. As in its
    pipeline, a last message of the assistant is continued, and after another a new one begins,
    unless `options` say otherwise.

    Args:
        tokenizer: has the template.
        chat: see `messages_of`.
        options: see `take_template_options`.

    Raises:
        InputError: there is no template, or it refuses the messages or changes their text.
    """
    messages = messages_of(chat)
    _check_messages(messages)
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{type(tokenizer).__name__} has no chat template, so a chat cannot be put to the "
            "model. Give the prompt as one text, or set tokenizer.chat_template."
        )
    options = with_ending(messages, options or {})
    text, located, end = apply_template(tokenizer, messages, options), list[Message](), 0
    for number, message in enumerate(messages):
        # What is blank has no place; that of the message before it stands in.
        parts = [part for part in _parts(message) if part.strip()]
        start = end
        if parts:
            start, end = _located(tokenizer, messages, number, text, options)
        located.append(Message(str(message["role"]), start, end))
    return text, located


def with_ending(
    messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options of the template that say how the chat goes on, if they do not yet."""
    if any(name in options for name in _OF_TRANSFORMERS):
        return dict(options)
    is_begun = messages[-1]["role"] == "assistant" and _has_text(messages[-1])
    return {**options, "continue_final_message" if is_begun else "add_generation_prompt": True}


def is_chat(item: Any) -> bool:
    """Return whether `item` is a list of messages rather than of prompts, or holds one."""
    if isinstance(item, Mapping):
        return _MESSAGES in item
    if isinstance(item, np.ndarray):  # as pandas reads lists from Parquet
        item = item.tolist()
    return isinstance(item, list) and bool(item) and all(map(_is_message, item))


def messages_of(chat: Any) -> list[Mapping[str, Any]]:
    """Return the messages of a chat as mappings.

    Args:
        chat: messages, each a mapping or an object with `role` and `content`; or a mapping that has
            them as "messages".

    Raises:
        InputError: such a mapping has tools or documents beside the messages, which are options of
            the template; or it has no list of messages.
    """
    if isinstance(chat, Mapping):
        for name in _TO_TEMPLATE:
            if chat.get(name):
                raise InputError(
                    f"the chat has {name} beside its messages. Give them as an option of generate: "
                    f"generate(chat[{_MESSAGES!r}], {name}=chat[{name!r}])."
                )
        chat = chat[_MESSAGES]
    if isinstance(chat, np.ndarray):
        chat = chat.tolist()
    if not isinstance(chat, (list, tuple)):
        raise InputError(f"expected a list of messages, got {type(chat).__name__}: {chat!r:.80}.")
    return [message if isinstance(message, Mapping) else _fields(message) for message in chat]


def _is_message(item: Any) -> bool:
    if isinstance(item, Mapping):
        return "role" in item or _MESSAGES not in item
    return hasattr(item, "role") and hasattr(item, "content")


def _fields(message: Any) -> dict[str, Any]:
    """Return what templates read of a message that is an object, as plain data."""
    values = {name: getattr(message, name, None) for name in _MESSAGE_FIELDS}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    # Of pydantic, by which clients of language models define their messages.
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _located(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    number: int,
    text: str,
    options: Mapping[str, Any],
) -> Span:
    """Locate a message in the rendered chat.

    A message's text cannot be searched for: it may occur in the template or in another message
    ("user", "yes"). So the chat is rendered once more for each part of it, with a mark in place of
    its text; what stands before and after the mark must stand around the part too.
    """
    message, spans = messages[number], list[Span]()
    if not isinstance(message["content"], str) and str(message["content"]) in text:
        raise InputError(
            f"the chat template takes no parts: it writes those of message {number + 1} "
            f"({message['role']}) as Python does, braces and all. Give the message as one text."
        )
    for place, content in enumerate(_parts(message)):
        if not content.strip():
            continue
        marked = [*messages[:number], _with_mark(message, place), *messages[number + 1 :]]
        before, _, after = apply_template(tokenizer, marked, options).partition(MARK)
        start, end = len(before), len(text) - len(after)
        # A template may rewrite the text (drop its reasoning, say) or write something else around
        # it depending on the text: then its place is unknown. Only white space may be stripped.
        part = text[start : max(start, end)]
        is_there = text == before + part + after and part.strip() == content.strip()
        # Between parts a template may put white space, but nothing to be taken for the message's.
        if not is_there or (spans and text[spans[-1][1] : start].strip()):
            raise InputError(
                f"the chat template does not give message {number + 1} ({message['role']}) as it "
                "is, so its place in the prompt is not known. Give the message as one part, or "
                "the prompt as one text."
            )
        start += len(part) - len(part.lstrip())
        spans.append((start, start + len(part.strip())))
    return spans[0][0], spans[-1][1]


def _with_mark(message: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return the message with the mark in place of the text of one of its parts."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": MARK}
    parts = list(content)
    parts[place] = {**parts[place], "text": MARK}
    return {**message, "content": parts}


def each_marked(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each text in plain data, with the data that has the mark in its place.

    What is blank, and numbers, are left out: they spell nothing.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            for text, marked in each_marked(part):
                yield text, {**value, key: marked}
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            for text, marked in each_marked(part):
                yield text, [*value[:number], marked, *value[number + 1 :]]
    elif value is not None and not isinstance(value, (bool, int, float)) and str(value).strip():
        yield str(value), MARK


def apply_template(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, **options
            )
        )
    except Exception as error:  # templates are programs, and raise what they like
        raise InputError(
            f"the chat template refuses these messages: {first_line(error)}"
        ) from error


def _variables(tokenizer: PreTrainedTokenizerBase, tools: Any) -> frozenset[str]:
    """Return the variables that the chat template reads; none if there is no template."""
    if not getattr(tokenizer, "chat_template", None):
        return frozenset()
    try:
        return _undeclared(tokenizer.get_chat_template(tools=tools))
    except (ValueError, jinja2.TemplateError):  # rendering says what is wrong with it
        return frozenset()


@lru_cache(16)
def _undeclared(template: str) -> frozenset[str]:
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    names = meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", template)))
    return frozenset(names - {"messages"})


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise InputError("the chat has no messages.")
    for number, message in enumerate(messages, 1):
        is_message = isinstance(message, Mapping) and "role" in message
        if not is_message or not ("content" in message or message.get("tool_calls")):
            raise InputError(
                f"message {number} of the chat has no role or no content: {message!r}."
            )
        _parts(message)
    if not any(map(_has_text, messages)):
        raise InputError("the chat has no text, so there is nothing to explain.")


def _has_text(message: Mapping[str, Any]) -> bool:
    return any(part.strip() for part in _parts(message))


def _parts(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of a message's parts; a call of a tool may have none."""
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return []
    if isinstance(content, str):
        return [content]
    parts: Sequence[Any] = content if isinstance(content, (list, tuple)) else [content]
    if not all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in parts):
        raise InputError("messages of a chat must be text; this one holds something else.")
    return [part["text"] for part in parts]
