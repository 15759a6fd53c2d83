"""What commands say without torch: mistakes that need no model, the methods, completions."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from normxlogit.cli.options import READOUTS
from normxlogit.methods import METHODS
from normxlogit.methods.catalogue import CATALOGUE
from normxlogit.model.readouts import READOUTS as READOUTS_OF_PROBLEMS

RUN_ALL = """
import contextlib, io, json, sys
from normxlogit.cli import main
outcomes = []
for arguments in json.load(sys.stdin):
    sys.argv, out, err, code = ["normxlogit", *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    heavy = sorted({"torch", "transformers"} & set(sys.modules))
    outcomes.append([code, out.getvalue(), err.getvalue(), heavy])
print(json.dumps(outcomes))
"""

CSV = ["reviews.csv", "--text", "review"]

MISTAKES: Sequence[tuple[list[str], str]] = [
    (["explain", "--file", "none.txt"], "cannot read none.txt"),
    (["explain", "x", "--method", "ig"], "no method 'ig'. Did you mean integrated_gradients?"),
    (["explain", "x", "--option", "n_steps=4"], "no option 'n_steps'. Its options: norm"),
    (["explain", "x", "--method", "occlusion", "--layer", "2"], "has no layers"),
    (["explain", "x", "--readout", "magic"], "no readout 'magic'"),
    (["explain", "x", "--dtype", "float8"], "no dtype 'float8'"),
    (["explain", "x", "--model", "./none"], "cannot load './none': there is no such folder"),
    (["explain", "x", "--model", "folder"], "it has no config.json"),
    (["explain", "x", "--model", "reviews.csv"], "which is a file"),
    (["explain", "x", "--head", "none.head"], "there is no file none.head"),
    (["explain", "x", "--output", "none/page.html"], "there is no folder"),
    (["explain", " "], "the text is empty or blank"),
    (["explain", "x", "--pair", ""], "the text is empty or blank"),
    (["generate", "x", "--model", "./none"], "there is no such folder"),
    (["generate", "", "--model", "demo"], "the text is empty or blank"),
    (["generate", "x", "-m", "demo", "--max-new-tokens", "0"], "a whole number from 1, got 0"),
    (["generate", "x", "-m", "demo", "--sample", "--temperature", "0"], "must be above 0"),
    (["generate", "x", "-m", "demo", "--sample", "--top-p", "2"], "top_p must be a number from 0"),
    (["generate", "x", "--model", "demo", "--method", "magic"], "no method 'magic'"),
    (["corpus", "none.csv", "-o", "out"], "no file or folder none.csv"),
    (["corpus", "reviews.csv", "-o", "out"], "no column 'text'. Its columns: review, label"),
    (["corpus", *CSV, "-o", "out", "--label", "gold"], "no column 'gold'"),
    (["corpus", "broken.parquet", "-o", "out"], "cannot read broken.parquet"),
    (["corpus", *CSV, "-o", "reviews.csv"], "cannot write reviews.csv: it is not a folder"),
    (["corpus", *CSV, "-o", "none/out"], "there is no folder"),
    (["corpus", *CSV, "-o", "folder"], "folder holds something else (file)"),
    (["corpus", *CSV, "-o", "out", "--method", "magic"], "no method 'magic'"),
    (["corpus", *CSV, "-o", "out", "--split", "test"], "subset and split are for data sets"),
    (["corpus", *CSV, "-o", "out", "--target", "a", "--target", "column:b"], "stands alone"),
    (["corpus", *CSV, "-o", "out", "--workers", "2"], "are for engine='ray'"),
    (["evaluate", "--data", "none.csv", "-o", "out"], "no file or folder none.csv"),
    (["evaluate", "--data", "reviews.csv", "-o", "out"], "no column 'text'"),
    (["evaluate", "--data", *CSV, "-o", "out", "--methods", "norm,magic"], "no method 'magic'"),
    (["evaluate", "--data", *CSV, "-o", "out", "--methods", "norm:n=1"], "no option 'n'"),
    (["evaluate", "--data", *CSV, "-o", "out", "--unit", "line"], "unit must be one of"),
    (["evaluate", "--data", *CSV, "-o", "reviews.csv/out"], "reviews.csv is not a folder"),
    (["evaluate", "--data", "folder", "-o", "out", "--benchmark", "b"], "benchmark must be blimp"),
    (["fit", "none.csv", "-o", "a.head"], "no file or folder none.csv"),
    (["fit", "reviews.csv", "-o", "a.head"], "no column 'text'"),
    (["fit", *CSV, "-o", "none/a.head"], "there is no folder"),
    (["fit", *CSV, "-o", "a.head", "--masks", "3"], "masks must be even"),
    (["fit", *CSV, "-o", "a.head", "--texts", "9"], "texts must be a whole number from 40"),
    (["summary", "folder"], "folder holds no run of normxlogit corpus"),
    (["methods", "magic"], "no method 'magic'"),
    (["serve", "--model", "./none"], "there is no such folder"),
    (["serve", "--head", "none.head"], "there is no file none.head"),
    (["serve", "--head", "b=none.head"], "for a model 'b', and the models are demo"),
    (["serve", "-m", "a=demo", "-m", "a=demo"], "two models are called 'a'"),
    (["serve", "--allow-origin", "*"], "is no origin"),
    (["serve", "--replicas", "2"], "--replicas is for --engine ray"),
    (["serve", "--host", "203.0.113.1"], "cannot listen at 203.0.113.1 port 8000"),
]


def run_without_torch(folder: Path, commands: Sequence[Sequence[str]]) -> list[list[Any]]:
    """Exit code, standard output, standard error and heavy modules of commands, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    outcomes: list[list[Any]] = json.loads(done.stdout)
    return outcomes


def test_mistakes_are_told_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("review,label\ngood,1\n")
    (tmp_path / "broken.parquet").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    outcomes = run_without_torch(tmp_path, [arguments for arguments, _ in MISTAKES])
    for (arguments, message), (code, out, err, heavy) in zip(MISTAKES, outcomes, strict=True):
        assert message in err, arguments
        assert (code, out, err.count("\n"), heavy) == (1, "", 1, []), arguments
    assert sorted(tmp_path.rglob("*")) == before


def test_methods_are_shown_without_torch(tmp_path: Path) -> None:
    commands = [["methods"], *(["methods", name] for name in CATALOGUE)]
    (table, *described) = run_without_torch(tmp_path, commands)
    for code, _, err, heavy in (table, *described):
        assert (code, err, heavy) == (0, "", [])
    for name, (_, out, _, _) in zip(CATALOGUE, described, strict=True):
        assert name in table[1]
        assert METHODS[name].documentation() in out


def completions(line: str) -> list[str]:
    """What a shell would offer for the last word of a line."""
    words = line.split(" ")
    asked: Mapping[str, str] = {
        "_NORMXLOGIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = (
        "import sys\nfrom normxlogit.cli import main\nsys.argv = ['normxlogit']\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("normxlogit explain --method inte", ["integrated_gradients"]),
        ("normxlogit evaluate --methods norm,atten", ["norm,attention", "norm,attention_rollout"]),
        ("normxlogit explain --readout c", ["centered", "closeness"]),
        ("normxlogit explain --format ", ["text", "json", "html", "csv"]),
    ],
)
def test_values_of_options_are_completed(line: str, offered: list[str]) -> None:
    assert completions(line) == offered


def test_the_readouts_of_the_command_are_those_of_the_library() -> None:
    assert set(READOUTS) == {name for names in READOUTS_OF_PROBLEMS.values() for name in names}
