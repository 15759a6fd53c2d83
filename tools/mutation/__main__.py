"""`python -m tools.mutation`: change one check at a time and see whether a test fails."""

import argparse
import importlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

# One thread, or a process that is copied while others run waits for them forever.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from tools.mutation.operators import Mutant, mutants_of
from tools.mutation.reach import Reach
from tools.mutation.session import changed_code, run_in_session
from tools.mutation.trial import SURVIVED, Start, noticed_by, outcome, start

PACKAGE = Path("src/normxlogit")
REASONS = Path("tools/mutation/survivors.tsv")
NOT_COUNTED = ("same: ", "cost: ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try mutants in random order and report. Returns 1 where a survivor has no reason, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("parts", nargs="+", help=f"folders or modules of {PACKAGE}, as model/heads")
    parser.add_argument("--leave-out", nargs="*", default=[], help="folders to leave out")
    parser.add_argument(
        "--trace", nargs="*", default=[], help="tests to run first, to see which lines they run"
    )
    parser.add_argument(
        "--sample", type=int, help="how many mutants, drawn at random (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=40.0, help="of tests for each mutant")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/mutation"), help="to resume in")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    _import_libraries()
    reach = Reach(options.folder, PACKAGE, options.trace, options.jobs)
    mutants = _mutants(options.parts, options.leave_out)
    random.Random(options.seed).shuffle(mutants)
    mutants = mutants[: options.sample]
    outcomes = _try(mutants, reach, options)
    return _report(mutants, outcomes)


def _import_libraries() -> None:
    """Import all that the tests import but the package and the tests, once for all processes."""
    package = importlib.import_module(PACKAGE.name)
    if Path(str(package.__file__)).parent != PACKAGE.resolve():
        sys.exit(f"{package.__file__} would be tested rather than {PACKAGE}: install the latter.")
    importlib.import_module("tests.conftest")
    importlib.import_module("tests.helpers.zoo")
    for name in list(sys.modules):
        if name.split(".")[0] in ("normxlogit", "tests"):
            del sys.modules[name]


def _mutants(parts: list[str], left_out: list[str]) -> list[Mutant]:
    found = []
    excluded = [PACKAGE / part for part in left_out]
    for part in parts:
        root = PACKAGE / part
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            if not any(path.is_relative_to(folder) for folder in excluded):
                found += mutants_of(str(path), path.read_bytes())
    return found


def _try(mutants: list[Mutant], reach: Reach, options: argparse.Namespace) -> dict[str, str]:
    """Return the outcome of every mutant by its key, those of an earlier run included."""
    results = options.folder / "outcomes.jsonl"
    outcomes = {entry["key"]: entry["outcome"] for entry in _entries(results)}
    waiting = [mutant for mutant in mutants if mutant.key not in outcomes]
    inside = [mutant for mutant in waiting if changed_code(mutant)]
    # A process of its own, for others have to import the package anew.
    if inside and not os.fork():
        tests = [test for mutant in inside for test in reach.tests(mutant, options.seconds)]
        run_in_session(inside, tests, partial(_run, inside, reach, options))
        os._exit(0)
    if inside and os.wait()[1]:
        sys.exit("the tests of mutants inside of functions ended before their time.")
    _run([mutant for mutant in waiting if mutant not in inside], reach, options, start)
    return {entry["key"]: entry["outcome"] for entry in _entries(results)}


def _entries(results: Path) -> list[dict[str, str]]:
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def _run(mutants: list[Mutant], reach: Reach, options: argparse.Namespace, start: Start) -> None:
    """Try mutants, and write the outcome of each."""
    results, running = options.folder / "outcomes.jsonl", dict[int, tuple[Mutant, Path]]()
    places = [[*entry["key"].split("\t")[:2], entry["noticed_by"]] for entry in _entries(results)]
    noticed: dict[str, Mutant] = {}
    if mutants:  # before anything is tried
        some = reach.tests(mutants[0], options.seconds)
        _check_that_tests_pass(dict.fromkeys(some[:4], mutants[0]), start, options)
    with results.open("a", buffering=1) as file:
        while mutants or running:
            while mutants and len(running) < options.jobs:
                mutant = mutants.pop(0)
                tests = reach.tests(mutant, options.seconds, _nearby(mutant, places))
                log = options.folder / f"log-{hash(mutant.key) & 0xFFFFFFFF:08x}.txt"
                running[start(mutant, tests, options.seconds, log)] = mutant, log
            process, status = os.wait()
            mutant, log = running.pop(process)
            test = noticed_by(log)
            if test:
                noticed[test] = mutant
                places.append([mutant.path, mutant.scope, test])
            entry = {"key": mutant.key, "outcome": outcome(status), "noticed_by": test}
            file.write(json.dumps(entry) + "\n")
            print(f"{len(mutants):>5} left  {entry['outcome']:9}  {mutant.path}:{mutant.line}")
    _check_that_tests_pass(noticed, start, options)


def _nearby(mutant: Mutant, places: list[list[str]]) -> list[str]:
    """Return tests that noticed mutants of the same module, the same function first."""
    same = [(scope, test) for path, scope, test in reversed(places) if path == mutant.path and test]
    return [test for _, test in sorted(same, key=lambda pair: pair[0] != mutant.scope)]


def _check_that_tests_pass(
    tests: dict[str, Mutant], start: Start, options: argparse.Namespace
) -> None:
    """Exit where a test fails although nothing is changed."""
    log = options.folder / "unchanged.txt"
    for test, mutant in tests.items():
        unchanged = replace(mutant, source=Path(mutant.path).read_bytes())
        start(unchanged, [test], options.seconds, log)
        if outcome(os.wait()[1]) != SURVIVED:
            sys.exit(f"{test} fails although nothing is changed: {log}")


def _report(mutants: list[Mutant], outcomes: dict[str, str]) -> int:
    """Print how many died of those that change what can be observed, and the other survivors.

    `REASONS` names the survivors that change nothing ("same: ...") or only the cost ("cost: ...").
    """
    reasons = {}
    if REASONS.exists():
        for line in REASONS.read_text().splitlines()[1:]:
            *key, reason = line.split("\t")
            reasons["\t".join(key)] = reason
    survivors = [mutant for mutant in mutants if outcomes[mutant.key] == SURVIVED]
    counts = Counter(reasons.get(mutant.key, "").partition(":")[0] for mutant in survivors)
    unnoticed = [m for m in survivors if not reasons.get(m.key, "").startswith(NOT_COUNTED)]
    for mutant in unnoticed:
        reason = reasons.get(mutant.key, "no reason given")
        print(f"{mutant.path}:{mutant.line} {mutant.scope}: {reason}")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    counted = len(mutants) - len(survivors) + len(unnoticed)
    died = counted - len(unnoticed)
    print(
        f"{died} of {counted} mutants died ({died / max(1, counted):.0%}). Not counted are "
        f"{counts['same']} that change nothing that can be observed and {counts['cost']} that only "
        f"change the cost, see {REASONS}."
    )
    return int(any(mutant.key not in reasons for mutant in unnoticed))


if __name__ == "__main__":
    sys.exit(main())
