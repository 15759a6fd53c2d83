"""How a run gets on, for whoever watches it in a terminal."""

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Meter:
    """A line on standard error with rows and tokens a second, and the time that is left if it is
    known how many rows there are; none if that is no terminal.
    """

    def __init__(self, total: int | None, rows: int, tokens: int, *, shown: bool) -> None:
        """Take how many rows there are, if that is known, and what was done before."""
        console = Console(stderr=True)
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rates]}"),
            TimeElapsedColumn() if total is None else _Remaining(),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total, completed=rows, rates="", ends=None)
        self._total, self._rows, self._tokens = total, rows, tokens

    def __enter__(self) -> "Meter":
        self._start = time.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, rows: float, tokens: int) -> None:
        """Show how many rows, of which one may be done in part, and tokens are done, and how fast
        those since the start were.
        """
        now = time.monotonic()
        seconds = max(now - self._start, 1e-9)
        done = rows - self._rows
        rates = (
            f"{_rate(done / seconds)} rows/s  {_rate((tokens - self._tokens) / seconds)} tokens/s"
        )
        ends = None
        if self._total is not None and done > 0:
            ends = now + seconds * (self._total - rows) / done
        self._progress.update(self._task, completed=rows, rates=rates, ends=ends)

    def say(self, doing: str) -> None:
        """Show what is going on after the last row, for which no time left is known."""
        self._progress.update(self._task, rates=doing, ends=None)


class _Remaining(ProgressColumn):
    """Time left at the mean speed since the start.

    Steps may be minutes apart; rich's own column forgets what is longer ago than half of one.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        if ends is None:
            return Text("-:--:-- left")
        return Text(f"{timedelta(seconds=int(max(ends - time.monotonic(), 0)))} left")


def _rate(each_second: float) -> str:
    return f"{each_second:,.0f}" if each_second >= 10 else f"{each_second:.2g}"
