"""The folder of an evaluation: a run that was stopped goes on to the same files."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from normxlogit import Explainer, InputError
from normxlogit.data.files import write_whole
from normxlogit.data.progress import Meter
from normxlogit.evaluation import checkpoint, run
from normxlogit.evaluation.batch_evaluator import BatchEvaluator
from tests.helpers.evaluation import TEXTS, Data, output_bytes, write_reviews
from tests.helpers.killed import run_killed


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)


@pytest.mark.usefixtures("no_report")
def test_stopped_before_any_write(
    bert: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 2)
    options: Data = {"methods": ["norm", "random"], "metrics": ["curves", "loo_tau"], "draws": 2}
    bert.evaluate([*TEXTS, ""], tmp_path / "whole", **options)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        ".lock",
        "cost.json",
        "results.json",
        "scores.parquet",
        "settings.json",
    ]
    write, stopped = write_whole, 0
    for stop in itertools.count():
        left = stop

        def writes(path: Path, text: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            write(path, text)

        folder = tmp_path / str(stop)
        for module in (run, checkpoint):
            monkeypatch.setattr(module, "write_whole", writes)
        try:
            bert.evaluate([*TEXTS, ""], folder, **options)
        except KeyboardInterrupt:
            stopped += 1
        for module in (run, checkpoint):
            monkeypatch.setattr(module, "write_whole", write)
        bert.evaluate([*TEXTS, ""], folder, **options)
        assert output_bytes(folder) == output_bytes(tmp_path / "whole")
        if stopped <= stop:
            break
    assert stopped == 7


@pytest.mark.usefixtures("no_report")
def test_progress_within_parts_and_after_a_stop(
    bert: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 3)
    shown = list[list[float]]()

    class Seen(Meter):
        def __init__(self, total: int | None, rows: int, tokens: int, *, shown: bool) -> None:
            super().__init__(total, rows, tokens, shown=shown)
            seen.append(rows)

        def show(self, rows: float, tokens: int) -> None:
            super().show(rows, tokens)
            seen.append(rows)
            if len(shown) == 1 and rows == 4.5:
                raise KeyboardInterrupt

    monkeypatch.setattr(run, "Meter", Seen)
    for stopped in (True, False):
        seen = list[float]()
        shown.append(seen)
        with contextlib.suppress(KeyboardInterrupt):
            bert.evaluate(TEXTS, tmp_path / "out", methods=["norm", "logat"])
        assert (tmp_path / "out" / "results.json").exists() is not stopped
    assert len(TEXTS) == 5
    assert shown[0] == [0, 0, 0.75, 2.25, 3, 3, 3.5, 4.5]
    assert shown[1] == [3, 3, 3.5, 4.5, 5]


@pytest.mark.usefixtures("no_report")
def test_a_folder_belongs_to_one_run(bert: Explainer, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    bert.evaluate(TEXTS, folder, methods=["norm"])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    again = bert.evaluate(TEXTS, folder, methods=["norm"])
    assert again.results == json.loads((folder / "results.json").read_text("utf-8"))
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    before.pop(folder / ".lock")
    after.pop(folder / ".lock")
    assert after == before
    for changed, reason in (
        ({"methods": ["logat"]}, "candidates was .*norm.* and is .*logat"),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"operator": "unk"}, 'operator was "mask" and is "unk"'),
        ({"source": TEXTS[1:]}, "data.sha256 was"),
    ):
        options: Data = {"source": TEXTS, "methods": ["norm"], **changed}
        with pytest.raises(InputError, match=f"other settings: .*{reason}"):
            bert.evaluate(options.pop("source"), folder, **options)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds something else \(thesis\.tex\)"):
        bert.evaluate(TEXTS, tmp_path / "taken", methods=["norm"])
    with pytest.raises(InputError, match=r"cannot write|holds something else"):
        bert.evaluate(TEXTS, tmp_path / "taken" / "thesis.tex", methods=["norm"])


@pytest.mark.usefixtures("no_report")
def test_two_runs_at_once(bert: Explainer, tmp_path: Path) -> None:
    seen: list[bool] = []

    def rows() -> Iterator[str]:
        yield from TEXTS

    probe = BatchEvaluator.probe

    def meanwhile(self: Any) -> Any:
        if not seen:
            seen.append(True)
            with pytest.raises(InputError, match="is being written to by another run"):
                bert.evaluate(TEXTS, tmp_path / "out", methods=["norm"])
        return probe(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchEvaluator, "probe", meanwhile)
        found = bert.evaluate(rows(), tmp_path / "out", methods=["norm"])
    assert seen
    assert len(found.scores) == 5


IN_SMALL_PARTS = """
from normxlogit.evaluation import report
from normxlogit.evaluation import run

run.AT_A_TIME = 4
report.write_report = lambda *_: None
"""


def test_killed_at_random_ten_times(model: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 160)

    def parts(folder: Path, times: int, seed: int) -> int:
        """How many parts there are after so many kills; without any it comes to its end."""
        options = ["--model", model, "--data", data, "--label", "label", "-o", folder]
        options += ["--operator", "unk", "--methods", "norm,logat,random", "--metrics", "curves"]
        found = folder / ".parts" / "0*.parquet"
        arguments = ["evaluate", *options]
        return run_killed(arguments, found, times=times, seed=seed, patch=IN_SMALL_PARTS)

    out, whole = tmp_path / "out", tmp_path / "whole"
    assert 0 < parts(out, 10, 2) < 40
    assert not (out / "results.json").exists()
    assert parts(out, 0, 3) == parts(whole, 0, 1) == 0
    assert output_bytes(out) == output_bytes(whole)
    assert pq.read_metadata(out / "scores.parquet").num_rows == 160 * 22
