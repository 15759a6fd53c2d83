"""Messages of a chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Chat = Sequence[Mapping[str, Any]]
"""Messages, each with "role" and "content", as transformers takes them."""


@dataclass(frozen=True)
class Message:
    """A message of a chat: its role, first character and last + 1 in the prompt."""

    role: str
    start: int
    end: int
