"""A page in headless Chromium, steered over a pipe by the DevTools protocol.

See https://chromedevtools.github.io/devtools-protocol/.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.helpers.pages import find_browser


class Chromium:
    """A page in the browser, blank at first.

    Attributes:
        events: what the browser has reported so far, in order.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        """Take the ends of the two pipes."""
        self._requests, self._answers = requests, answers
        self._count, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._requests.write(json.dumps(command).encode() + b"\0")
        self._requests.flush()
        while (message := self._read()).get("id") != self._count:
            self.events.append(message)
        if "error" in message:
            pytest.fail(f"{method}: {message['error']['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def run(self, script: str) -> Any:
        """Run an expression of JavaScript in the page and return its value, awaited, as JSON."""
        result = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            pytest.fail(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                pytest.fail("Chromium has ended.")
            message += byte
        read: dict[str, Any] = json.loads(message)
        return read


def requested(folder: Path, origin: str) -> set[str]:
    """Return what pages and workers of an origin have asked for, by the log in a folder.

    The browser's own requests, for updates say, have no origin.
    """
    log = json.loads((folder / "net-log.json").read_text("utf-8"))
    events = [event.get("params", {}) for event in log["events"]]
    return {event["url"] for event in events if event.get("initiator") == origin}


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Start Chromium with a fresh profile in a folder; it ends with the context.

    The folder then holds `net-log.json`, what the browser has asked for over the network.
    """
    browser = find_browser()
    if browser is None:
        pytest.fail("these tests need Chromium or Chrome: install it, or use -m 'not browser'.")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    # The browser's own services are kept off the network as well.
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    command += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"]
    command += [f"--log-net-log={folder / 'net-log.json'}"]
    read, requests = os.pipe()
    answers, write = os.pipe()
    # Chromium reads from descriptor 3 and writes to 4, wherever the pipes' own ends are.
    shell = f'exec "$@" 3<&{read} 4>&{write}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(read, write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read)
    os.close(write)
    try:
        with os.fdopen(requests, "wb") as commands, os.fdopen(answers, "rb") as messages:
            yield Chromium(commands, messages)
        # It ends when its pipes are closed, and has then written the log.
        process.wait(120)
    finally:
        process.kill()
        process.wait()
