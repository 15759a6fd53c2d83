"""Chats through a tokenizer's template, and where the messages are in what comes out."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from .errors import InputError
from .result import Message


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
    text = _template(tokenizer, messages, add_generation_prompt=True)
    spans, cursor = list[Message](), 0
    for number, message in enumerate(messages):
        said = _text(message).strip()
        end = _end_of(tokenizer, messages[: number + 1], text)
        start = text.rfind(said, cursor, end) if end else text.find(said, cursor)
        if start < 0:
            raise InputError(
                f"the chat template does not give message {number + 1} ({message['role']}) as it "
                "is, so its place in the prompt is not known. Give the prompt as one text."
            )
        cursor = start + len(said)
        spans.append(Message(str(message["role"]), start, cursor))
    return text, spans


def is_chat(item: Any) -> bool:
    """Whether something is a list of messages rather than of prompts."""
    return isinstance(item, list) and bool(item) and all(isinstance(m, Mapping) for m in item)


def _end_of(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], text: str
) -> int | None:
    """Where the messages end in the text of the whole chat, if the template writes them in turn."""
    try:
        part = _template(tokenizer, messages)
    except InputError:
        return None
    return len(part) if text.startswith(part) else None


def _template(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = False,
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
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
