"""How a run gets on, for whoever watches it in a terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Meter:
    """A line on standard error with rows and tokens a second; none if that is no terminal."""

    def __init__(self, total: int | None, rows: int, tokens: int, *, shown: bool) -> None:
        """Take how many rows there are, if that is known, and what was done before."""
        console = Console(stderr=True)
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rates]}"),
            TimeElapsedColumn() if total is None else TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total, completed=rows, rates="")
        self._rows, self._tokens = rows, tokens

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

    def show(self, rows: int, tokens: int) -> None:
        """Show how many rows and tokens are done, and how fast those since the start were."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = (
            f"{(rows - self._rows) / seconds:,.0f} rows/s  "
            f"{(tokens - self._tokens) / seconds:,.0f} tokens/s"
        )
        self._progress.update(self._task, completed=rows, rates=rates)
