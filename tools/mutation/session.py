"""Trials in copies of a process that has imported the package and collected the tests.

That takes longer than most tests, so it is done once: in the copy the function around a mutant gets
its changed code. What runs at import has run by then, so mutants outside functions need `trial`.
"""

import ast
import gc
import importlib
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tools.mutation.operators import Mutant
from tools.mutation.trial import BROKEN, Start, enter, note

_OF_FUNCTION = inspect.CO_NEWLOCALS | inspect.CO_OPTIMIZED


def run_in_session(
    mutants: Iterable[Mutant], tests: Iterable[str], use: Callable[[Start], None]
) -> None:
    """Collect the modules of these tests, and call `use` with what starts a trial of some tests."""
    # Some modules, such as those of methods, are imported when they are first used.
    modules = {".".join(Path(mutant.path).with_suffix("").parts[1:]) for mutant in mutants}
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    options = ["-q", "--no-header", "--tb=short", "-s", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # libraries were imported before
    code = pytest.main([*options, *files], plugins=[_Trials(modules, use)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit("the tests could not be collected.")


def changed_code(mutant: Mutant) -> tuple[CodeType, CodeType] | None:
    """Return the code of the function around a mutant, as it was and changed.

    None if the mutant is not in the body of a function, or one code cannot take the other's place.
    """
    path, source = str(Path(mutant.path).resolve()), Path(mutant.path).read_bytes()
    for number, function in enumerate(_outermost(ast.parse(source))):
        if function.body[0].lineno <= mutant.line <= (function.end_lineno or 0):
            before, after = (
                list(_codes(compile(text, path, "exec", dont_inherit=True)))[number]
                for text in (source, mutant.source)
            )
            return (before, after) if before.co_freevars == after.co_freevars else None
    return None


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from _outermost(child)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a module's outermost functions, in the order of `_outermost`."""
    for part in code.co_consts:
        if isinstance(part, CodeType) and not part.co_name.startswith("<"):
            if part.co_flags & _OF_FUNCTION == _OF_FUNCTION:
                yield part
            else:
                yield from _codes(part)


class _Trials:
    """A pytest plugin that starts trials instead of running the tests."""

    def __init__(self, modules: Iterable[str], use: Callable[[Start], None]) -> None:
        self._modules, self._use = modules, use
        self._noticed_by = ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        for name in self._modules:
            importlib.import_module(name.removesuffix(".__init__"))
        self._functions: dict[tuple[str, int], list[FunctionType]] = {}
        for function in gc.get_objects():
            if type(function) is FunctionType:  # isinstance() wakes lazy modules
                place = function.__code__.co_filename, function.__code__.co_firstlineno
                self._functions.setdefault(place, []).append(function)
        gc.freeze()
        self._use(self._start)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._noticed_by = report.nodeid

    def _start(self, mutant: Mutant, tests: list[str], seconds: float, log: Path) -> int:
        """Run tests against a mutant in a copy of this process; see `trial.start`."""
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        status = BROKEN
        try:
            self._run(mutant, tests, enter(seconds, log))
            note(self._noticed_by)
            status = int(bool(self._noticed_by))
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _run(self, mutant: Mutant, tests: list[str], until: float) -> None:
        self._change(mutant)
        items = [self._items[test] for test in tests if test in self._items]
        for item, after in pairwise([*items, None]):
            assert item is not None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._noticed_by or time.process_time() > until:
                break

    def _change(self, mutant: Mutant) -> None:
        """Give the function around a mutant its changed code."""
        codes = changed_code(mutant)
        assert codes is not None
        before, after = codes
        for function in self._functions[before.co_filename, before.co_firstlineno]:
            function.__code__ = after
