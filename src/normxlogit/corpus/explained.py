"""A row with its explanation, which is written and counted without the model."""

from dataclasses import dataclass

from normxlogit.data.rows import Bad, Row
from normxlogit.results.text import Attribution


@dataclass(frozen=True)
class Explained:
    """A row and its explanation.

    Attributes:
        row: the row.
        attribution: the scores; None if it could not be explained.
        bad: why not.
    """

    row: Row
    attribution: Attribution | None = None
    bad: Bad | None = None

    @property
    def complaint(self) -> str:
        """Which row could not be explained, and why."""
        return f"{self.row}: {self.bad.why if self.bad else ''}"
