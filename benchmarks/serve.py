"""What a server explains beside a corpus in the same run: texts a second, latency, memory.

    OMP_WAIT_POLICY=passive python -m benchmarks.serve [--output docs/cost-serve.md]

`normxlogit serve` runs as a process of its own on this machine, and so shares its cores with the
client. Ways take turns on parts of SST-2's sentences, so that a machine whose speed drifts slows
all of them alike. Every answer is held against what `explain` gives. It needs the fine-tuned MiniLM
and SST-2 in the folder that NORMXLOGIT_SHARED names, and the extras corpus and serve.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers

import normxlogit as nxl
from benchmarks.corpus import MODEL, explained, texts

COUNT, PARTS = 20_000, 4
CONCURRENCY = (1, 8, 64)
SHARES = {1: 0.05, 8: 0.1, 64: 0.85}
"""Of the requests, at each concurrency: few at a time take long."""
BURST = 1000
"""Requests at once, to see what a server says that cannot take them."""
TOLERANCE = 1e-5
"""By which a score may differ from that of `explain`, as a share of the text's largest: a text that
runs in another batch is computed in another order."""


@dataclass
class Answers:
    """What came of requests.

    Attributes:
        seconds: how long all of them took.
        latencies: how long each took.
        statuses: how often each status came.
        bodies: the answer to each text.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def server(*options: str) -> Iterator[tuple[int, int]]:
    """Start a server; give its port and its process, and stop it at the end."""
    command = [sys.executable, "-m", "normxlogit", "serve", "--model", f"minilm={MODEL}"]
    process = subprocess.Popen(
        [*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield int(line.split(" (")[0].rpartition(":")[2]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "the server did not stop by itself"


async def ask(port: int, given: Sequence[str], concurrency: int) -> Answers:
    """Send requests, so many at a time, each client on a connection of its own."""
    answers, waiting = Answers(), iter(given)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in waiting:
            begin = time.perf_counter()
            body = json.dumps({"text": text}).encode()
            writer.write(
                b"POST /v1/explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
                b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split()[0])
            answer = await reader.readexactly(length)
            answers.latencies.append(time.perf_counter() - begin)
            answers.statuses[int(head.split()[1])] += 1
            answers.bodies.append((text, answer))
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    answers.seconds = time.perf_counter() - begin
    return answers


def resident(process: int) -> int:
    """The bytes that a process has resident."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def differences(
    bodies: Sequence[tuple[str, bytes]], expected: Mapping[str, nxl.Attribution]
) -> list[float]:
    """How far each answer's scores are from those of `explain`; none may be of another text."""
    largest = []
    for text, body in bodies:
        answer, own = json.loads(body), expected[text]
        assert answer["texts"] == [text], (answer["texts"], text)
        assert answer["tokens"] == list(own.tokens), text
        assert answer["targets"][0]["id"] == own.target.id, text
        difference = np.abs(np.array(answer["scores"], np.float32) - own.scores)
        largest.append(float(difference.max() / max(1.0, np.abs(own.scores).max())))
    return largest


def measure(count: int) -> tuple[float, dict[int, Answers], list[int], list[float]]:
    """Texts a second of a corpus; answers at each concurrency; memory after each part; how far each
    answer is from `explain`.
    """
    explainer = nxl.Explainer.from_pretrained(str(MODEL))
    given = list(texts(count))
    distinct = list(dict.fromkeys(given))
    results = explainer.explain(distinct)
    expected = {
        text: result
        for text, result in zip(distinct, results, strict=True)
        if isinstance(result, nxl.Attribution)
    }
    assert len(expected) == len(distinct)
    seconds, memory = 0.0, list[int]()
    every = {concurrency: Answers() for concurrency in CONCURRENCY}
    different: list[float] = []
    with server() as (port, process):
        asyncio.run(ask(port, given[:256], 64))
        explained(explainer, given[:256])
        for part in np.array_split(np.arange(count), PARTS):
            own = [given[n] for n in part]
            begin = time.perf_counter()
            explained(explainer, own)
            seconds += time.perf_counter() - begin
            start = 0
            for concurrency in CONCURRENCY:
                size = round(SHARES[concurrency] * len(own))
                answers = asyncio.run(ask(port, own[start : start + size], concurrency))
                start += size
                assert answers.statuses == {200: size}, answers.statuses
                different += differences(answers.bodies, expected)
                total = every[concurrency]
                total.seconds += answers.seconds
                total.latencies += answers.latencies
                total.statuses += answers.statuses
            memory.append(resident(process))
    return count / seconds, every, memory, different


def overload() -> Answers:
    """What comes of many requests at once where few may wait."""
    given = list(texts(BURST))
    with server("--max-queue", "100") as (port, _):
        return asyncio.run(ask(port, given, BURST))


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    corpus, every, memory, different = measure(options.count)
    beyond = sum(difference > TOLERANCE for difference in different)
    rates = {n: len(answers.latencies) / answers.seconds for n, answers in every.items()}
    rows = [f"| corpus | {corpus:.0f} | 1.00 | {corpus / rates[1]:.2f} | | | |"]
    for concurrency, answers in every.items():
        rate = rates[concurrency]
        median, tail, longest = 1000 * np.quantile(answers.latencies, (0.5, 0.95, 0.99))
        rows.append(
            f"| {concurrency} at a time | {rate:.0f} | {rate / corpus:.2f} | {rate / rates[1]:.2f}"
            f" | {median:.0f} | {tail:.0f} | {longest:.0f} |"
        )
    burst = overload()
    statuses = ", ".join(f"{count} by {status}" for status, count in burst.statuses.items())
    requests = sum(len(answers.latencies) for answers in every.values())
    lines = [
        "# What a server costs",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.serve --output "
        f"docs/cost-serve.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}.",
        "",
        f"A MiniLM fine-tuned on SST-2, and {requests:,} requests of one of its sentences each, to "
        "`normxlogit serve` on the machine of the client. *Corpus* is what `Explainer.corpus` "
        f"takes for {options.count:,} texts of a file in the same run; at one request at a time "
        "nothing is batched. Latencies are in milliseconds.",
        "",
        "| requests | texts a second | times the corpus | times one at a time | median | 95% | "
        "99% |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"All {requests:,} were answered, each with its own text. Scores differ from those of "
        f"`explain` by {max(different):.1e} at most, as a share of the text's largest, and by more "
        f"than {TOLERANCE:.0e} in {beyond} of them.",
        "",
        f"Memory of the server after each of {PARTS} parts: "
        f"{', '.join(f'{size / 2**20:.0f}' for size in memory)} MiB.",
        "",
        f"Of {BURST:,} requests at once, where 100 may wait, all were answered within "
        f"{burst.seconds:.1f} s: {statuses}.",
    ]
    assert set(burst.statuses) <= {200, 429}, burst.statuses
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
