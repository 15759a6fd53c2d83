"""Which tests run which line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from coverage import CoverageData

from tools.mutation.operators import Mutant

MARKERS = "not (ray or objects or shared or models or browser or slow)"

_NEARBY = 4
"""How many tests that noticed other changes come first."""


class Reach:
    """Which tests run which line, and how long they take, as runs of the suite found it."""

    def __init__(self, folder: Path, package: Path, parts: Sequence[str], jobs: int) -> None:
        """Read what is known, after parts of the suite were run; the whole if nothing is known."""
        durations, covered = folder / "durations.json", folder / "coverage"
        if parts or not durations.exists():
            _run_suite(package, durations, covered, parts, jobs)
        self._seconds: dict[str, float] = json.loads(durations.read_text())
        data = CoverageData(str(covered))
        data.read()
        # All at once: in a copy of this process coverage would begin its file anew.
        self._tests = {
            path: {line: _tests(of) for line, of in data.contexts_by_lineno(path).items()}
            for path in data.measured_files()
            if Path(path).exists()
        }
        self._of_constant = cache(self._tests_of_constant)

    def tests(self, mutant: Mutant, seconds: float, noticed: Iterable[str] = ()) -> list[str]:
        """Return tests that run a mutant's line, those likeliest to notice the change first.

        First a few of those in `noticed`, tests that noticed changes nearby, and those in the
        module's own file of tests, such as tests/text/test_words.py. Then the quickest test
        of every line of the function around it, those of lines that few tests run before others:
        what hangs on a check, such as an error, is run by few. Then one test of each function of
        tests comes before the second of any; among these come first those in the folder that
        mirrors the module's, then the quickest. Together they take no more than `seconds`.
        """
        module = Path(mutant.path)
        mirror = f"tests/{'/'.join(module.parts[2:-1])}"

        def rank(test: str) -> tuple[bool, float]:
            return not test.startswith(mirror), self._seconds.get(test, 0.0)

        tests = self._that_run(mutant)
        turns: list[tuple[int, tuple[bool, float], str]] = []
        for _, same in groupby(sorted(tests), key=lambda test: test.split("[")[0]):
            in_order = sorted(same, key=rank)
            turns += [(turn, rank(test), test) for turn, test in enumerate(in_order)]
        of_lines = sorted((tests & others for others in self._of_lines(mutant)), key=len)
        first = [min(some, key=rank) for some in of_lines if some]
        nearby = [test for test in dict.fromkeys(noticed) if test in tests][:_NEARBY]
        of_module = sorted(
            (t for t in tests if t.startswith(f"{mirror}/test_{module.name}::")), key=rank
        )
        chosen: list[str] = []
        in_turn = (test for _, _, test in sorted(turns))
        for test in dict.fromkeys([*nearby, *of_module, *first, *in_turn]):
            if self._seconds.get(test, 0.0) <= seconds or not chosen:
                seconds -= self._seconds.get(test, 0.0)
                chosen.append(test)
        return chosen

    def _of_lines(self, mutant: Mutant) -> list[set[str]]:
        """The tests of each line of the function around a mutant."""
        by_line = self._by_line(mutant)
        return [by_line.get(line, set()) for line in mutant.lines]

    def _that_run(self, mutant: Mutant) -> set[str]:
        if mutant.is_constant:
            return self._of_constant(mutant.scope)
        by_line = self._by_line(mutant)
        # What stands in a signature or a class runs at import, before any test.
        return by_line.get(mutant.line) or set().union(*by_line.values())

    def _by_line(self, mutant: Mutant) -> dict[int, set[str]]:
        return self._tests.get(str(Path(mutant.path).resolve()), {})

    def _tests_of_constant(self, name: str) -> set[str]:
        """Return the tests that run a line, in any module, that names a constant."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        found: set[str] = set()
        for path, by_line in self._tests.items():
            lines = Path(path).read_text().splitlines()
            if numbers := [n for n, line in enumerate(lines, 1) if word.search(line)]:
                found |= set().union(*(by_line.get(n, set()) for n in numbers))
        return found


def _tests(contexts: Iterable[str]) -> set[str]:
    """Return the tests of coverage's contexts, such as "tests/test_a.py::test_b|run"."""
    return {context.rpartition("|")[0] for context in contexts if context}


def _run_suite(
    package: Path, durations: Path, covered: Path, parts: Sequence[str], jobs: int
) -> None:
    """Run parts of the suite, and add to what is known which lines they run, and for how long."""
    covered.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(jobs), "--dist", "worksteal"]
    command += ["-m", MARKERS, "-p", "tools.mutation.durations"]
    command += [f"--cov={package}", "--cov-context=test", "--cov-report=", "--cov-append"]
    files = {"COVERAGE_FILE": str(covered), "DURATIONS": str(durations)}
    subprocess.run([*command, *parts], check=True, env=os.environ | files)
