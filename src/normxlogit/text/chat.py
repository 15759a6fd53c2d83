"""Chats through a tokenizer's template, and where the messages are in what comes out."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from normxlogit.errors import InputError
from normxlogit.text.message import Message

_MARK = "normxlogit-message"
"""Stands for what a message says; no template changes or holds it."""


def rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]
) -> tuple[str, list[Message]]:
    """The text that a chat becomes, up to where the assistant is to answer, and its messages.

    Raises:
        InputError: there is no template, or it refuses the messages or changes what they say.
    """
    _check(messages)
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{type(tokenizer).__name__} has no chat template, so a chat cannot be put to the "
            "model. Give the prompt as one text, or set tokenizer.chat_template."
        )
    if all(isinstance(message["content"], str) for message in messages):
        return _placed(tokenizer, messages)
    try:
        return _placed(tokenizer, [{**m, "content": _text(m)} for m in messages])
    except InputError:  # some templates take a message's parts and no text
        with contextlib.suppress(InputError):
            return _placed(tokenizer, messages)
        raise


def is_chat(item: Any) -> bool:
    """Whether something is a list of messages rather than of prompts."""
    return isinstance(item, list) and bool(item) and all(isinstance(m, Mapping) for m in item)


def _placed(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]
) -> tuple[str, list[Message]]:
    """The text of the chat, and where in it each message is.

    What stands around a message is seen by putting a mark in its place.
    """
    text, spans = _template(tokenizer, messages), list[Message]()
    for number, message in enumerate(messages):
        marked = [*messages[:number], _with_mark(message), *messages[number + 1 :]]
        before, _, after = _template(tokenizer, marked).partition(_MARK)
        start, end = len(before), len(text) - len(after)
        part = text[start : max(start, end)]
        if text != before + part + after or part.strip() != _text(message).strip():
            raise InputError(
                f"the chat template does not give message {number + 1} ({message['role']}) as it "
                "is, so its place in the prompt is not known. Give the prompt as one text."
            )
        start += len(part) - len(part.lstrip())
        spans.append(Message(str(message["role"]), start, start + len(part.strip())))
    return text, spans


def _with_mark(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with the mark in place of what it says."""
    content: Any = _MARK
    if not isinstance(message["content"], str):
        first, *others = message["content"]
        content = [{**first, "text": _MARK}, *({**part, "text": ""} for part in others)]
    return {**message, "content": content}


def _template(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=True,
            )
        )
    except Exception as error:  # templates are programs, and raise what they like
        raise InputError(f"the chat template refuses these messages: {error}") from error


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise InputError("the chat has no messages.")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise InputError(
                f"message {number} of the chat has no role or no content: {message!r}."
            )
        if not _text(message).strip():
            raise InputError(f"message {number} of the chat ({message['role']}) has no text.")


def _text(message: Mapping[str, Any]) -> str:
    """What a message says; its parts must be text."""
    content = message["content"]
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, (list, tuple)) else [content]
    if not all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in parts):
        raise InputError("messages of a chat must be text; this one holds something else.")
    return "".join(part["text"] for part in parts)
