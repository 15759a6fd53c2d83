"""A command that is killed again and again."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import pandas
from transformers import BertForSequenceClassification  # once, and not in every run
from normxlogit import cli

{patch}

times, seed, pattern = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
sys.argv = ["normxlogit", *sys.argv[4:]]
chance = random.Random(seed)

def begun():
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        cli.main()
    return child

def parts():
    return len(list(pattern.parent.glob(pattern.name)))

for _ in range(times):
    before, child = parts(), begun()
    while parts() <= before + chance.randrange(2):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it came to its end"
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
if not times:
    assert os.waitstatus_to_exitcode(os.waitpid(begun(), 0)[1]) == 0
print(parts())
"""


def run_killed(
    arguments: Sequence[object], pattern: Path, *, times: int, seed: int, patch: str = ""
) -> int:
    """Start a command and kill it, `times` times; with 0, run it to its end.

    Args:
        arguments: the command's arguments.
        pattern: matches the paths that it writes one by one. Each time it writes one or two, and
            is killed at a random moment within 50 ms.
        times: how often to kill it.
        seed: of the random moments.
        patch: Python code to run before the command.

    Returns:
        How many paths match the pattern at the end.
    """
    script_arguments = (times, seed, pattern, *arguments)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(patch=patch), *map(str, script_arguments)],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
