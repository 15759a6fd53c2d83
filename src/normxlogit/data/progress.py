"""A progress line for whoever watches a run in a terminal."""

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
    """A line on standard error with rows and tokens a second and, if the number of rows is known,
    the time left; no line if standard error is not a terminal.
    """

    def __init__(self, total: int | None, rows: int, tokens: int, *, shown: bool) -> None:
        """Prepare the line.

        Args:
            total: the number of rows, if it is known.
            rows, tokens: how many an earlier run has done.
            shown: whether to show anything.
        """
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
        """Show how many rows and tokens are done, and their rates since the start of this run.

        A row that is done in part counts as a fraction.
        """
        now = time.monotonic()
        seconds = max(now - self._start, 1e-9)
        done = rows - self._rows
        counts = {"rows": done, "tokens": tokens - self._tokens}
        # Not every run counts tokens, and none has a rate before anything is done.
        rates = "  ".join(
            f"{_rate(count / seconds)} {noun}/s" for noun, count in counts.items() if count > 0
        )
        ends = None
        if self._total is not None and done > 0:
            ends = now + seconds * (self._total - rows) / done
        self._progress.update(self._task, completed=rows, rates=rates, ends=ends)

    def say(self, doing: str) -> None:
        """Show what goes on after the last row; how long it takes is not known."""
        self._progress.update(self._task, rates=doing, ends=None)


class _Remaining(ProgressColumn):
    """The time left at the mean speed since the start.

    Steps may be minutes apart, and rich's own column forgets those that are longer ago than half a
    minute.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        if ends is None:
            return Text("-:--:-- left")
        return Text(f"{timedelta(seconds=int(max(ends - time.monotonic(), 0)))} left")


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"
