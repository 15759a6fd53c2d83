"""The application in replicas of Ray Serve: answers, a replica that dies, the stop."""

import asyncio
import os
import signal
import subprocess
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from normxlogit import Attribution, Explainer, OptionError
from normxlogit.serve.limits import Limits
from normxlogit.serve.metrics import Joined, Metrics
from normxlogit.serve.replicas import Replica, Settings
from tests.helpers.assertions import assert_close, succeeded
from tests.helpers.processes import descendants
from tests.helpers.serving import Answer, ask, served_by_command

KEY = "a-key-that-nobody-guesses"
BEARER = f"Authorization: Bearer {KEY}"
TEXTS = ["Not bad at all.", "I left after ten minutes.", "A great movie with poor performers."]
SLOW = {"text": 3 * TEXTS[2], "method": "integrated_gradients", "options": {"n_steps": 100}}

WAITING = 'normxlogit_waiting_requests{for="short"'


@dataclass
class Command:
    """`normxlogit serve --engine ray`, which runs."""

    process: "subprocess.Popen[str]"
    port: int
    line: str

    def metrics(self) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics")
        request.add_header(*BEARER.split(": "))
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def replicas(self) -> list[int]:
        """The processes of the replicas."""
        return [
            process
            for process in descendants(self.process.pid)
            if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::ServeReplica")
        ]

    async def explain(self, data: dict[str, Any]) -> Answer:
        return await ask(self.port, "/v1/explain", data, BEARER)

    async def waiting(self) -> list[float]:
        """How many requests wait in each replica."""
        lines = (await asyncio.to_thread(self.metrics)).splitlines()
        return [float(n.split()[-1]) for n in lines if n.startswith(WAITING)]


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    """The folder of Ray's logs; its path is short, for sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def command(files: Path) -> Iterator[Command]:
    environment = {"NORMXLOGIT_API_KEY": KEY, "RAY_TMPDIR": str(files)}
    with served_by_command("--engine", "ray", **environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving demo at http://127.0.0.1:"), process.communicate()
        yield Command(process, int(line.split(" by ")[0].rpartition(":")[2]), line)


def slow(count: int) -> list[dict[str, Any]]:
    """Requests that take a while and cannot run together."""
    return [{**SLOW, "threshold": n / 1000} for n in range(count)]


def assert_same(answer: Any, expected: Attribution) -> None:
    """Assert that JSON holds these scores."""
    result = Attribution.from_dict(answer)
    assert (result.text, result.targets[0].label) == (expected.text, expected.targets[0].label)
    assert_close(result.scores, expected.scores)


@pytest.mark.ray
def test_answers_are_those_of_the_explainer(command: Command, demo: Explainer) -> None:
    async def run() -> list[Answer]:
        return await asyncio.gather(
            *(command.explain({"text": text}) for text in TEXTS for _ in range(4)),
            command.explain({"text": TEXTS}),
            command.explain({"text": "good", "model": "other"}),
            ask(command.port, "/v1/explain", {"text": "good"}),
            ask(command.port, "/v1/explain", {"text": "good"}, "Authorization: Bearer wrong"),
            command.explain({"text": "x" * 20_001}),
        )

    *answers, (_, together), other, without, wrong, large = asyncio.run(run())
    assert command.line.endswith(" by 2 replicas (Ctrl+C stops)\n")
    expected = succeeded(demo.explain(TEXTS))
    single = [answer for status, answer in answers if status == 200]
    assert len(single) == len(answers)
    for answer, result in zip(single, [r for r in expected for _ in range(4)], strict=True):
        assert_same(answer, result)
    for answer, result in zip(together, expected, strict=True):
        assert_same(answer, result)
    assert [status for status, _ in (other, without, wrong, large)] == [404, 401, 401, 413]
    counts = [
        int(float(line.split()[-1]))
        for line in command.metrics().splitlines()
        if line.startswith('normxlogit_requests_total{path="/v1/explain"') and '"200"' in line
    ]
    assert sum(counts) == 13  # of both replicas, whichever answers
    assert len(asyncio.run(command.waiting())) == 2


@pytest.mark.ray
def test_a_replica_is_killed(command: Command) -> None:
    """Its requests fail, and are not waited for; those of the other are answered, and so are new
    ones."""

    async def run() -> tuple[list[Answer], list[Answer]]:
        under_way = list[asyncio.Future[Answer]]()
        for data in slow(60):  # which replica gets one is Ray's choice
            under_way.append(asyncio.ensure_future(command.explain(data)))
            if min(await command.waiting()) > 0:
                break
        killed, _ = command.replicas()
        os.kill(killed, signal.SIGKILL)
        later = [await command.explain({"text": text}) for text in TEXTS * 3]
        return [await asyncio.wait_for(answer, 60) for answer in under_way], later

    under_way, later = asyncio.run(run())
    statuses = Counter(status for status, _ in under_way)
    assert set(statuses) == {200, 500}
    assert [status for status, _ in later] == [200] * len(later)


@pytest.mark.ray
def test_it_stops_when_everything_is_answered(command: Command, files: Path) -> None:
    async def run() -> list[int]:
        under_way = [asyncio.ensure_future(command.explain(data)) for data in slow(4)]
        await asyncio.sleep(0.3)
        command.process.send_signal(signal.SIGTERM)
        return [(await answer)[0] for answer in under_way]

    assert asyncio.run(run()) == [200] * 4
    out, err = command.process.communicate(timeout=60)
    assert (command.process.returncode, out) == (0, "")
    assert KEY not in err
    logs = [path for path in files.rglob("*") if path.is_file()]
    assert any(path.name.startswith("replica_") for path in logs)
    for path in logs:
        content = path.read_bytes()
        assert KEY.encode() not in content, path
        assert TEXTS[0].encode() not in content, path


def test_a_replica_without_the_key_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORMXLOGIT_API_KEY", raising=False)
    settings = Settings(lambda _device: {}, "cpu", Limits(), (), is_local=True, needs_key=True)
    with pytest.raises(OptionError, match="NORMXLOGIT_API_KEY is not set where Ray runs"):
        Replica(settings)


def test_metrics_of_replicas_stand_side_by_side() -> None:
    replicas = {}
    for name, count in (("a", 2), ("b", 3)):
        metrics = Metrics()
        metrics.name_paths(["/v1/explain"])
        for _ in range(count):
            metrics.answered("/v1/explain", 200, 0.01)
        replicas[name] = metrics.collect()
    text = generate_latest(Joined(replicas)).decode()
    total = 'normxlogit_requests_total{path="/v1/explain",replica="%s",status="200"} %d.0'
    assert total % ("a", 2) in text
    assert total % ("b", 3) in text
    assert text.count("# TYPE normxlogit_requests_total counter") == 1
