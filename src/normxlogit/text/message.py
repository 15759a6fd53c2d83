"""Messages of a chat."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A message of a chat: who said it, and where it stands in the text."""

    role: str
    start: int
    end: int
