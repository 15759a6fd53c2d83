"""Threads that explain, beside the one that reads and writes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

COUNT = 2
"""While one thread assembles results, the other keeps the processor or the GPU busy."""


def thread_count(device: torch.device | None) -> int:
    """Return how many threads `worker_threads` starts for a model on `device`."""
    return min(COUNT, torch.get_num_threads()) if _divides(device) else COUNT


def _divides(device: torch.device | None) -> bool:
    """Whether the threads divide torch's own among themselves."""
    return device is not None and device.type == "cpu"


@contextmanager
def worker_threads(device: torch.device | None) -> Iterator[ThreadPoolExecutor]:
    """Start threads for a model on `device`, which end with the context.

    None stands for a model that something else than torch runs, which divides the processor itself.

    On a processor they divide torch's threads among themselves: operations on short texts are too
    small to be spread over many. If torch has one thread, there is one.
    """
    torch_threads = torch.get_num_threads()
    divides, count = _divides(device), thread_count(device)
    ready = threading.Barrier(count + 1)

    def start() -> None:
        if divides:
            # A thread takes over the process's number at its first call of get_num_threads, which
            # would undo a number that was set before.
            torch.get_num_threads()
            torch.set_num_threads(torch_threads // count)
        # The barrier gives each `start` a thread of its own: none is free for the next before all
        # have begun.
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="normxlogit-corpus")
    try:
        for _ in range(count):
            pool.submit(start)
        ready.wait()
        # set_num_threads in a thread changes what later threads start with: put that back.
        torch.set_num_threads(torch_threads)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
