"""Chats rendered by a tokenizer's template, with the place of each message in the prompt."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from normxlogit.errors import InputError
from normxlogit.text.message import Message

_MARK = "normxlogit-message"
"""Takes the place of a message's text. It is letters and a hyphen, unlike anything in a template,
so that none escapes it, trims it or has it elsewhere."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]
) -> tuple[str, list[Message]]:
    """Render a chat, up to where the assistant is to answer; return the prompt and its messages.

    Raises:
        InputError: there is no template, or it refuses the messages or changes their text.
    """
    _check_messages(messages)
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{type(tokenizer).__name__} has no chat template, so a chat cannot be put to the "
            "model. Give the prompt as one text, or set tokenizer.chat_template."
        )
    if all(isinstance(message["content"], str) for message in messages):
        return _located(tokenizer, messages)
    # Content in parts (the format of multimodal models): most templates want plain text.
    try:
        return _located(tokenizer, [{**m, "content": _content_text(m)} for m in messages])
    except InputError:  # and some want the parts
        with contextlib.suppress(InputError):
            return _located(tokenizer, messages)
        raise


def is_chat(item: Any) -> bool:
    """Return whether `item` is a list of messages rather than of prompts."""
    return isinstance(item, list) and bool(item) and all(isinstance(m, Mapping) for m in item)


def _located(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]
) -> tuple[str, list[Message]]:
    """Render the chat and locate each message in it.

    A message's text cannot be searched for: it may occur in the template or in another message
    ("user", "yes"). So the chat is rendered once more per message, with a mark in place of its
    text; what stands before and after the mark must stand around the message too.
    """
    text, spans = _apply_template(tokenizer, messages), list[Message]()
    for number, message in enumerate(messages):
        marked = [*messages[:number], _with_mark(message), *messages[number + 1 :]]
        before, _, after = _apply_template(tokenizer, marked).partition(_MARK)
        start, end = len(before), len(text) - len(after)
        # A template may rewrite the text (drop its reasoning, say) or write something else around
        # it depending on the text: then its place is unknown. Only white space may be stripped.
        part = text[start : max(start, end)]
        if text != before + part + after or part.strip() != _content_text(message).strip():
            raise InputError(
                f"the chat template does not give message {number + 1} ({message['role']}) as it "
                "is, so its place in the prompt is not known. Give the prompt as one text."
            )
        start += len(part) - len(part.lstrip())
        spans.append(Message(str(message["role"]), start, start + len(part.strip())))
    return text, spans


def _with_mark(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with the mark in place of its text."""
    content: Any = _MARK
    if not isinstance(message["content"], str):
        first, *others = message["content"]
        content = [{**first, "text": _MARK}, *({**part, "text": ""} for part in others)]
    return {**message, "content": content}


def _apply_template(
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


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise InputError("the chat has no messages.")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise InputError(
                f"message {number} of the chat has no role or no content: {message!r}."
            )
        if not _content_text(message).strip():
            raise InputError(f"message {number} of the chat ({message['role']}) has no text.")


def _content_text(message: Mapping[str, Any]) -> str:
    """Return a message's text, of all its parts; they must be text."""
    content = message["content"]
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, (list, tuple)) else [content]
    if not all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in parts):
        raise InputError("messages of a chat must be text; this one holds something else.")
    return "".join(part["text"] for part in parts)
