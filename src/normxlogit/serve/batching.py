"""The requests that wait for a model: which run next, and which of them together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from normxlogit.serve.limits import BusyError, UnavailableError
from normxlogit.tasks.batches import PADDED

SHORT = 8
"""How much longer than the shortest others may be besides, for texts of a word or two."""

Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Computes an answer for each of some items, in a thread."""


@dataclass(eq=False)
class Job:
    """A request that waits.

    Attributes:
        work: what computes its answers.
        items: what it asks about.
        key: jobs with equal keys are answered alike, so their items may run together; None for one
            that runs alone.
        length: how long its longest item is, in any unit: jobs of like length run together.
        answers: what it waits for.
    """

    work: Work
    items: Sequence[Any]
    key: str | None
    length: int
    answers: "asyncio.Future[Sequence[Any]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Lane:
    """The queue of a model and the threads that work it off. It belongs to one event loop.

    The oldest job runs next, and with it those of its key that are nearest to it in length. A job
    whose request is gone before it runs is dropped.
    """

    def __init__(
        self,
        pool: Executor,
        threads: int,
        *,
        queue: int,
        together: int = 1,
        gathered: float = 0,
        observe: Callable[[int], None] = lambda _items: None,
    ) -> None:
        """Take threads, which nobody else uses.

        Args:
            pool: the threads.
            threads: how many there are.
            queue: how many jobs may wait.
            together: how many items may run together; one job may have more.
            gathered: for how many seconds a job waits for others while a thread is busy.
            observe: is told how many items run together.
        """
        self._pool, self._idle, self._threads = pool, threads, threads
        self._queue, self._together, self._gathered = queue, together, gathered
        self._observe = observe
        self._waiting: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None

    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    async def run(
        self, work: Work, items: Sequence[Any], *, key: str | None = None, length: int = 0
    ) -> Sequence[Any]:
        """Wait for the answers to items; see `Job`.

        Raises:
            BusyError: too many wait already.
            Exception: what `work` raises for these items.
        """
        if len(self._waiting) >= self._queue:
            raise BusyError(
                f"{len(self._waiting)} requests wait for this model already. Try again later."
            )
        job = Job(work, items, key, length)
        self._waiting.append(job)
        # While a thread is busy others are likely to come; else nobody is waited for.
        if self._gathered and 0 < self._idle < self._threads:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._gathered, self._start)
        else:
            self._start()
        try:
            return await job.answers
        finally:
            if job in self._waiting:  # cancelled: the client has left, or it took too long
                self._waiting.remove(job)

    def _start(self) -> None:
        """Start jobs as long as a thread is idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle and self._waiting:
            jobs = self._next()
            self._waiting = [job for job in self._waiting if job not in jobs]
            self._idle -= 1
            self._observe(sum(len(job.items) for job in jobs))
            running = asyncio.get_running_loop().run_in_executor(self._pool, _work_off, jobs)
            running.add_done_callback(partial(self._finish, jobs))

    def _next(self) -> list[Job]:
        """Return the oldest job, and those that run with it."""
        oldest, *others = self._waiting
        if oldest.key is None:
            return [oldest]
        alike = [job for job in others if job.key == oldest.key]
        alike.sort(key=lambda job: abs(job.length - oldest.length))
        jobs, count = [oldest], len(oldest.items)
        shortest = longest = oldest.length
        for job in alike:
            count += len(job.items)
            shortest, longest = min(shortest, job.length), max(longest, job.length)
            if count > self._together or longest > (1 + PADDED) * shortest + SHORT:
                break
            jobs.append(job)
        return jobs

    def _finish(self, jobs: Sequence[Job], done: "asyncio.Future[list[Any]]") -> None:
        self._idle += 1
        if done.cancelled():
            outcomes: list[Any] = [UnavailableError("the server stops. Ask another.")] * len(jobs)
        else:
            outcomes = done.result()
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.answers.done():
                continue  # cancelled meanwhile
            if isinstance(outcome, BaseException):
                job.answers.set_exception(outcome)
            else:
                job.answers.set_result(outcome)
        self._start()


def _work_off(jobs: Sequence[Job]) -> list[Any]:
    """Return the answers of each job, or the error in their place.

    Jobs that failed together run one by one, so that none has an error of another.
    """
    items = [item for job in jobs for item in job.items]
    try:
        answers = jobs[0].work(items)
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [outcome for job in jobs for outcome in _work_off([job])]
    split, start = [], 0
    for job in jobs:
        split.append(answers[start : start + len(job.items)])
        start += len(job.items)
    return split
