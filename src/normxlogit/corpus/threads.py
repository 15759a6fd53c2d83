"""Threads that explain, beside the one that reads and writes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

COUNT = 2
"""While one of them makes results, the other keeps the processor or the GPU busy."""


@contextmanager
def working(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads for a model on this device, which end with the context.

    On a processor they share what torch may use of it: operations on short texts are too small to
    be split well. Where torch has one thread there is one.
    """
    own = torch.get_num_threads()
    on_cpu = device.type == "cpu"
    count = min(COUNT, own) if on_cpu else COUNT
    ready = threading.Barrier(count + 1)

    def start() -> None:
        if on_cpu:
            torch.get_num_threads()  # the first call in a thread takes over the process's number
            torch.set_num_threads(own // count)
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="normxlogit-corpus")
    try:
        for _ in range(count):
            pool.submit(start)
        ready.wait()
        torch.set_num_threads(own)  # for threads of others that are still to come
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
