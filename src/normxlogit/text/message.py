"""Messages of a chat."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A message of a chat: its role, first character and last + 1 in the prompt."""

    role: str
    start: int
    end: int
