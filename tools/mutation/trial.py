"""One mutant, and the tests that might notice it, in a process of its own."""

import os
import resource
import time
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tools.mutation.operators import Mutant

SURVIVED, KILLED, TIMED_OUT = "survived", "killed", "timed out"
BROKEN = 99
_NOTICED_BY = "noticed by "

_FIRST = 12
"""How many tests run before the modules of all others are imported, which takes seconds."""

Start = Callable[[Mutant, list[str], float, Path], int]
"""Takes a mutant, tests, the seconds of processor time that these may take, and where to write what
they print; returns the number of the process that runs them."""


class _Chosen:
    """A pytest plugin that runs only these tests, in this order, and while there is time."""

    def __init__(self, tests: list[str], until: float) -> None:
        self._rank = {test: number for number, test in enumerate(tests)}
        self._until = until
        self.noticed_by = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._rank),
            key=lambda item: self._rank[item.nodeid],
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.noticed_by = report.nodeid

    def pytest_runtest_logfinish(self) -> None:
        if time.process_time() > self._until:
            pytest.exit("no test noticed in time", returncode=0)


def start(mutant: Mutant, tests: list[str], seconds: float, log: Path) -> int:
    """Import the changed module and run tests, in a copy of this process; see `Start`.

    Past thrice as many seconds the process is ended.
    """
    process = os.fork()
    if process:
        return process
    until = enter(seconds, log)
    imported = _replace_source(mutant)
    noticed = any(_fail(part, until) for part in (tests[:_FIRST], tests[_FIRST:]) if part)
    os._exit(int(noticed) if imported else BROKEN)


def enter(seconds: float, log: Path) -> float:
    """Begin a trial in this process: limit its time, and write what is printed to a file.

    Returns the processor time at which it is to end.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(3 * seconds), int(3 * seconds) + 1))
    return time.process_time() + seconds


def _fail(tests: list[str], until: float) -> bool:
    """Run tests until one fails, or the processor time is `until`, and say whether one did."""
    if time.process_time() > until:
        return False
    chosen = _Chosen(tests, until)
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    options = ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # libraries were imported before
    code = pytest.main([*options, *files], plugins=[chosen])
    note(chosen.noticed_by)
    return code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def note(test: str) -> None:
    """Write the test that failed, if one did, for `noticed_by` to read."""
    if test:
        os.write(1, f"\n{_NOTICED_BY}{test}\n".encode())


def noticed_by(log: Path) -> str:
    """Return the test that failed, by what a trial wrote; empty if none did."""
    last = log.read_text(errors="replace").rpartition(f"\n{_NOTICED_BY}")[2]
    return last.strip() if "::" in last and last.count("\n") == 1 else ""


def outcome(status: int) -> str:
    """Say what became of a mutant whose process ended with this status."""
    if os.WIFSIGNALED(status):
        return TIMED_OUT
    if os.WEXITSTATUS(status) == BROKEN:
        raise RuntimeError("the trial broke, or no test imported the changed module: see its log")
    return KILLED if os.WEXITSTATUS(status) else SURVIVED


def _replace_source(mutant: Mutant) -> list[str]:
    """Have the changed source imported in place of the module's own.

    Returns:
        A list that holds the name of the module once it was imported.
    """
    path = Path(mutant.path).resolve()
    load = SourceFileLoader.get_code
    imported: list[str] = []

    def get_code(loader: Any, name: str) -> CodeType | None:
        if Path(loader.path).resolve() != path:
            return load(loader, name)
        imported.append(name)
        return compile(mutant.source, str(path), "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
    return imported
