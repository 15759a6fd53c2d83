"""Which requests run together, and that none gets an answer of another."""

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from normxlogit import Explainer
from normxlogit.errors import OptionError
from normxlogit.results.text import Attribution
from normxlogit.serve.batching import Lane
from normxlogit.serve.limits import BusyError, Limits
from tests.helpers.assertions import succeeded
from tests.helpers.serving import ask_all, serving

WORDS = [
    "a",
    "great",
    "movie",
    "with",
    "poor",
    "performers",
    "is",
    "not",
    "bad",
    "at",
    "all",
    "and",
    "good",
    "to",
    "watch",
]


class Recorder:
    """Work that waits until it may begin, and notes what ran together."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.may_begin = threading.Event()

    def __call__(self, items: Sequence[Any]) -> list[str]:
        assert self.may_begin.wait(60)
        self.batches.append(list(items))
        if "bad" in items:
            raise OptionError("bad is among them")
        return [f"answer to {item}" for item in items]


async def queue_up(lane: Lane, work: Recorder, jobs: Sequence[tuple[Any, str, int]]) -> list[Any]:
    """Queue a job that runs first, and then others while it runs; return all outcomes."""
    first = asyncio.ensure_future(lane.run(work, ["first"]))
    await asyncio.sleep(0)
    others = [
        asyncio.ensure_future(lane.run(work, [item], key=key, length=length))
        for item, key, length in jobs
    ]
    await asyncio.sleep(0)
    work.may_begin.set()
    return list(await asyncio.gather(first, *others, return_exceptions=True))


def run_queue(
    jobs: Sequence[tuple[Any, str, int]], together: int, queue: int = 100
) -> tuple[list[Any], list[list[Any]]]:
    """Outcomes of jobs that wait together, and the batches in which they ran."""
    work = Recorder()
    with ThreadPoolExecutor(1) as pool:

        async def run() -> list[Any]:
            return await queue_up(Lane(pool, 1, queue=queue, together=together), work, jobs)

        outcomes = asyncio.run(run())
    return outcomes, work.batches


def test_alike_jobs_of_like_length_run_together() -> None:
    jobs = [("a", "x", 100), ("b", "x", 300), ("c", "y", 100), ("d", "x", 104), ("e", "x", 290)]
    outcomes, batches = run_queue(jobs, together=3)
    assert batches == [["first"], ["a", "d"], ["b", "e"], ["c"]]
    assert outcomes == [[f"answer to {item}"] for item in ("first", "a", "b", "c", "d", "e")]
    _, batches = run_queue([(n, "x", 10) for n in range(5)], together=3)
    assert batches == [["first"], [0, 1, 2], [3, 4]]


def test_a_job_that_fails_leaves_others_alone() -> None:
    outcomes, batches = run_queue([("a", "x", 1), ("bad", "x", 1), ("b", "x", 1)], together=8)
    assert batches == [["first"], ["a", "bad", "b"], ["a"], ["bad"], ["b"]]
    assert [isinstance(outcome, OptionError) for outcome in outcomes] == [False, False, True, False]
    assert outcomes[3] == ["answer to b"]


def test_a_full_queue_and_a_job_that_nobody_waits_for() -> None:
    outcomes, _ = run_queue([(n, "x", 1) for n in range(4)], together=8, queue=3)
    assert [isinstance(outcome, BusyError) for outcome in outcomes] == [False] * 4 + [True]
    work = Recorder()
    with ThreadPoolExecutor(1) as pool:

        async def run() -> int:
            lane = Lane(pool, 1, queue=9)
            first = asyncio.ensure_future(lane.run(work, ["first"]))
            left = asyncio.ensure_future(lane.run(work, ["left"]))
            await asyncio.sleep(0)
            assert lane.waiting() == 1
            left.cancel()
            await asyncio.sleep(0)
            work.may_begin.set()
            await first
            return lane.waiting()

        assert asyncio.run(run()) == 0
    assert work.batches == [["first"]]


@pytest.mark.parametrize("gathered", [0, 0.001])
def test_random_jobs_each_get_their_own_answer(gathered: float) -> None:
    chance = random.Random(0)
    work = Recorder()
    work.may_begin.set()
    jobs = [(n, chance.choice("xy"), chance.randrange(1, 400)) for n in range(300)]
    with ThreadPoolExecutor(2) as pool:

        async def run() -> list[Any]:
            lane = Lane(pool, 2, queue=300, together=8, gathered=gathered)
            running = (lane.run(work, [n, -n], key=key, length=length) for n, key, length in jobs)
            return list(await asyncio.gather(*running))

        outcomes = asyncio.run(run())
    assert outcomes == [[f"answer to {n}", f"answer to {-n}"] for n, _, _ in jobs]
    of_number = {n: (key, length) for n, key, length in jobs}
    for batch in work.batches:
        numbers = batch[::2]
        assert len({of_number[n][0] for n in numbers}) == 1
        lengths = [of_number[n][1] for n in numbers]
        assert max(lengths) <= 1.25 * min(lengths) + 8
    assert max(map(len, work.batches)) == 8


def test_hundreds_of_requests_at_once(demo: Explainer) -> None:
    """Each gets the explanation of its own text, as `explain` gives it."""
    chance = random.Random(1)
    texts = list(
        dict.fromkeys(
            " ".join(chance.choices(WORDS, k=chance.randrange(1, 30))) for _ in range(300)
        )
    )
    expected: list[Attribution] = succeeded(demo.explain(texts, method="normxlogit", target=1))
    with serving(demo, Limits(queue=len(texts))) as (_, port):
        asked = [{"text": text, "method": "normxlogit", "target": 1} for text in texts]
        answers = asyncio.run(ask_all(port, "/v1/explain", asked))
    for text, (status, answer), result in zip(texts, answers, expected, strict=True):
        assert (status, answer["texts"]) == (200, [text])
        np.testing.assert_allclose(answer["scores"], result.scores, rtol=1e-5, atol=1e-5)
