"""The line that says how far a run is."""

import io

import pytest
from rich.console import Console

from normxlogit.data.progress import Meter


@pytest.mark.parametrize("total", [100, None])
def test_progress(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("normxlogit.data.progress.time.monotonic", lambda: now)
    written = {}
    for is_terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=100)
        monkeypatch.setattr(
            "normxlogit.data.progress.Console", lambda console=console, **_: console
        )
        with Meter(total, 20, 400, shown=True) as meter:
            now += 2
            meter.show(60, 1400)
            now += 0.5
        written[is_terminal] = file.getvalue()
    assert written[False] == ""
    assert "20 rows/s  500 tokens/s" in written[True]
    assert ("60/100" if total else "60/?") in written[True]
    assert ("0:00:01 left" in written[True]) is (total is not None)


def test_progress_in_steps_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("normxlogit.data.progress.time.monotonic", lambda: now)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("normxlogit.data.progress.Console", lambda **_: console)
    with Meter(96, 32, 0, shown=True) as meter:
        assert "-:--:-- left" in file.getvalue()
        now += 300
        meter.show(32 + 1.5, 6000)
    assert "33/96" in file.getvalue()
    assert "0.005 rows/s  20 tokens/s 3:28:20 left" in file.getvalue()


def test_there_is_no_rate_of_what_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("normxlogit.data.progress.Console", lambda **_: console)
    with Meter(96, 32, 0, shown=True) as meter:
        meter.show(32, 0)
        assert "/s" not in file.getvalue()
        meter.show(64, 0)
    assert "rows/s" in file.getvalue()
    assert "tokens/s" not in file.getvalue()


def test_progress_says_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("normxlogit.data.progress.Console", lambda **_: console)
    with Meter(96, 0, 0, shown=True) as meter:
        meter.show(96, 6000)
        before = len(file.getvalue())
        meter.say("timing the methods")
    *_, last = (line for line in file.getvalue()[before:].splitlines() if "96/96" in line)
    assert "timing the methods -:--:-- left" in last
    assert "rows/s" not in last
