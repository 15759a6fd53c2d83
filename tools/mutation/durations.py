"""A pytest plugin that writes how long each test took to the file named by `DURATIONS`."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

_SECONDS: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count set-up, call and tear-down."""
    _SECONDS[report.nodeid] += report.duration  # type: ignore[assignment]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add to the file, where the reports of all workers arrive."""
    if not hasattr(session.config, "workerinput"):
        path = Path(os.environ["DURATIONS"])
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | _SECONDS))
