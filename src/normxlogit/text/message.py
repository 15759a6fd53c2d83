"""Messages of a chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normxlogit.data.plain import Plain

Chat = Sequence[Mapping[str, Any]]
"""Messages, each with "role" and "content", as transformers takes them."""


@dataclass(frozen=True)
class Message:
    """A message of a chat: its role, first character and last + 1 in the prompt."""

    role: str
    start: int
    end: int


def read_message(item: Plain, length: int) -> Message:
    """Read a message of a chat that is a text of `length` characters."""
    item.has_only(("role", "start", "end"))
    start = item.get("start").integer(0, length)
    end = item.get("end").integer(start, length)
    return Message(item.get("role").text(), start, end)
